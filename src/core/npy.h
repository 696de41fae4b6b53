// NumPy .npy files, versions 1.0 to 3.0, little-endian, C order: '<f4' and '|u1' ('|b1' reads as uint8).
#pragma once

#include <string>

#include "lasnet/tensor.h"

namespace lasnet {

/// Throws Error on a malformed header, another dtype, Fortran order, or a size that disagrees with the file.
Tensor load_npy_f32(const std::string& path);
ByteTensor load_npy_u8(const std::string& path);
/// Written atomically.
void save_npy(const Tensor& array, const std::string& path);
void save_npy(const ByteTensor& array, const std::string& path);

}  // namespace lasnet
