// The CPU operators for Precision::int8, as one table of functions per instruction set.
//
// Maps are bordered NHWC maps of bytes. Four channels are a word, which a dot product reads at once, so input
// addresses count words and output addresses count bytes. Sums are int32, and the epilogue rounds them to
// bytes as engine/int8_network.h says. So every table has the same bits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/channel_blocks.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/layout.h"
#include "base/aligned.h"
#include "engine/int8_network.h"
#include "lasnet/engine.h"

namespace lasnet {

/// What happens to an int32 sum before it is stored.
enum class Int8Epilogue {
  relu,      ///< a byte: scaled, rounded and clamped
  add_relu,  ///< the same, the byte that was there added before clamping: in place
  sums,      ///< the int32 itself
};

/// A convolution's weights for one instruction set. Blocks count input in words.
struct PackedInt8Conv {
  /// Weights of 16 bits, of kernels whose products of bytes these weights would make overflow.
  bool wide = false;
  int taps = 1;          ///< contiguous input runs per output pixel
  int out_channels = 0;  ///< padded to the vector width
  std::vector<ChannelBlock> blocks;
  AlignedArray<uint32_t> weights;
  AlignedBuffer multiplier, bias;  ///< [out_channels]
  /// As of PackedConv: a second convolution, which has the same multiplier.
  int extra_taps = 0;
  int extra_run = 0;
  AlignedBuffer extra_bias;
  /// [out_channels], where kernels subtract from input bytes: what that takes from a sum, without the second
  /// convolution and with it.
  AlignedArray<int32_t> start, extra_start;

  int channel_blocks() const { return static_cast<int>(blocks.size()); }
  /// Words per output value, zero weights included.
  int64_t reduction() const;
};

/// Digits of a masker's weight are bytes to this base: kMaskerBits of them, whose products no instruction set
/// saturates.
inline constexpr int kMaskerBase = 128;
inline constexpr int kMaskerParts = 3;

/// A masker's weights as bytes, for one instruction set.
struct PackedMasker {
  int steps = 0;                   ///< vectors of bytes of a pixel
  AlignedArray<uint32_t> weights;  ///< [steps][kMaskerParts] vectors
  int64_t pixel_start = 0;         ///< what subtracting from input bytes takes from a pixel's product
};

struct Int8ConvCall {
  const PackedInt8Conv* conv = nullptr;
  const uint32_t* in = nullptr;
  int64_t in_pitch = 0;                  ///< words between pixels
  const int64_t* tap_offsets = nullptr;  ///< [conv->taps], words from the centre pixel
  uint8_t* out = nullptr;
  int64_t out_pitch = 0;  ///< bytes between pixels
  PixelPairs pixels;
  Int8Epilogue epilogue = Int8Epilogue::relu;
  ExtraInput<uint32_t> extra = {};
};

/// One row of an image as words: red, green, blue and a zero.
struct QuantizeRowCall {
  const float* red = nullptr;
  const float* green = nullptr;
  const float* blue = nullptr;
  int64_t width = 0;  ///< at least the widest vector
  float inverse_scale = 0, zero = 0;
  uint32_t* out = nullptr;
};

/// 3x3 stride-2 max-pool, padding 1: the zero border is neutral.
struct ByteMaxPoolCall {
  const uint8_t* in = nullptr;
  uint8_t* out = nullptr;
  int64_t pitch = 0;  ///< bytes between pixels, of both maps: whole cache lines
  MapSize input, output;
};

/// Sums of a map's bytes over a rectangle of pixels, per channel.
struct ByteSumCall {
  const uint8_t* in = nullptr;
  int64_t pitch = 0;
  MapSize map;
  int64_t image = 0;
  PixelRect pixels;
  int32_t* out = nullptr;  ///< [channels]
};

/// The dot product of a masker's weights with the sums of a map's bytes over a rectangle of pixels.
struct ByteWindowDotCall {
  const uint8_t* in = nullptr;
  int64_t pitch = 0;  ///< bytes between pixels: whole cache lines
  MapSize map;
  int64_t image = 0;
  PixelRect pixels;
  const PackedMasker* masker = nullptr;
};

/// Sums of a map's bytes over listed pixels, per channel.
struct ByteListSumCall {
  const uint8_t* in = nullptr;
  int64_t pitch = 0;
  const int32_t* pixels = nullptr;
  int64_t count = 0;
  int32_t* out = nullptr;  ///< [channels]
};

/// Multiplies listed pixels by a factor per channel (Squeeze-and-Excitation's excite).
struct ByteScaleCall {
  uint8_t* data = nullptr;
  int64_t pitch = 0;
  const int32_t* pixels = nullptr;
  int64_t count = 0;
  int channels = 0;               ///< padded to the vector width
  const float* factor = nullptr;  ///< [channels]
};

/// One instruction set's operators. All are noexcept and reentrant.
struct Int8Kernels {
  using Call = Int8ConvCall;
  using Partial = int32_t;  ///< of a sum between slices of its reduction

  const char* name = "";
  Isa isa = Isa::scalar;  ///< the set that it belongs to
  int vector_width = 1;   ///< int32 sums
  int block_width = 1;    ///< output channels of a full register tile
  /// Pairs of products are added in 16 bits, where they saturate unless the pair's weights fit (fit_pairs).
  /// Those that do not are packed in 16 bits each.
  bool narrow_pairs = false;
  int subtracted = 0;  ///< from input bytes, borders included, before they are multiplied
  void (*conv)(const Int8ConvCall&, const ConvTask&, int32_t* scratch) noexcept = nullptr;
  void (*quantize_row)(const QuantizeRowCall&) noexcept = nullptr;
  void (*max_pool)(const ByteMaxPoolCall&, int64_t image, int64_t row) noexcept = nullptr;
  /// Channels [begin, end), both multiples of the vector width.
  void (*sum)(const ByteSumCall&, int begin, int end) noexcept = nullptr;
  void (*list_sum)(const ByteListSumCall&, int begin, int end) noexcept = nullptr;
  void (*scale)(const ByteScaleCall&) noexcept = nullptr;
  int64_t (*window_dot)(const ByteWindowDotCall&) noexcept = nullptr;
  /// Of `count` values, a multiple of the vector width.
  int64_t (*dot)(const int32_t* a, const int32_t* b, int64_t count) noexcept = nullptr;
  /// Convolution tasks run by this table so far in the process.
  uint64_t (*conv_tasks)() noexcept = nullptr;
};

/// The table of one instruction set, in builds for its processors.
const Int8Kernels* scalar_int8_kernels();
const Int8Kernels* avx2_int8_kernels();
const Int8Kernels* avx_vnni_int8_kernels();
const Int8Kernels* avx512_vnni_int8_kernels();
const Int8Kernels* neon_int8_kernels();
const Int8Kernels* neon_dotprod_int8_kernels();

/// All tables that this processor can run, slowest first.
std::vector<const Int8Kernels*> available_int8_kernels();
/// The fastest one that needs no more than `isa` and the dot products that belong to it.
const Int8Kernels& int8_kernels(Isa isa);

/// Whether 255 times each pair of neighbouring channels' weights, those of one sign added, fits 16 bits.
bool fit_pairs(const Int8Layer& layer);

/// `weight` [channels] of at most kMaskerBits and a sign.
PackedMasker pack_masker(const std::vector<int32_t>& weight, const Int8Kernels& kernels);

/// `in_pitch` in words: it decides whether rows of the kernel are merged.
PackedInt8Conv pack_int8_conv(const Int8Layer& layer, bool merge_rows, const Int8Kernels& kernels);
/// Packs two convolutions with the same outputs and multipliers that are summed. Neither is grouped.
PackedInt8Conv pack_int8_sum(const Int8Layer& layer, const Int8Layer& extra, bool merge_extra_rows,
                             const Int8Kernels& kernels);

}  // namespace lasnet
