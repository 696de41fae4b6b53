// Activation memory and pixel lists of one (batch, height, width): allocated once, reused by every run of
// that size.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/executable.h"
#include "backends/cpu/map_pool.h"
#include "backends/cpu/program.h"
#include "backends/cpu/shared_lists.h"
#include "mask/active_lists.h"

namespace lasnet {

/// A bordered NHWC map. The border is zero from allocation and no kernel writes it.
struct CpuMap {
  using Value = float;

  MapSize size;
  int64_t border = 1;
  int64_t pitch = 0;
  AlignedBuffer data;

  static int64_t pitch_of(int64_t channels) { return map_pitch(channels); }
  int64_t row_pixels() const { return size.width + 2 * border; }
};

/// Sums of a map over the cells of a grid. PatchSumUse says who makes them and keeps them up to date.
struct PatchSums {
  using Value = float;

  const CpuMap* map = nullptr;
  PatchGrid grid;
  int channels = 0;    ///< padded to the kernels' vectors
  AlignedBuffer data;  ///< [N, rows, cols, map->pitch]

  static int64_t cell_size(const CpuMap& map, int /*channels*/) { return map.pitch; }
};

/// Active patches copied with their halo, one after the other: [patches, height, width, pitch].
struct GatherBuffer {
  AlignedBuffer data;
  std::vector<int32_t> centres;  ///< of each active pixel's window, in pixels of the buffer
};

/// Squeeze-and-Excitation's vectors, a row per image, and which images have pixels to average.
struct SqueezeExciteMemory {
  AlignedBuffer pooled, squeezed, scale;
  PixelList images;
};

/// One block's maps and lists. Pointers are into the CpuMemory.
struct BlockMemory : BlockState {
  using BlockState::BlockState;

  CpuMap* x = nullptr;                     ///< input
  std::vector<CpuMap*> inner;              ///< outputs of convs[0] ... convs[n - 2]
  CpuMap* y = nullptr;                     ///< output; x itself in an identity block
  std::vector<std::vector<int64_t>> taps;  ///< tap offsets of each of the convs
  std::vector<int64_t> projection_taps;
  SqueezeExciteMemory squeeze_excite;
  PatchSums* sums = nullptr;       ///< what the masker reads; null: x itself
  PatchSums* kept_sums = nullptr;  ///< of y, that a later masker reads; null: none
  AlignedBuffer* pixel_dots =
      nullptr;                       ///< of MaskerSchedule::with_conv1, indexed as x; null: another schedule
  GatherBuffer* gathered = nullptr;  ///< of GatherSchedule::copied
  std::vector<int64_t> gathered_taps;
  CpuMap* addend = nullptr;  ///< of ScatterSchedule::separate: the last convolution's output, zero elsewhere
};

/// The network's input as the stem reads it: NHWC with 3 channels inside a zero border of the stem's padding.
struct StemMemory {
  AlignedBuffer image;
  StemPixels pixels;
  std::vector<int64_t> taps;
  CpuMap* output = nullptr;
};

class CpuMemory {
 public:
  /// Throws Error if that is more memory than there is, before it takes any.
  CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images);
  /// Bytes of maps and lists that it would take.
  static int64_t bytes_for(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images);
  CpuMemory(const CpuMemory&) = delete;
  CpuMemory& operator=(const CpuMemory&) = delete;

  StemMemory stem;
  CpuMap* trunk = nullptr;  ///< input of the first block
  std::vector<BlockMemory> blocks;
  AlignedBuffer pooled;   ///< [N, features padded]
  AlignedBuffer logits;   ///< [N, classes padded]
  PixelList head_pixels;  ///< one "pixel" per image
  PixelList last_pixels;  ///< of the last map, for the average pool

 private:
  CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images,
            MemoryPass pass);
  void plan_gather(const CpuConv& conv, const PatchGrid& grid, BlockMemory& block);
  void plan_stem(const CpuExecutable& executable, const NetworkGeometry& geometry);
  void plan_block(const CpuExecutable& executable, size_t index, const BlockGeometry& geometry,
                  CpuBlockProgram program, CpuMap* x);
  void plan_head(const CpuExecutable& executable);
  void list_last_pixels();

  int64_t images_;
  MemoryPass pass_;
  MapPool<CpuMap, PatchSums> pool_;
  SharedLists lists_;
  AlignedBuffer pixel_dots_;
  GatherBuffer gathered_;
};

}  // namespace lasnet
