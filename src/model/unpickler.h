// A restricted machine for pickles: it reads the opcodes that torch.save writes (protocols 2 to 5) into plain
// data and refuses all others by name. It has no way to import, construct or call anything: a global outside
// pickle_globals.h, and whatever is made of one, is inert. One that is an attack elsewhere is refused.
#pragma once

#include <span>
#include <string>

#include "model/pickle_value.h"

namespace lasnet {

/// Throws Error naming `origin`: for an opcode that is not allowed, for an attack, for a malformed pickle,
/// for a tensor that leaves its storage, and beyond fixed bounds on opcodes, values, tensors, stack and
/// nesting, which keep memory under 100 MB whatever the bytes are.
PickleData unpickle(std::span<const uint8_t> bytes, const std::string& origin);

/// The largest pickle that unpickle reads, in bytes.
inline constexpr uint64_t kMaxPickle = 16u << 20;

}  // namespace lasnet
