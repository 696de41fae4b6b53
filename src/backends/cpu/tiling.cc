#include "backends/cpu/tiling.h"

#include <algorithm>

#include "base/math.h"

namespace lasnet {
namespace {

/// Floats of input a task's pixels may span: a quarter of a 1 MiB L2, beside weights and partial sums.
constexpr int64_t kInputFloats = 64 << 10;
/// Floats of a band of rows that stay in L2.
constexpr int64_t kBandFloats = 128 << 10;
/// Tasks per thread that even out their unequal speed.
constexpr int64_t kTasksPerThread = 4;
/// Fewer pixels than this in a task waste register tiles.
constexpr int64_t kMinTaskPixels = 24;

}  // namespace

ConvTiling tile_conv(const ConvWork& work) {
  int64_t by_cache =
      std::clamp(kInputFloats / std::max<int64_t>(work.input_channels, 1), kMinTaskPixels, kMaxTaskPixels);
  int64_t pixel_tasks = std::max<int64_t>(1, ceil_div(work.pixels, by_cache));
  ConvTiling tiling{ceil_div(std::max<int64_t>(work.pixels, 1), pixel_tasks), work.channel_blocks};
  if (work.threads == 1) return tiling;
  int64_t wanted = work.threads * kTasksPerThread;
  if (pixel_tasks >= wanted) return tiling;
  int64_t channel_tasks = std::min<int64_t>(work.channel_blocks, ceil_div(wanted, pixel_tasks));
  tiling.channel_blocks = static_cast<int>(ceil_div(work.channel_blocks, channel_tasks));
  int64_t tasks = pixel_tasks * ceil_div(work.channel_blocks, tiling.channel_blocks);
  if (tasks < wanted) {
    tiling.pixels =
        std::max(std::min(kMinTaskPixels, tiling.pixels), ceil_div(tiling.pixels, ceil_div(wanted, tasks)));
  }
  return tiling;
}

int64_t band_patch_rows(const BlockSpec& block, const BlockGeometry& geometry) {
  int64_t row = geometry.grid.granularity * geometry.output.width *
                (block.in_channels + block.convs[0].out_channels + block.convs[1].out_channels);
  return std::clamp<int64_t>(kBandFloats / row, 1, geometry.grid.rows());
}

int64_t stem_band_rows(int64_t row_floats, int threads) {
  constexpr int64_t kPoolStride = 2;
  return std::max<int64_t>(1, kBandFloats * threads / (kPoolStride * row_floats));
}

}  // namespace lasnet
