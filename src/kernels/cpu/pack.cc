#include <algorithm>

#include "kernels/cpu/kernels.h"
#include "schedule/schedule.h"

namespace lasnet {
namespace {

int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

int64_t conv_scratch_size(const CpuKernels& kernels) { return kMaxTaskPixels * kernels.block_width; }

PackedConv pack_conv(const Tensor& weight, const std::vector<float>& bias, int64_t channel_stride,
                     bool merge_rows, const CpuKernels& kernels) {
  int out = static_cast<int>(weight.shape[0]), in = static_cast<int>(weight.shape[1]);
  int kernel = static_cast<int>(weight.shape[2]);
  int stride = merge_rows ? static_cast<int>(channel_stride) : in;
  PackedConv packed;
  packed.taps = merge_rows ? kernel : kernel * kernel;
  packed.run = merge_rows ? kernel * stride : in;
  packed.out_channels = round_up(out, kernels.vector_width);
  packed.block_width = kernels.block_width;
  packed.weights = AlignedBuffer(packed.out_channels * packed.reduction());
  packed.bias = AlignedBuffer(packed.out_channels);
  std::copy(bias.begin(), bias.end(), packed.bias.data());
  for (int o = 0; o < out; ++o) {
    int block_begin = o / packed.block_width * packed.block_width;
    int width = std::min(packed.block_width, packed.out_channels - block_begin);
    float* block = packed.weights.data() + block_begin * packed.reduction() + (o - block_begin);
    for (int c = 0; c < in; ++c) {
      for (int t = 0; t < kernel * kernel; ++t) {
        float value = weight.data[(int64_t{o} * in + c) * kernel * kernel + t];
        block[(int64_t{t} * stride + c) * width] = value;
      }
    }
  }
  return packed;
}

std::vector<int64_t> tap_offsets(int kernel, int64_t row_pixels, int64_t pitch, bool merge_rows) {
  std::vector<int64_t> offsets;
  int64_t half = kernel / 2;
  for (int64_t y = -half; y <= half; ++y) {
    if (merge_rows) {
      offsets.push_back((y * row_pixels - half) * pitch);
      continue;
    }
    for (int64_t x = -half; x <= half; ++x) offsets.push_back((y * row_pixels + x) * pitch);
  }
  return offsets;
}

}  // namespace lasnet
