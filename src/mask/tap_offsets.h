// Where the windows of convolutions lie in bordered maps: the same for every backend.
#pragma once

#include <cstdint>
#include <vector>

#include "base/host_device.h"

namespace lasnet {

/// Pixels on a side of the square that a 3x3 convolution of this stride reads for `outputs` x `outputs`.
LASNET_HOST_DEVICE constexpr auto halo_side(auto outputs, auto stride) { return (outputs - 1) * stride + 3; }

/// Elements from the centre pixel to each run of a kernel x kernel convolution, over a map with rows of
/// row_pixels pixels and pixels of `pitch` elements. A run is one tap, or a kernel row where rows are merged
/// (of dilation 1).
std::vector<int64_t> tap_offsets(int kernel, int64_t row_pixels, int64_t pitch, bool merge_rows,
                                 int dilation = 1);

}  // namespace lasnet
