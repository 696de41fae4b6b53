// How the work of a convolution is cut into tasks: plain values and pure functions, shared by the engine and
// the latency model. The choices of a block are in lasnet/schedule.h.
#pragma once

#include <cstdint>

#include "lasnet/geometry.h"
#include "lasnet/schedule.h"

namespace lasnet {

/// What decides the tiling of one convolution.
struct ConvWork {
  int64_t pixels = 0;     ///< output pixels to compute
  int64_t reduction = 0;  ///< MACs per output value: kernel^2 * input channels
  int64_t input_channels = 0;
  int channel_blocks = 1;  ///< output channels in units of the kernel's register block
  int threads = 1;
};

/// One task computes `pixels` output pixels x `channel_blocks` register blocks of channels.
struct ConvTiling {
  int64_t pixels = 1;
  int channel_blocks = 1;

  bool operator==(const ConvTiling&) const = default;
};

/// Largest number of pixels in a task: bounds the scratch for partial sums.
inline constexpr int64_t kMaxTaskPixels = 240;

/// Deals a convolution to the threads. Large weights (late stages) are split by output channel so that each
/// is streamed once per batch; small ones by pixel so that the input is read once.
ConvTiling tile_conv(const ConvWork& work);

/// Rows of patches in one band of Traversal::row_bands: as few as keep x, h1 and h2 of the band in half of a
/// 1 MiB L2; at least one.
int64_t band_patch_rows(const BlockSpec& block, const BlockGeometry& geometry);

/// Rows of the max-pool that run behind the stem's convolution before that goes on: as many as keep what they
/// read in half of a 1 MiB L2 of each thread; at least one. `row_floats`: of the convolution's map.
int64_t stem_band_rows(int64_t row_floats, int threads);

}  // namespace lasnet
