// The .safetensors container: 8-byte little-endian header length, a JSON header, raw tensors.
// Format: https://huggingface.co/docs/safetensors (header at most 100 MB, offsets contiguous, no holes).
#pragma once

#include <map>
#include <string>

#include "lasnet/model.h"

namespace lasnet {

struct Safetensors {
  Weights tensors;  ///< F32, F16, BF16, F64 converted to float32; integers skipped
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
};

/// Throws Error on anything malformed: lengths, JSON, dtypes, shapes, offsets beyond the file, overlaps,
/// holes. Nothing larger than the file is ever allocated.
Safetensors read_safetensors(const std::string& path);
Safetensors parse_safetensors(const uint8_t* bytes, size_t size, const std::string& origin);

/// Written atomically, tensors in name order, converted to `dtype`.
void write_safetensors(const Safetensors& content, const std::string& path, DType dtype);

}  // namespace lasnet
