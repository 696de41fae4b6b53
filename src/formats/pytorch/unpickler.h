// A restricted machine for pickles. It reads the opcodes that torch.save writes (protocols 2 to 5) into
// plain data and refuses all others by name. It has no way to import, construct or call anything. A global
// outside pickle_globals.h is inert, and so is whatever is made of one. A global that is an attack elsewhere
// is refused.
#pragma once

#include <span>
#include <string>

#include "formats/pytorch/pickle_value.h"

namespace lasnet {

/// Reads a pickle. Throws Error naming `origin` for an opcode that is not allowed, an attack, a malformed
/// pickle, and a tensor that leaves its storage. Opcodes, values, tensors, stack and nesting have fixed
/// bounds, beyond which it also throws. They keep memory under 100 MB whatever the bytes are.
PickleData unpickle(std::span<const uint8_t> bytes, const std::string& origin);

/// The largest pickle that unpickle reads, in bytes.
inline constexpr uint64_t kMaxPickle = 16u << 20;

}  // namespace lasnet
