#include "backends/reference/int8_kernels.h"

#include <algorithm>
#include <cmath>

namespace lasnet::reference::int8 {

Sums conv_sums(const ByteTensor& x, const Int8Layer& layer, uint8_t zero) {
  const ConvSpec& conv = layer.spec;
  const int64_t batch = x.shape[0], height = x.shape[1], width = x.shape[2], in = x.shape[3];
  const int64_t group_in = layer.weight.shape[1], group_out = conv.out_channels / conv.groups;
  const MapSize size = conv.output({height, width});
  Sums sums({batch, size.height, size.width, conv.out_channels});
  for (int64_t i = 0; i < sums.size(); ++i) {
    const int64_t o = i % conv.out_channels, pixel = i / conv.out_channels;
    const int64_t ox = pixel % size.width, oy = pixel / size.width % size.height, n = pixel / size.pixels();
    const int8_t* weight = layer.weight.data.data() + o * group_in * conv.kernel * conv.kernel;
    for (int64_t c = 0; c < group_in; ++c) {
      for (int64_t ky = 0; ky < conv.kernel; ++ky) {
        for (int64_t kx = 0; kx < conv.kernel; ++kx, ++weight) {
          const int64_t y = oy * conv.stride - conv.padding() + ky * conv.dilation;
          const int64_t column = ox * conv.stride - conv.padding() + kx * conv.dilation;
          const bool inside = y >= 0 && y < height && column >= 0 && column < width;
          const int64_t channel = o / group_out * group_in + c;
          const uint8_t byte = inside ? x.data[((n * height + y) * width + column) * in + channel] : zero;
          sums.data[i] += int32_t{byte} * *weight;
        }
      }
    }
  }
  return sums;
}

int32_t scaled(int32_t sum, float multiplier, float bias) {
  return round_to_even(std::fma(static_cast<float>(sum), multiplier, bias));
}

ByteTensor relu_layer(const ByteTensor& x, const Int8Layer& layer, uint8_t zero) {
  const Sums sums = conv_sums(x, layer, zero);
  ByteTensor y(sums.shape);
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t c = i % layer.spec.out_channels;
    y.data[i] = to_byte(scaled(sums.data[i], layer.multiplier[c], layer.bias[c]));
  }
  return y;
}

ByteTensor max_pool(const ByteTensor& x) {
  const int64_t batch = x.shape[0], height = x.shape[1], width = x.shape[2], channels = x.shape[3];
  ByteTensor y({batch, (height + 1) / 2, (width + 1) / 2, channels});
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t c = i % channels, ox = i / channels % y.shape[2],
                  oy = i / channels / y.shape[2] % y.shape[1];
    const int64_t n = i / (channels * y.shape[1] * y.shape[2]);
    for (int64_t iy = std::max<int64_t>(2 * oy - 1, 0); iy < std::min(2 * oy + 2, height); ++iy) {
      for (int64_t ix = std::max<int64_t>(2 * ox - 1, 0); ix < std::min(2 * ox + 2, width); ++ix)
        y.data[i] = std::max(y.data[i], x.data[((n * height + iy) * width + ix) * channels + c]);
    }
  }
  return y;
}

int64_t sum_of(const ByteTensor& x, int64_t n, const PixelRect& window, int64_t c) {
  int64_t sum = 0;
  for (int64_t y = window.top; y < window.bottom; ++y) {
    for (int64_t column = window.left; column < window.right; ++column)
      sum += x.data[((n * x.shape[1] + y) * x.shape[2] + column) * x.shape[3] + c];
  }
  return sum;
}

}  // namespace lasnet::reference::int8
