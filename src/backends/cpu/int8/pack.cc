#include <algorithm>
#include <array>
#include <cstdlib>

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

/// How weights lie.
struct WeightLayout {
  int vector_width = 1;
  bool wide = false;

  int words() const { return wide ? 2 : 1; }

  /// One weight of output channel `i` of a block, as kernels read it: [step][width / vector][vector][4]
  /// bytes.
  void put(uint32_t* packed, int width, int64_t step, int i, int byte, int8_t weight) const {
    const int vector = i / vector_width, lane = i % vector_width;
    if (wide) {  // of each vector the even bytes of all lanes first, then the odd ones
      const int64_t word = (step * width + vector * vector_width) * 2 + (byte % 2) * vector_width + lane;
      reinterpret_cast<int16_t*>(packed + word)[byte / 2] = weight;
    } else {
      reinterpret_cast<int8_t*>(packed + step * width + i)[byte] = weight;
    }
  }
};

/// Fills a zeroed [taps][run][width] array.
void pack_block(const Int8Layer& layer, const GroupedShape& shape, const ChannelBlock& block,
                const WeightLayout& layout, uint32_t* packed) {
  const int taps = taps_of(layer);
  for (int i = 0; i < block.width && block.channel + i < shape.out; ++i) {
    const int channel = block.channel + i;
    const int first = channel / shape.group_out() * shape.group_in - block.input * kWordBytes;
    for (int c = 0; c < shape.group_in; ++c) {
      for (int tap = 0; tap < taps; ++tap) {
        const int at = first + c;
        layout.put(packed, block.width, int64_t{tap} * block.run + at / kWordBytes, i, at % kWordBytes,
                   layer.weight.data[(int64_t{channel} * shape.group_in + c) * taps + tap]);
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

WeightLayout layout_of(const PackedInt8Conv& packed, const Int8Kernels& kernels) {
  return {kernels.vector_width, packed.wide};
}

PackedInt8Conv lay_out(const Int8Layer& layer, int64_t extra_reduction, bool wide,
                       const Int8Kernels& kernels) {
  PackedInt8Conv packed;
  packed.wide = wide;
  packed.blocks = cut_word_blocks(shape_of(layer), kernels);
  packed.out_channels = packed.blocks.back().channel + packed.blocks.back().width;
  packed.multiplier = padded(layer.multiplier, packed.out_channels);
  packed.bias = padded(layer.bias, packed.out_channels);
  packed.extra_bias = padded(layer.bias, packed.out_channels);
  packed.start = AlignedArray<int32_t>(packed.out_channels);
  packed.extra_start = AlignedArray<int32_t>(packed.out_channels);
  add_subtracted(layer, kernels, packed.start);
  add_subtracted(layer, kernels, packed.extra_start);
  const WeightLayout layout = layout_of(packed, kernels);
  int64_t size = 0;
  for (ChannelBlock& block : packed.blocks) {
    block.weights = size;
    size += (int64_t{taps_of(layer)} * block.run + extra_reduction) * block.width * layout.words();
  }
  packed.weights = AlignedArray<uint32_t>(size);
  for (const ChannelBlock& block : packed.blocks)
    pack_block(layer, shape_of(layer), block, layout, packed.weights.data() + block.weights);
  return packed;
}

/// Taps as the kernel reads them: rows of the window where these are runs.
int merged_taps(const Int8Layer& layer, bool merge_rows) {
  return merge_rows ? layer.spec.kernel : taps_of(layer);
}

/// A masker's weight as digits of kMaskerBase, the least significant first; each is -64 to 64.
std::array<int8_t, kMaskerParts> masker_parts(int32_t weight) {
  std::array<int8_t, kMaskerParts> parts{};
  for (int part = 0; part + 1 < kMaskerParts; ++part) {
    const int32_t shifted = weight + kMaskerBase / 2;
    const int32_t quotient = shifted / kMaskerBase - (shifted % kMaskerBase < 0 ? 1 : 0);
    parts[part] = static_cast<int8_t>(weight - quotient * kMaskerBase);
    weight = quotient;
  }
  parts.back() = static_cast<int8_t>(weight);
  return parts;
}

}  // namespace

bool fit_pairs(const Int8Layer& layer) {
  const int64_t out = layer.weight.shape[0], in = layer.weight.shape[1], taps = taps_of(layer);
  for (int64_t o = 0; o < out; ++o) {
    const int64_t first_input = o / (out / layer.spec.groups) * in;
    const int8_t* weights = layer.weight.data.data() + o * in * taps;
    for (int64_t c = first_input % 2; c + 1 < in; c += 2) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int sum = weights[c * taps + tap] + weights[(c + 1) * taps + tap];
        if (std::abs(sum) > kMaxPairOfWeights) return false;  // of two signs it is smaller than either
      }
    }
  }
  return true;
}

PackedMasker pack_masker(const std::vector<int32_t>& weight, const Int8Kernels& kernels) {
  const int width = kernels.vector_width;
  const WeightLayout layout{width};
  const auto channels = static_cast<int>(weight.size());
  PackedMasker packed;
  packed.steps = static_cast<int>(ceil_div(channels, width * kWordBytes));
  packed.weights = AlignedArray<uint32_t>(int64_t{packed.steps} * kMaskerParts * width);
  for (int c = 0; c < channels; ++c) {
    const int word = c / kWordBytes, step = word / width;
    const std::array<int8_t, kMaskerParts> parts = masker_parts(weight[c]);
    for (int part = 0; part < kMaskerParts; ++part) {
      layout.put(packed.weights.data(), width, int64_t{step} * kMaskerParts + part, word % width,
                 c % kWordBytes, parts[part]);
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
  PackedInt8Conv packed = lay_out(layer, 0, kernels.narrow_pairs && !fit_pairs(layer), kernels);
  packed.taps = merged_taps(layer, merge_rows);
  for (ChannelBlock& block : packed.blocks) block.run *= taps_of(layer) / packed.taps;
  return packed;
}

PackedInt8Conv pack_int8_sum(const Int8Layer& layer, const Int8Layer& extra, bool merge_extra_rows,
                             const Int8Kernels& kernels) {
  const GroupedShape shape = shape_of(extra);
  const int run = ceil_div(shape.group_in, kWordBytes);
  const bool wide = kernels.narrow_pairs && !(fit_pairs(layer) && fit_pairs(extra));
  PackedInt8Conv packed = lay_out(layer, int64_t{taps_of(extra)} * run, wide, kernels);
  const WeightLayout layout = layout_of(packed, kernels);
  packed.taps = taps_of(layer);
  for (const ChannelBlock& block : packed.blocks) {
    ChannelBlock of_extra = block;
    of_extra.input = 0;
    of_extra.run = run;
    const int64_t before = int64_t{packed.taps} * block.run * block.width * layout.words();
    pack_block(extra, shape, of_extra, layout, packed.weights.data() + block.weights + before);
  }
  packed.extra_taps = merged_taps(extra, merge_extra_rows);
  add_subtracted(extra, kernels, packed.extra_start);
  packed.extra_run = run * taps_of(extra) / packed.extra_taps;
  for (size_t c = 0; c < extra.bias.size(); ++c) packed.extra_bias.data()[c] += extra.bias[c];
  return packed;
}

}  // namespace lasnet
