// The oracle of Precision::int8: every operator as plain loops over dense NHWC tensors of bytes [N, H, W, C].
#pragma once

#include <cstdint>

#include "engine/int8_network.h"
#include "lasnet/mask.h"
#include "lasnet/tensor.h"

namespace lasnet::reference::int8 {

using Sums = Array<int32_t>;

/// Sums of weights times bytes for each output pixel: [N, H', W', out]. Around the map lies `zero`.
Sums conv_sums(const ByteTensor& x, const Int8Layer& layer, uint8_t zero = 0);

/// A sum in units of the output map.
int32_t scaled(int32_t sum, float multiplier, float bias);

/// conv_sums, scaled and clamped to bytes.
ByteTensor relu_layer(const ByteTensor& x, const Int8Layer& layer, uint8_t zero = 0);

/// 3x3, stride 2, padding 1.
ByteTensor max_pool(const ByteTensor& x);

/// Sum of channel c over a rectangle of image n.
int64_t sum_of(const ByteTensor& x, int64_t n, const PixelRect& window, int64_t c);

}  // namespace lasnet::reference::int8
