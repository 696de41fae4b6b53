#include <algorithm>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/tiling.h"

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

GroupedShape shape_of(const ConvWeights& conv) {
  return {.groups = conv.groups,
          .out = static_cast<int>(conv.weight.shape[0]),
          .group_in = static_cast<int>(conv.weight.shape[1])};
}

int taps_of(const ConvWeights& conv) { return static_cast<int>(conv.weight.shape[2] * conv.weight.shape[3]); }

/// How many runs there are and how long they are once the rows of the kernel are merged.
struct Runs {
  int taps, run;
};

Runs runs_of(const ConvWeights& conv, int run) {
  int kernel = static_cast<int>(conv.weight.shape[2]);
  return conv.merge_rows ? Runs{kernel, run * kernel} : Runs{taps_of(conv), run};
}

AlignedBuffer padded_bias(const PackedConv& packed, const std::vector<float>& bias) {
  AlignedBuffer padded(packed.out_channels);
  std::copy(bias.begin(), bias.end(), padded.data());
  return padded;
}

/// Blocks, biases and zeroed weights; `extra_reduction` more weights per output channel in each block.
PackedConv lay_out(const ConvWeights& conv, int64_t extra_reduction, const CpuKernels& kernels) {
  PackedConv packed;
  packed.blocks = cut_channel_blocks(shape_of(conv), kernels.block_width, kernels.vector_width);
  packed.out_channels = packed.blocks.back().channel + packed.blocks.back().width;
  packed.bias = padded_bias(packed, conv.bias);
  packed.extra_bias = padded_bias(packed, conv.bias);
  int64_t size = 0;
  for (ChannelBlock& block : packed.blocks) {
    block.weights = size;
    size += (int64_t{taps_of(conv)} * block.run + extra_reduction) * block.width;
  }
  packed.weights = AlignedBuffer(size);
  return packed;
}

/// Fills the blocks' own weights, then describes them as the kernel reads them.
void pack_blocks(const ConvWeights& conv, PackedConv& packed) {
  for (ChannelBlock& block : packed.blocks) {
    pack_block(conv.weight, shape_of(conv), block, packed.weights.data() + block.weights);
    Runs runs = runs_of(conv, block.run);
    packed.taps = runs.taps;
    block.run = runs.run;
  }
}

}  // namespace

int64_t PackedConv::reduction() const {
  int64_t longest = 0;
  for (const ChannelBlock& block : blocks) longest = std::max<int64_t>(longest, block.run);
  return taps * longest + int64_t{extra_taps} * extra_run;
}

PackedConv pack_conv(const ConvWeights& conv, const CpuKernels& kernels) {
  PackedConv packed = lay_out(conv, 0, kernels);
  pack_blocks(conv, packed);
  return packed;
}

PackedConv pack_conv_sum(const ConvWeights& conv, const ConvWeights& extra, const CpuKernels& kernels) {
  GroupedShape shape = shape_of(extra);
  PackedConv packed = lay_out(conv, int64_t{taps_of(extra)} * shape.group_in, kernels);
  pack_blocks(conv, packed);
  for (const ChannelBlock& block : packed.blocks) {
    ChannelBlock of_extra = block;
    of_extra.input = 0;
    of_extra.run = shape.group_in;
    pack_block(extra.weight, shape, of_extra,
               packed.weights.data() + block.weights + int64_t{packed.taps} * block.run * block.width);
  }
  Runs runs = runs_of(extra, shape.group_in);
  packed.extra_taps = runs.taps;
  packed.extra_run = runs.run;
  for (size_t c = 0; c < extra.bias.size(); ++c) packed.extra_bias.data()[c] += extra.bias[c];
  return packed;
}

}  // namespace lasnet
