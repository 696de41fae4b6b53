// Lists of pixels that the memory of every precision has, and the part of a block's state that is no map.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "backends/cpu/program.h"
#include "mask/active_lists.h"

namespace lasnet {

/// Lists of blocks with equal maps and grids: blocks run one after the other, so they share memory.
struct BlockLists {
  ActiveLists everything;  ///< every pixel
  ActiveLists current;     ///< of the masks of the block that runs now
};

/// A plan is made twice: to measure what it needs, then to take it.
enum class MemoryPass { measure, take };

/// The lists of a network's blocks at one size.
class SharedLists {
 public:
  SharedLists(int64_t images, MemoryPass pass) : images_(images), pass_(pass) {}

  /// Those of a block, which every block with the same maps has too.
  BlockLists* of(const BlockGeometry& geometry, const ListOptions& options);
  int64_t bytes() const { return bytes_; }

 private:
  using Key =  // maps, granularity, dilation
      std::tuple<int64_t, int64_t, int64_t, int64_t, int, int, ListOptions>;

  int64_t images_;
  MemoryPass pass_;
  int64_t bytes_ = 0;
  std::map<Key, BlockLists> lists_;
};

/// Which lists a block needs.
ListOptions list_options(const BlockSpec& block);

/// An image inside a border of the stem's padding, and what the stem computes of it.
struct StemPixels {
  int64_t row_pixels = 0, image_pixels = 0;  ///< of the image, with border
  int64_t bytes = 0;                         ///< of the list, which has every pixel
  PixelList pixels;
};
/// The list stays empty in MemoryPass::measure. Throws Error where the batch exceeds 2^31 pixels.
StemPixels stem_pixels(const ConvSpec& stem, const NetworkGeometry& geometry, int64_t images,
                       MemoryPass pass);

/// A block of one run: what it executes, its lists and its mask.
struct BlockState {
  BlockState(CpuBlockProgram block_program, const BlockSpec& spec, const BlockGeometry& geometry,
             BlockLists* block_lists, int64_t batch);

  CpuBlockProgram program;
  std::vector<int64_t> computed;  ///< pixels, by each operation of the body that ran last
  std::vector<double> seconds;    ///< of each of these operations, where the request asks
  int64_t images = 0;
  BlockLists* lists = nullptr;
  ActiveListBuilder builder;
  std::vector<float> differences;  ///< masker output [N, rows, cols]
  std::vector<uint8_t> patches;    ///< decisions [N, rows, cols]

  /// Those of a body: `current` where it makes them, else `everything`.
  const ActiveLists& lists_of(MaskOutcome outcome) const {
    const bool made = program.body(outcome).front().op == CpuOperator::lists;
    return made ? lists->current : lists->everything;
  }
};

}  // namespace lasnet
