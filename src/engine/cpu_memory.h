// Activation memory and pixel lists of one (batch, height, width): allocated once, reused by every run of
// that size.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "engine/cpu_executable.h"
#include "mask/active_lists.h"

namespace lasnet {

/// A bordered NHWC map. The border is zero from allocation and no kernel writes it.
struct CpuMap {
  MapSize size;
  int64_t pitch = 0;
  AlignedBuffer data;

  CpuMap(MapSize map_size, int64_t channels, int64_t images)
      : size(map_size), pitch(map_pitch(channels)), data(bordered_pixels(map_size, images) * pitch) {}
  int64_t row_pixels() const { return size.width + 2; }
};

/// Lists of blocks with equal map sizes: blocks run one after the other, so they share memory.
struct BlockLists {
  ActiveLists everything;  ///< every pixel
  ActiveLists current;     ///< of the masks of the block that runs now
};

/// Squeeze-and-Excitation's vectors, a row per image, and which images have pixels to average.
struct SqueezeExciteMemory {
  AlignedBuffer pooled, squeezed, scale;
  PixelList images;
};

/// One block's maps and lists. Pointers are into the CpuMemory.
struct BlockMemory {
  int64_t images = 0;
  CpuMap* x = nullptr;                     ///< input
  std::vector<CpuMap*> inner;              ///< outputs of convs[0] ... convs[n - 2]
  CpuMap* y = nullptr;                     ///< output; x itself in an identity block
  std::vector<std::vector<int64_t>> taps;  ///< tap offsets of each of the convs
  std::vector<int64_t> projection_taps;
  SqueezeExciteMemory squeeze_excite;
  BlockLists* lists = nullptr;
  ActiveListBuilder builder;
  std::vector<float> differences;  ///< masker output [N, rows, cols]
  std::vector<uint8_t> patches;    ///< decisions [N, rows, cols]
};

/// The network's input as the stem reads it: NHWC with 3 channels inside a zero border of the stem's padding.
struct StemMemory {
  AlignedBuffer image;
  int64_t row_pixels = 0, image_pixels = 0;  ///< with border
  std::vector<int64_t> taps;
  PixelList pixels;
  CpuMap* output = nullptr;
};

class CpuMemory {
 public:
  CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images);
  CpuMemory(const CpuMemory&) = delete;
  CpuMemory& operator=(const CpuMemory&) = delete;

  StemMemory stem;
  CpuMap* trunk = nullptr;  ///< input of the first block
  std::vector<BlockMemory> blocks;
  AlignedBuffer pooled;  ///< [N, features padded]
  AlignedBuffer logits;  ///< [N, classes padded]
  PixelList head_pixels;

 private:
  CpuMap* new_map(MapSize size, int64_t channels);
  CpuMap* scratch_map(size_t role, MapSize size, int64_t channels);
  BlockLists* shared_lists(const BlockGeometry& geometry, int stride, bool has_projection);
  void plan_stem(const CpuExecutable& executable, const NetworkGeometry& geometry);
  void plan_block(const CpuExecutable& executable, size_t index, const BlockGeometry& geometry, CpuMap* x);
  void plan_head(const CpuExecutable& executable);

  using ScratchKey = std::tuple<size_t, int64_t, int64_t, int64_t>;           // role, height, width, channels
  using ListKey = std::tuple<int64_t, int64_t, int64_t, int64_t, int, bool>;  // maps, stride, projection

  int64_t images_;
  std::deque<CpuMap> maps_;
  std::map<ScratchKey, CpuMap*> scratch_;
  std::map<ListKey, BlockLists> lists_;
};

}  // namespace lasnet
