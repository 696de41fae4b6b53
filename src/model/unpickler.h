// A restricted machine for pickles: it reads the opcodes that torch.save writes (protocols 2 to 5) into plain
// data and refuses all others, and every global outside pickle_globals.h, by name. It has no way to import,
// construct or call anything.
#pragma once

#include <span>
#include <string>

#include "model/pickle_value.h"

namespace lasnet {

/// Throws Error naming `origin`: for an opcode or global that is not allowed, for a malformed pickle, for a
/// tensor that leaves its storage, and beyond fixed bounds on opcodes, values, tensors, stack and nesting,
/// which keep memory under 100 MB whatever the bytes are.
PickleData unpickle(std::span<const uint8_t> bytes, const std::string& origin);

/// The largest pickle that unpickle reads, in bytes.
inline constexpr uint64_t kMaxPickle = 16u << 20;

/// How to save the weights of a file that is refused.
inline constexpr const char* kSaveWeightsAgain =
    "If you trust the file, load it in Python and save the weights alone: torch.save(model.state_dict(), "
    "\"weights.pth\")";

}  // namespace lasnet
