// The CPU operators, as one table of functions per instruction set.
//
// Activations are NHWC maps with a zero border, one pixel wide or as wide as the dilation of what reads them.
// `bordered_index` gives the index of a pixel (n, y, x). Its channels start at index * pitch.
//
// A convolution is an implicit GEMM over *lists of pixel indices*. Each output pixel names its centre input
// pixel, and the taps lie at constant offsets from there. Dense and sparse runs use the same kernel with
// different lists. So every output value is summed in the same order. It does not depend on the mask, the
// tiling or the threads.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/channel_blocks.h"
#include "backends/cpu/tiling.h"
#include "base/aligned.h"
#include "lasnet/engine.h"
#include "lasnet/mask.h"
#include "mask/active_lists.h"

// Fully unrolls the next loop over a register tile, whose trip count is a constant.
#if defined(__clang__)
#define LASNET_UNROLL _Pragma("unroll")
#else
#define LASNET_UNROLL _Pragma("GCC unroll 16")
#endif

namespace lasnet {

/// What happens to a sum before it is stored; all add the bias.
enum class Epilogue {
  bias,           ///< out = sum + b
  bias_relu,      ///< out = max(0, sum + b)
  bias_add_relu,  ///< out = max(0, out + sum + b): the residual addition, in place
};

/// A convolution's weights for one instruction set, cut into blocks of output channels.
struct PackedConv {
  int taps = 1;          ///< contiguous input runs per output pixel
  int out_channels = 0;  ///< padded to the vector width
  std::vector<ChannelBlock> blocks;
  AlignedBuffer weights;
  AlignedBuffer bias;  ///< out_channels
  /// A second convolution summed into some of the pixels; its [extra_taps][extra_run][width] weights follow
  /// each block's own. 0 taps: none.
  int extra_taps = 0;
  int extra_run = 0;
  AlignedBuffer extra_bias;  ///< of the pixels that have it: both biases

  int channel_blocks() const { return static_cast<int>(blocks.size()); }
  /// MACs per output value, zero weights included.
  int64_t reduction() const;
};

/// What the first `count` pixels of a ConvCall also sum: windows of a second map.
template <typename Word>
struct ExtraInput {
  const Word* in = nullptr;
  int64_t in_pitch = 0;
  const int64_t* tap_offsets = nullptr;  ///< [conv->extra_taps]
  const int32_t* pixels = nullptr;       ///< centres
  int64_t count = 0;
};

struct ConvCall {
  const PackedConv* conv = nullptr;
  const float* in = nullptr;
  int64_t in_pitch = 0;                  ///< floats between pixels
  const int64_t* tap_offsets = nullptr;  ///< [conv->taps], floats from the centre pixel
  float* out = nullptr;
  int64_t out_pitch = 0;
  PixelPairs pixels;
  Epilogue epilogue = Epilogue::bias;
  ExtraInput<float> extra = {};
};

/// A share of a ConvCall: pixels [pixel_begin, pixel_end) x channel blocks [block_begin, block_end).
struct ConvTask {
  int64_t pixel_begin = 0, pixel_end = 0;
  int block_begin = 0, block_end = 0;
  int64_t index = 0;  ///< of its run of pixels
};

/// Sums of x over the cells of a square grid, [N, rows, cols, pitch]: what maskers pool. A cell of side 1 is
/// a pixel, and the sums are x itself.
struct CellSums {
  const float* data = nullptr;  ///< cell (0, 0) of image 0
  int64_t pitch = 0;            ///< floats between cells
  int64_t row = 0, image = 0;   ///< floats between rows of cells and between images
  int64_t side = 1;             ///< of a cell, pixels of x
};

/// The masker of one block: logit difference of patches by mean pooling and a dot product (paper eq. 1, 2).
/// The window of a patch is a whole number of cells, but for the map's last rows and columns.
struct MaskerCall {
  CellSums sums;
  MapSize input;  ///< block input map, pixels
  PatchGrid grid;
  int stride = 1;                 ///< of the block
  int channels = 0;               ///< padded to the vector width
  const float* weight = nullptr;  ///< w0 - w1, [channels], zero in the padding
  float bias = 0;                 ///< b0 - b1
  float* differences = nullptr;   ///< [N, rows, cols]
};

/// Sums of a map over the pixels of one patch, per channel, row by row.
struct PatchSumCall {
  const float* in = nullptr;
  int64_t pitch = 0;
  MapSize map;
  int64_t image = 0;
  PixelRect pixels;
  float* out = nullptr;  ///< [channels]
};

/// The dot product of listed pixels with a vector, for a masker that follows conv1 over the map.
struct DotCall {
  const float* in = nullptr;
  int64_t pitch = 0;
  const int32_t* pixels = nullptr;
  int64_t count = 0;
  int channels = 0;               ///< padded to the vector width
  const float* weight = nullptr;  ///< [channels]
  float* out = nullptr;           ///< indexed by pixel
};

/// out = max(0, out + addend) over neighbouring pixels of maps of one layout.
struct AddCall {
  const float* addend = nullptr;
  float* out = nullptr;
  int64_t floats = 0;  ///< a multiple of the vector width
};

/// 3x3 stride-2 max-pool, padding 1, of a non-negative map (so that the zero border is neutral).
struct MaxPoolCall {
  const float* in = nullptr;
  float* out = nullptr;
  int64_t pitch = 0;
  MapSize input, output;
  int channels = 0;  ///< padded to the vector width
};

/// Mean of one image's listed pixels per channel (paper section 3.1 for masks; Squeeze-and-Excitation's
/// squeeze, and with all pixels the network's global average pool).
struct MeanCall {
  const float* in = nullptr;
  int64_t pitch = 0;
  const int32_t* pixels = nullptr;
  int64_t count = 0;     ///< >= 1
  float* out = nullptr;  ///< [channels]
};

/// Multiplies listed pixels by a value per channel (Squeeze-and-Excitation's excite).
struct ScaleCall {
  float* data = nullptr;
  int64_t pitch = 0;
  const int32_t* pixels = nullptr;
  int64_t count = 0;
  int channels = 0;              ///< padded to the vector width
  const float* scale = nullptr;  ///< [channels]
};

/// Independent chains of fma_chains: enough to cover the latency of the widest current cores.
inline constexpr int kFmaChains = 12;

/// One instruction set's operators. All are noexcept and reentrant.
struct CpuKernels {
  using Call = ConvCall;
  using Partial = float;  ///< of a sum between slices of its reduction

  Isa isa = Isa::scalar;
  int vector_width = 1;  ///< floats; channel pitches are multiples of it
  int block_width = 1;   ///< output channels of a full register tile
  void (*conv)(const ConvCall&, const ConvTask&, float* scratch) noexcept = nullptr;
  void (*masker)(const MaskerCall&, int64_t image, int64_t patch_row) noexcept = nullptr;
  void (*max_pool)(const MaxPoolCall&, int64_t image, int64_t row) noexcept = nullptr;
  /// Of mean and patch_sum: channels [begin, end), both multiples of the vector width.
  void (*patch_sum)(const PatchSumCall&, int begin, int end) noexcept = nullptr;
  void (*dot)(const DotCall&) noexcept = nullptr;
  void (*add_relu)(const AddCall&) noexcept = nullptr;
  void (*mean)(const MeanCall&, int begin, int end) noexcept = nullptr;
  void (*scale)(const ScaleCall&) noexcept = nullptr;
  /// `steps` dependent multiply-adds on each of kFmaChains vectors: what the processor can do at most. The
  /// result only keeps the work alive.
  float (*fma_chains)(int64_t steps) noexcept = nullptr;
  /// Convolution tasks run by this table so far in the process: shows which instruction set did the work.
  uint64_t (*conv_tasks)() noexcept = nullptr;
};

/// Partial sums of a task, for which a convolution needs scratch.
inline int64_t conv_scratch_size(int block_width) { return kMaxTaskPixels * block_width; }

/// The table of one instruction set; nullptr if not compiled in.
const CpuKernels* scalar_kernels();
const CpuKernels* avx2_kernels();
const CpuKernels* avx512_kernels();
const CpuKernels* neon_kernels();

/// The table for `isa`. Throws Error, listing the available ones, if the processor or the build lacks it.
const CpuKernels& cpu_kernels(Isa isa);

/// A convolution to pack: weight [out, in / groups, k, k] and bias [out], BatchNorm folded.
struct ConvWeights {
  const Tensor& weight;
  const std::vector<float>& bias;
  int groups = 1;
  /// The floats from pixel to pixel of the input are its channels, so that a kernel row is one contiguous
  /// run. Needs groups = 1.
  bool merge_rows = false;
};

PackedConv pack_conv(const ConvWeights& conv, const CpuKernels& kernels);

/// Packs two ungrouped convolutions with the same outputs that are summed.
PackedConv pack_conv_sum(const ConvWeights& conv, const ConvWeights& extra, const CpuKernels& kernels);

}  // namespace lasnet
