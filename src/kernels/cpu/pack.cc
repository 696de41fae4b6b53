#include <algorithm>

#include "kernels/cpu/kernels.h"
#include "schedule/schedule.h"

namespace lasnet {
namespace {

int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

struct GroupedShape {
  int groups, out, group_in;

  int group_out() const { return out / groups; }
};

/// Blocks of at most `width` output channels.
std::vector<ChannelBlock> cut_blocks(const GroupedShape& shape, int width, int vector_width) {
  std::vector<ChannelBlock> blocks;
  for (int channel = 0; channel < shape.out; channel += width) {
    int end = std::min(channel + width, shape.out);
    int first_group = channel / shape.group_out(), last_group = (end - 1) / shape.group_out();
    blocks.push_back({.channel = channel,
                      .width = round_up(end - channel, vector_width),
                      .input = first_group * shape.group_in,
                      .run = (last_group - first_group + 1) * shape.group_in});
  }
  return blocks;
}

int64_t macs_per_tap(const std::vector<ChannelBlock>& blocks) {
  int64_t macs = 0;
  for (const ChannelBlock& block : blocks) macs += int64_t{block.width} * block.run;
  return macs;
}

/// The widest blocks among those with the fewest multiplications by zero.
std::vector<ChannelBlock> best_blocks(const GroupedShape& shape, const CpuKernels& kernels) {
  std::vector<ChannelBlock> best = cut_blocks(shape, kernels.block_width, kernels.vector_width);
  if (shape.groups == 1) return best;
  for (int width = kernels.block_width - kernels.vector_width; width > 0; width -= kernels.vector_width) {
    std::vector<ChannelBlock> blocks = cut_blocks(shape, width, kernels.vector_width);
    if (macs_per_tap(blocks) < macs_per_tap(best)) best = std::move(blocks);
  }
  return best;
}

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
  packed.blocks = best_blocks(shape_of(conv), kernels);
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

int64_t conv_scratch_size(const CpuKernels& kernels) { return kMaxTaskPixels * kernels.block_width; }

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
