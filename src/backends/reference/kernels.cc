#include "backends/reference/kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/math.h"

namespace lasnet::reference {
namespace {

/// Adds the products of one input pixel and one kernel tap to the sums of an output pixel.
void add_tap(const float* x, const Tensor& weight, int64_t tap, int groups, std::vector<double>& sums) {
  int64_t out = weight.shape[0], in = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  for (int64_t o = 0; o < out; ++o) {
    const float* channels = x + o / (out / groups) * in;
    for (int64_t c = 0; c < in; ++c) sums[o] += double{channels[c]} * weight.data[(o * in + c) * taps + tap];
  }
}

/// Values [N, rows, columns] as [N, columns, rows], which the result's shape holds.
Tensor transposed(const TensorView& x, int64_t rows, int64_t columns, Shape shape) {
  Tensor y(std::move(shape));
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t n = i / (rows * columns), row = i / columns % rows, column = i % columns;
    y.data[(n * columns + column) * rows + row] = x.data[i];
  }
  return y;
}

}  // namespace

Tensor nchw_to_nhwc(const TensorView& x) {
  int64_t batch = x.shape[0], channels = x.shape[1], height = x.shape[2], width = x.shape[3];
  return transposed(x, channels, height * width, {batch, height, width, channels});
}

Tensor nhwc_to_nchw(const TensorView& x) {
  int64_t batch = x.shape[0], height = x.shape[1], width = x.shape[2], channels = x.shape[3];
  return transposed(x, height * width, channels, {batch, channels, height, width});
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const std::vector<float>& bias, int stride, int groups,
              int dilation) {
  int64_t batch = x.shape[0], height = x.shape[1], width = x.shape[2], in = x.shape[3];
  int64_t out = weight.shape[0], kernel = weight.shape[2], padding = kernel / 2;
  Tensor y({batch, ceil_div(height, stride), ceil_div(width, stride), out});
  std::vector<double> sums(out);
  float* result = y.data.data();
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t oy = 0; oy < y.shape[1]; ++oy) {
      for (int64_t ox = 0; ox < y.shape[2]; ++ox, result += out) {
        std::copy(bias.begin(), bias.end(), sums.begin());
        for (int64_t tap = 0; tap < kernel * kernel; ++tap) {
          int64_t iy = oy * stride + (tap / kernel - padding) * dilation;
          int64_t ix = ox * stride + (tap % kernel - padding) * dilation;
          if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
          add_tap(&x.data[((n * height + iy) * width + ix) * in], weight, tap, groups, sums);
        }
        std::copy(sums.begin(), sums.end(), result);
      }
    }
  }
  return y;
}

void relu(Tensor& x) {
  for (float& value : x.data) value = std::max(value, 0.0f);
}

Tensor max_pool(const Tensor& x) {
  int64_t batch = x.shape[0], height = x.shape[1], width = x.shape[2], channels = x.shape[3];
  Tensor y({batch, (height + 1) / 2, (width + 1) / 2, channels}, -std::numeric_limits<float>::infinity());
  float* result = y.data.data();
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t oy = 0; oy < y.shape[1]; ++oy) {
      for (int64_t ox = 0; ox < y.shape[2]; ++ox, result += channels) {
        for (int64_t iy = std::max<int64_t>(2 * oy - 1, 0); iy < std::min(2 * oy + 2, height); ++iy) {
          for (int64_t ix = std::max<int64_t>(2 * ox - 1, 0); ix < std::min(2 * ox + 2, width); ++ix) {
            const float* pixel = &x.data[((n * height + iy) * width + ix) * channels];
            for (int64_t c = 0; c < channels; ++c) result[c] = std::max(result[c], pixel[c]);
          }
        }
      }
    }
  }
  return y;
}

Tensor average_pool(const Tensor& x) {
  int64_t batch = x.shape[0], pixels = x.shape[1] * x.shape[2], channels = x.shape[3];
  Tensor y({batch, channels});
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t p = 0; p < pixels; ++p) sum += x.data[(n * pixels + p) * channels + c];
      y.data[n * channels + c] = static_cast<float>(sum / static_cast<double>(pixels));
    }
  }
  return y;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  int64_t batch = x.shape[0], in = x.shape[1], out = weight.shape[0];
  Tensor y({batch, out});
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias.data[o];
      for (int64_t c = 0; c < in; ++c) sum += double{x.data[n * in + c]} * weight.data[o * in + c];
      y.data[n * out + o] = static_cast<float>(sum);
    }
  }
  return y;
}

Tensor masker_differences(const Tensor& x, const PatchGrid& grid, int stride, const Tensor& weight,
                          const Tensor& bias) {
  int64_t batch = x.shape[0], width = x.shape[2], channels = x.shape[3];
  MapSize input{x.shape[1], width};
  Tensor differences({batch, grid.rows(), grid.cols()});
  float* result = differences.data.data();
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (int64_t col = 0; col < grid.cols(); ++col) {
        PixelRect window = patch_window(grid, row, col, stride, input);
        double logits[2] = {bias.data[0], bias.data[1]};
        for (int64_t c = 0; c < channels; ++c) {
          double sum = 0;
          for (int64_t y = window.top; y < window.bottom; ++y) {
            for (int64_t i = window.left; i < window.right; ++i) {
              sum += x.data[((n * input.height + y) * width + i) * channels + c];
            }
          }
          double mean = sum / static_cast<double>(window.pixels());
          for (int k = 0; k < 2; ++k) logits[k] += mean * weight.data[k * channels + c];
        }
        *result++ = static_cast<float>(logits[0] - logits[1]);
      }
    }
  }
  return differences;
}

namespace {

/// Mean over the pixels of each image where mask is 1: [N, C].
Tensor masked_average_pool(const Tensor& z, const ByteTensor& mask) {
  int64_t batch = z.shape[0], pixels = z.shape[1] * z.shape[2], channels = z.shape[3];
  Tensor pooled({batch, channels});
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      int64_t count = 0;
      for (int64_t i = n * pixels; i < (n + 1) * pixels; ++i) {
        if (!mask.data[i]) continue;
        sum += z.data[i * channels + c];
        ++count;
      }
      pooled.data[n * channels + c] =
          static_cast<float>(sum / static_cast<double>(std::max<int64_t>(count, 1)));
    }
  }
  return pooled;
}

Tensor as_matrix(Tensor weight) {
  weight.shape.resize(2);
  return weight;
}

}  // namespace

Tensor squeeze_excite(const Tensor& z, const ByteTensor& pool_mask, const SqueezeExcite& layers) {
  Tensor squeezed = linear(masked_average_pool(z, pool_mask), as_matrix(layers.fc1_weight), layers.fc1_bias);
  relu(squeezed);
  Tensor scale = linear(squeezed, as_matrix(layers.fc2_weight), layers.fc2_bias);
  for (float& value : scale.data) value = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(value))));
  Tensor y = z;
  int64_t image = z.size() / z.shape[0], channels = z.shape[3];
  for (int64_t i = 0; i < y.size(); ++i) y.data[i] *= scale.data[i / image * channels + i % channels];
  return y;
}

Tensor masked_residual(const Tensor& identity, const Tensor& body, const ByteTensor& mask) {
  Tensor y = identity;
  int64_t channels = y.shape[3];
  for (size_t i = 0; i < y.data.size(); ++i) {
    if (mask.data[i / channels]) y.data[i] += body.data[i];
  }
  relu(y);
  return y;
}

}  // namespace lasnet::reference
