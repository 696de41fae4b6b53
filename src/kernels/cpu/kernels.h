// The CPU operators, as one table of functions per instruction set.
//
// Activations are NHWC maps with a one-pixel zero border: pixel (n, y, x) of an H x W map has index
// (n * (H + 2) + y + 1) * (W + 2) + x + 1 and its channels start at index * pitch. A convolution is an
// implicit GEMM over *lists of pixel indices*: each output pixel names its centre input pixel, and the taps
// lie at constant offsets from there. Dense and sparse runs use the same kernel with different lists, so
// every output value is summed in the same order and does not depend on the mask, the tiling or the threads.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned.h"
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

/// A convolution's weights for one instruction set: output channels in blocks of `block_width`, each block a
/// contiguous [taps][run][width] array, width = min(block_width, padded channels left).
struct PackedConv {
  int taps = 1;          ///< contiguous input runs per output pixel
  int run = 0;           ///< floats per run
  int out_channels = 0;  ///< padded to the vector width
  int block_width = 0;
  AlignedBuffer weights;  ///< out_channels * taps * run
  AlignedBuffer bias;     ///< out_channels

  int channel_blocks() const { return (out_channels + block_width - 1) / block_width; }
  int64_t reduction() const { return int64_t{taps} * run; }
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
};

/// A share of a ConvCall: pixels [pixel_begin, pixel_end) x channel blocks [block_begin, block_end).
struct ConvTask {
  int64_t pixel_begin = 0, pixel_end = 0;
  int block_begin = 0, block_end = 0;
};

/// The masker of one block: logit difference of patches by mean pooling and a dot product (paper eq. 1, 2).
struct MaskerCall {
  const float* x = nullptr;  ///< block input map
  int64_t pitch = 0;
  MapSize input;
  PatchGrid grid;
  int stride = 1;                 ///< of the block
  int channels = 0;               ///< padded to the vector width
  const float* weight = nullptr;  ///< w0 - w1, [channels], zero in the padding
  float bias = 0;                 ///< b0 - b1
  float* differences = nullptr;   ///< [N, rows, cols]
};

/// 3x3 stride-2 max-pool, padding 1, of a non-negative map (so that the zero border is neutral).
struct MaxPoolCall {
  const float* in = nullptr;
  float* out = nullptr;
  int64_t pitch = 0;
  MapSize input, output;
  int channels = 0;  ///< padded to the vector width
};

/// Mean over a map: out[n, c].
struct AveragePoolCall {
  const float* in = nullptr;
  int64_t pitch = 0;
  MapSize input;
  int channels = 0;      ///< padded to the vector width
  float* out = nullptr;  ///< [N, channels]
};

/// Independent chains of fma_chains: enough to cover the latency of the widest current cores.
inline constexpr int kFmaChains = 12;

/// One instruction set's operators. All are noexcept and reentrant.
struct CpuKernels {
  Isa isa = Isa::scalar;
  int vector_width = 1;  ///< floats; channel pitches are multiples of it
  int block_width = 1;   ///< output channels of a full register tile
  void (*conv)(const ConvCall&, const ConvTask&, float* scratch) noexcept = nullptr;
  void (*masker)(const MaskerCall&, int64_t image, int64_t patch_row) noexcept = nullptr;
  void (*max_pool)(const MaxPoolCall&, int64_t image, int64_t row) noexcept = nullptr;
  void (*average_pool)(const AveragePoolCall&, int64_t image) noexcept = nullptr;
  /// `steps` dependent multiply-adds on each of kFmaChains vectors: what the processor can do at most. The
  /// result only keeps the work alive.
  float (*fma_chains)(int64_t steps) noexcept = nullptr;
  /// Convolution tasks run by this table so far in the process: shows which instruction set did the work.
  uint64_t (*conv_tasks)() noexcept = nullptr;
};

/// Floats of scratch that `conv` needs: partial sums of a task.
int64_t conv_scratch_size(const CpuKernels& kernels);

/// The table of one instruction set; nullptr if not compiled in.
const CpuKernels* scalar_kernels();
const CpuKernels* avx2_kernels();
const CpuKernels* avx512_kernels();

/// The table for `isa`. Throws Error, listing the available ones, if the processor or the build lacks it.
const CpuKernels& cpu_kernels(Isa isa);

/// Packs weight [out, in, k, k] (groups = 1) and bias [out]. `channel_stride` is the number of floats the
/// weights see per input pixel: the input channels rounded up to the map's padding, so that whole kernel rows
/// of a contiguous map (channel_stride == pitch) become single runs when `merge_rows`.
PackedConv pack_conv(const Tensor& weight, const std::vector<float>& bias, int64_t channel_stride,
                     bool merge_rows, const CpuKernels& kernels);

/// Offsets of the taps of a kernel x kernel convolution packed like this, on a map of this row length (in
/// pixels).
std::vector<int64_t> tap_offsets(int kernel, int64_t row_pixels, int64_t pitch, bool merge_rows);

}  // namespace lasnet
