#include <algorithm>

#include "kernels/cpu/kernels.h"
#include "schedule/schedule.h"

namespace lasnet {
namespace {

/// Fills a zeroed [taps][run][width] array.
void pack_block(const Tensor& weight, const GroupedShape& shape, const ChannelBlock& block, float* packed) {
  int64_t taps = weight.shape[2] * weight.shape[3];
  for (int i = 0; i < block.width && block.channel + i < shape.out; ++i) {
    int channel = block.channel + i;
    int skipped = channel / shape.group_out() * shape.group_in - block.input;
    for (int c = 0; c < shape.group_in; ++c) {
      for (int64_t t = 0; t < taps; ++t) {
        packed[(t * block.run + skipped + c) * block.width + i] =
            weight.data[(int64_t{channel} * shape.group_in + c) * taps + t];
      }
    }
  }
}

}  // namespace

int64_t conv_scratch_size(const CpuKernels& kernels) { return kMaxTaskPixels * kernels.block_width; }

int64_t PackedConv::reduction() const {
  int64_t longest = 0;
  for (const ChannelBlock& block : blocks) longest = std::max<int64_t>(longest, block.run);
  return taps * longest;
}

PackedConv pack_conv(const Tensor& weight, const std::vector<float>& bias, const ConvLayout& layout,
                     const CpuKernels& kernels) {
  GroupedShape shape{.groups = layout.groups,
                     .out = static_cast<int>(weight.shape[0]),
                     .group_in = static_cast<int>(weight.shape[1])};
  int kernel = static_cast<int>(weight.shape[2]), taps = kernel * kernel;
  PackedConv packed;
  packed.blocks = cut_channel_blocks(shape, kernels.block_width, kernels.vector_width);
  packed.out_channels = packed.blocks.back().channel + packed.blocks.back().width;
  packed.bias = AlignedBuffer(packed.out_channels);
  std::copy(bias.begin(), bias.end(), packed.bias.data());
  int64_t size = 0;
  for (ChannelBlock& block : packed.blocks) {
    block.weights = size;
    size += int64_t{taps} * block.run * block.width;
  }
  packed.weights = AlignedBuffer(size);
  for (const ChannelBlock& block : packed.blocks) {
    pack_block(weight, shape, block, packed.weights.data() + block.weights);
  }
  packed.taps = layout.merge_rows ? kernel : taps;
  if (layout.merge_rows) {  // the taps of a row follow one another already
    for (ChannelBlock& block : packed.blocks) block.run *= kernel;
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
