#include <algorithm>

#include "backends/cpu/int8/kernels.h"
#include "base/math.h"

namespace lasnet {
namespace {

GroupedShape shape_of(const Int8Layer& layer) {
  return {.groups = layer.spec.groups,
          .out = static_cast<int>(layer.weight.shape[0]),
          .group_in = static_cast<int>(layer.weight.shape[1])};
}

int taps_of(const Int8Layer& layer) { return layer.spec.kernel * layer.spec.kernel; }

/// Blocks whose input is counted in words: those that the channels of their groups lie in.
std::vector<ChannelBlock> cut_word_blocks(const GroupedShape& shape, const Int8Kernels& kernels) {
  return in_units(cut_channel_blocks(shape, kernels.block_width, kernels.vector_width), kWordBytes);
}

/// One weight of output channel `i` of a block, as kernels read it: [step][width / vector][vector][4] bytes.
void put_weight(uint32_t* packed, const Int8Kernels& kernels, int width, int64_t step, int i, int byte,
                int8_t weight) {
  const int vector = i / kernels.vector_width, lane = i % kernels.vector_width;
  if (kernels.wide_weights) {  // of each vector the even bytes of all lanes first, then the odd ones
    const int64_t word =
        (step * width + vector * kernels.vector_width) * 2 + (byte % 2) * kernels.vector_width + lane;
    reinterpret_cast<int16_t*>(packed + word)[byte / 2] = weight;
  } else {
    reinterpret_cast<int8_t*>(packed + step * width + i)[byte] = weight;
  }
}

/// Fills a zeroed [taps][run][width] array.
void pack_block(const Int8Layer& layer, const GroupedShape& shape, const ChannelBlock& block,
                const Int8Kernels& kernels, uint32_t* packed) {
  const int taps = taps_of(layer);
  for (int i = 0; i < block.width && block.channel + i < shape.out; ++i) {
    const int channel = block.channel + i;
    const int first = channel / shape.group_out() * shape.group_in - block.input * kWordBytes;
    for (int c = 0; c < shape.group_in; ++c) {
      for (int tap = 0; tap < taps; ++tap) {
        const int at = first + c;
        put_weight(packed, kernels, block.width, int64_t{tap} * block.run + at / kWordBytes, i,
                   at % kWordBytes, layer.weight.data[(int64_t{channel} * shape.group_in + c) * taps + tap]);
      }
    }
  }
}

AlignedBuffer padded(const std::vector<float>& values, int channels) {
  AlignedBuffer buffer(channels);
  std::copy(values.begin(), values.end(), buffer.data());
  return buffer;
}

/// Adds what kernels subtract from the inputs of a layer, times its weights.
void add_subtracted(const Int8Layer& layer, const Int8Kernels& kernels, AlignedArray<int32_t>& starts) {
  const int64_t per_channel = layer.weight.size() / layer.weight.shape[0];
  for (int64_t i = 0; i < layer.weight.size(); ++i)
    starts.data()[i / per_channel] += kernels.subtracted * layer.weight.data[i];
}

PackedInt8Conv lay_out(const Int8Layer& layer, int64_t extra_reduction, const Int8Kernels& kernels) {
  PackedInt8Conv packed;
  packed.blocks = cut_word_blocks(shape_of(layer), kernels);
  packed.out_channels = packed.blocks.back().channel + packed.blocks.back().width;
  packed.multiplier = padded(layer.multiplier, packed.out_channels);
  packed.bias = padded(layer.bias, packed.out_channels);
  packed.extra_bias = padded(layer.bias, packed.out_channels);
  packed.start = AlignedArray<int32_t>(packed.out_channels);
  packed.extra_start = AlignedArray<int32_t>(packed.out_channels);
  add_subtracted(layer, kernels, packed.start);
  add_subtracted(layer, kernels, packed.extra_start);
  const int64_t words = kernels.wide_weights ? 2 : 1;
  int64_t size = 0;
  for (ChannelBlock& block : packed.blocks) {
    block.weights = size;
    size += (int64_t{taps_of(layer)} * block.run + extra_reduction) * block.width * words;
  }
  packed.weights = AlignedArray<uint32_t>(size);
  for (const ChannelBlock& block : packed.blocks)
    pack_block(layer, shape_of(layer), block, kernels, packed.weights.data() + block.weights);
  return packed;
}

/// Taps as the kernel reads them: rows of the window where these are runs.
int merged_taps(const Int8Layer& layer, bool merge_rows) {
  return merge_rows ? layer.spec.kernel : taps_of(layer);
}

/// The least significant of a masker's parts, taken from `weight`, which is divided by the base.
int8_t take_part(int32_t& weight) {
  const int32_t shifted = weight + kMaskerBase / 2;
  const int32_t quotient = shifted / kMaskerBase - (shifted % kMaskerBase < 0 ? 1 : 0);
  const auto part = static_cast<int8_t>(weight - quotient * kMaskerBase);
  weight = quotient;
  return part;
}

}  // namespace

PackedMasker pack_masker(const std::vector<int32_t>& weight, const Int8Kernels& kernels) {
  const int width = kernels.vector_width, words = kernels.wide_weights ? 2 : 1;
  const auto channels = static_cast<int>(weight.size());
  PackedMasker packed;
  packed.steps = static_cast<int>(ceil_div(channels, width * kWordBytes));
  packed.weights = AlignedArray<uint32_t>(int64_t{packed.steps} * kMaskerParts * width * words);
  for (int c = 0; c < channels; ++c) {
    const int word = c / kWordBytes, step = word / width;
    int32_t rest = weight[c];
    for (int part = 0; part < kMaskerParts; ++part) {
      put_weight(packed.weights.data(), kernels, width, int64_t{step} * kMaskerParts + part, word % width,
                 c % kWordBytes, take_part(rest));
    }
    packed.pixel_start += int64_t{kernels.subtracted} * weight[c];
  }
  return packed;
}

int64_t PackedInt8Conv::reduction() const {
  int64_t longest = 0;
  for (const ChannelBlock& block : blocks) longest = std::max<int64_t>(longest, block.run);
  return taps * longest + int64_t{extra_taps} * extra_run;
}

PackedInt8Conv pack_int8_conv(const Int8Layer& layer, bool merge_rows, const Int8Kernels& kernels) {
  PackedInt8Conv packed = lay_out(layer, 0, kernels);
  packed.taps = merged_taps(layer, merge_rows);
  for (ChannelBlock& block : packed.blocks) block.run *= taps_of(layer) / packed.taps;
  return packed;
}

PackedInt8Conv pack_int8_sum(const Int8Layer& layer, const Int8Layer& extra, bool merge_extra_rows,
                             const Int8Kernels& kernels) {
  const GroupedShape shape = shape_of(extra);
  const int run = ceil_div(shape.group_in, kWordBytes);
  PackedInt8Conv packed = lay_out(layer, int64_t{taps_of(extra)} * run, kernels);
  packed.taps = taps_of(layer);
  for (const ChannelBlock& block : packed.blocks) {
    ChannelBlock of_extra = block;
    of_extra.input = 0;
    of_extra.run = run;
    const int64_t words = kernels.wide_weights ? 2 : 1;
    pack_block(
        extra, shape, of_extra, kernels,
        packed.weights.data() + block.weights + int64_t{packed.taps} * block.run * block.width * words);
  }
  packed.extra_taps = merged_taps(extra, merge_extra_rows);
  add_subtracted(extra, kernels, packed.extra_start);
  packed.extra_run = run * taps_of(extra) / packed.extra_taps;
  for (size_t c = 0; c < extra.bias.size(); ++c) packed.extra_bias.data()[c] += extra.bias[c];
  return packed;
}

}  // namespace lasnet
