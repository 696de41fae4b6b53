// NumPy .npy files, versions 1.0 to 3.0, little-endian, C order: '<f4' and '|u1' ('|b1' reads as uint8).
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <string>

#include "lasnet/tensor.h"

namespace lasnet {

/// Throws Error on a malformed header, another dtype, Fortran order, or a size that disagrees with the file.
Tensor load_npy_f32(const std::string& path);
ByteTensor load_npy_u8(const std::string& path);
/// The same on bytes; `origin` names their source in errors.
Tensor parse_npy_f32(const uint8_t* bytes, size_t size, const std::string& origin);
ByteTensor parse_npy_u8(const uint8_t* bytes, size_t size, const std::string& origin);
/// Written atomically.
void save_npy(const Tensor& array, const std::string& path);
void save_npy(const ByteTensor& array, const std::string& path);

}  // namespace lasnet
