// The JSON header of a .safetensors file, read without building a document, so that memory stays in
// proportion to the header whatever it holds.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "lasnet/tensor.h"

namespace lasnet {

/// One tensor as the header describes it: bytes [begin, end) after the header.
struct TensorEntry {
  std::string dtype;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
};

/// Bits per value of a dtype such as "BF16"; throws Error for an unknown one, naming `origin` and the tensor.
uint64_t dtype_bits(const std::string& dtype, const std::string& origin, const std::string& tensor);

/// Checks the structure of the JSON. The tensors' bytes must follow one another from 0 to `data_size`
/// without holes or overlap, each as long as its dtype and shape say. Throws Error naming `origin`.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_size,
                                           const std::string& origin);

}  // namespace lasnet
