// Lists of the pixels a block computes, as indices into bordered maps.
//
// A bordered map stores an H x W activation map NHWC inside a one-pixel zero border, so that 3x3 windows need
// no border test. Maps of equal size share indices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lasnet/geometry.h"

namespace lasnet {

/// Index of pixel (y, x), -1 <= y <= height, -1 <= x <= width, of image n in a bordered map.
inline int64_t bordered_index(MapSize map, int64_t n, int64_t y, int64_t x) {
  return (n * (map.height + 2) + y + 1) * (map.width + 2) + x + 1;
}

/// Pixels of `images` bordered maps, borders included.
inline int64_t bordered_pixels(MapSize map, int64_t images) {
  return images * (map.height + 2) * (map.width + 2);
}

/// Input (centre of the window) and output pixel of each position to compute.
struct PixelPairs {
  const int32_t* in = nullptr;
  const int32_t* out = nullptr;
  int64_t count = 0;
};

/// A growing list of pairs, image by image, that keeps its memory.
class PixelList {
 public:
  /// Room for `capacity` pairs and the branchless append's slack.
  void reserve(int64_t capacity);
  void clear() {
    count_ = 0;
    image_ends_.clear();
  }
  int64_t count() const { return count_; }
  PixelPairs pairs() const { return {in_.data(), out_.data(), count_}; }
  /// The pairs of images [first, last).
  PixelPairs images(int64_t first, int64_t last) const {
    int64_t begin = first == 0 ? 0 : image_ends_[first - 1];
    return {in_.data() + begin, out_.data() + begin, (last == 0 ? 0 : image_ends_[last - 1]) - begin};
  }

  /// What follows belongs to the next image.
  void end_image() { image_ends_.push_back(count_); }
  /// Appends (in + i * in_step, out + i) for each i < flags.size() whose flag equals `wanted`.
  void append(std::span<const uint8_t> flags, uint8_t wanted, int64_t in, int64_t in_step, int64_t out);

 private:
  std::vector<int32_t> in_, out_;
  std::vector<int64_t> image_ends_;
  int64_t count_ = 0;
};

/// What one block of a batch computes.
struct ActiveLists {
  PixelList dilated;             ///< D for convs[0]: block input -> middle map
  PixelList active;              ///< M for convs[1]: middle map -> output map
  PixelList projected_active;    ///< M for the projection: block input -> output map
  PixelList projected_inactive;  ///< complement of M for the projection
};

/// Turns patch decisions into lists, image by image, row by row. Holds the row buffers; reused across runs.
class ActiveListBuilder {
 public:
  /// `stride` is the block's. Throws Error if the batch is too large for 32-bit pixel indices.
  ActiveListBuilder(const BlockGeometry& geometry, int stride, bool has_projection, int64_t images);

  /// patches: [images, rows, cols], 0 or 1. Fills `lists` (reserved on first use) in image and row order.
  void build(std::span<const uint8_t> patches, ActiveLists& lists);

  /// Active pixels of D and of M in each image of the last build.
  const std::vector<int64_t>& dilated_counts() const { return dilated_counts_; }
  const std::vector<int64_t>& active_counts() const { return active_counts_; }

 private:
  void build_image(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists);
  void dilate_row(int64_t row);

  BlockGeometry geometry_;
  int stride_;
  bool has_projection_;
  int64_t images_;
  std::vector<uint8_t> mask_;      ///< one image's M
  std::vector<uint8_t> combined_;  ///< rows of M that one row of D sees, OR-ed
  std::vector<uint8_t> dilated_row_;
  std::vector<int64_t> dilated_counts_, active_counts_;
};

}  // namespace lasnet
