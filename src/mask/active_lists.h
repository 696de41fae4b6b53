// Lists of the pixels a block computes, as indices into bordered maps.
//
// A bordered map stores an H x W activation map NHWC inside a zero border, so that 3x3 windows need no border
// test. The border is one pixel wide, or as many as the dilation of the convolution that reads the map. Maps
// of equal size and border share indices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lasnet/geometry.h"
#include "mask/window_axis.h"

namespace lasnet {

/// Index of pixel (y, x), which may be of the border, of image n in a bordered map.
inline int64_t bordered_index(MapSize map, int64_t n, int64_t y, int64_t x, int64_t border = 1) {
  return (n * (map.height + 2 * border) + y + border) * (map.width + 2 * border) + x + border;
}

/// Pixels of `images` bordered maps, borders included.
inline int64_t bordered_pixels(MapSize map, int64_t images, int64_t border = 1) {
  return images * (map.height + 2 * border) * (map.width + 2 * border);
}

/// Input (centre of the window) and output pixel of each position to compute.
struct PixelPairs {
  const int32_t* in = nullptr;
  const int32_t* out = nullptr;
  int64_t count = 0;

  PixelPairs range(int64_t begin, int64_t end) const { return {in + begin, out + begin, end - begin}; }
};

/// Neighbouring pixels of a row: (in + i * in_step, out + i) for 0 <= i < length.
struct PixelRun {
  int64_t in = 0, in_step = 1, out = 0, length = 0;
};

/// A growing list of pairs, image by image, that keeps its memory.
class PixelList {
 public:
  /// Bytes of `capacity` pairs.
  static int64_t bytes_of(int64_t capacity) { return capacity * 2 * static_cast<int64_t>(sizeof(int32_t)); }
  /// Room for `capacity` pairs of `images` images.
  void reserve(int64_t capacity, int64_t images);
  void clear() {
    count_ = 0;
    image_ends_.clear();
  }
  int64_t count() const { return count_; }
  PixelPairs pairs() const { return {in_.data(), out_.data(), count_}; }
  /// The pairs of images [first, last).
  PixelPairs images(int64_t first, int64_t last) const {
    int64_t begin = first == 0 ? 0 : image_ends_[first - 1];
    return pairs().range(begin, last == 0 ? 0 : image_ends_[last - 1]);
  }

  void append(const PixelRun& run) {
    write(run, count_);
    count_ += run.length;
  }
  /// What follows belongs to the next image.
  void end_image() { image_ends_.push_back(count_); }

  /// Makes the list complete with pairs that complement the appended ones up to the capacity. They are
  /// written from its end backwards, `run` after `run`. They count as appended once all are there.
  void fill_from_end(const PixelRun& run, int64_t& filled) {
    filled += run.length;
    write(run, capacity() - filled);
  }
  /// Appended and filled pairs.
  PixelPairs all() const { return {in_.data(), out_.data(), capacity()}; }
  int64_t capacity() const { return static_cast<int64_t>(in_.size()); }

 private:
  void write(const PixelRun& run, int64_t at) {
    for (int64_t i = 0; i < run.length; ++i) {
      in_[at + i] = static_cast<int32_t>(run.in + i * run.in_step);
      out_[at + i] = static_cast<int32_t>(run.out + i);
    }
  }

  std::vector<int32_t> in_, out_;
  std::vector<int64_t> image_ends_;
  int64_t count_ = 0;
};

/// Which patch it is and where its pixels begin in a list of pixels.
struct ListedPatch {
  int32_t image = 0, row = 0, col = 0;
  int64_t begin = 0;
};

/// What one block of a batch computes. D is listed row by row, M patch by patch: the pixels of a patch are
/// neighbours in the list.
struct ActiveLists {
  PixelList dilated;                  ///< D for convs[0]: block input -> middle map
  std::vector<int64_t> dilated_rows;  ///< [images * middle height + 1] where each row of D begins
  PixelList active;                   ///< M for convs[1]: middle map -> output map
  std::vector<ListedPatch> patches;   ///< in the order of `active`, and one more that begins at its end
  std::vector<int64_t>
      patch_rows;  ///< [images * grid rows + 1] where each row of patches begins in `patches`
  /// For the projection: block input -> output map. Every pixel: first the active ones in the order of
  /// `active`, then the others, patch by patch too. Empty without a projection.
  PixelList projected;
  std::vector<ListedPatch>
      projected_patches;  ///< in the order of `projected`, and one more that begins at its end
  /// M again, row by row: the order in which Squeeze-and-Excitation sums, whatever the granularity. Empty
  /// without it.
  PixelList active_by_row;

  int64_t active_patches() const { return static_cast<int64_t>(patches.size()) - 1; }
  /// Range of `active` that patches [first, last) fill.
  PixelPairs of_patches(int64_t first, int64_t last) const {
    return active.pairs().range(patches[first].begin, patches[last].begin);
  }
};

/// Which lists a block needs beside D and M.
struct ListOptions {
  int stride = 1;          ///< of the block
  bool projected = false;  ///< it has a projection
  bool by_row = false;     ///< it has Squeeze-and-Excitation
  auto operator<=>(const ListOptions&) const = default;
};

/// Turns patch decisions into lists: runs of neighbouring pixels, found once for the rows of a map that see
/// the same rows of patches. Holds its buffers; reused across runs.
class ActiveListBuilder {
 public:
  /// A geometry without a grid is one patch per image. Throws Error if the batch is
  /// too large for 32-bit pixel indices.
  ActiveListBuilder(const BlockGeometry& geometry, const ListOptions& options, int64_t images);

  /// Allocates what `lists` need for any patches.
  void reserve(ActiveLists& lists) const;
  /// Bytes of the lists of pixels that it allocates; those of rows and patches are small beside them.
  int64_t list_bytes() const;
  /// patches: [images, rows, cols], 0 or 1. Fills `lists`, and reserves them if nobody has.
  void build(std::span<const uint8_t> patches, ActiveLists& lists);

  const PatchGrid& grid() const { return geometry_.grid; }
  /// Active pixels of D and of M in each image of the last build.
  const std::vector<int64_t>& dilated_counts() const { return dilated_counts_; }
  const std::vector<int64_t>& active_counts() const { return active_counts_; }

 private:
  struct Range {
    int64_t begin = 0, end = 0;
    bool operator==(const Range&) const = default;
  };

  void list_active(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists);
  void list_patch(const ListedPatch& patch, ActiveLists& lists) const;
  void list_by_row(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists) const;
  void list_inactive(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists);
  void list_dilated(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists);
  /// Index into the middle map, whose border is as wide as the dilation of what reads it.
  int64_t middle_index(int64_t image, int64_t y, int64_t x) const {
    return bordered_index(geometry_.middle, image, y, x, geometry_.dilation);
  }
  /// Columns of D of rows that read these rows of patches, as runs, into runs_.
  void find_runs(std::span<const uint8_t> patches, const PatchesSeen& rows);
  /// What the window reads for the outputs of one column of patches, appended or joined to the last run.
  void add_run(int64_t first, int64_t last);
  /// The same of a dilated window, whose runs mix with those of other patches: into marks_.
  void mark_columns(int64_t first, int64_t last);
  void find_runs_of_marks();

  BlockGeometry geometry_;
  ListOptions options_;
  int64_t images_;
  int64_t filled_ = 0;            ///< inactive pixels listed so far ...
  int64_t inactive_patches_ = 0;  ///< ... and the patches that they are of
  std::vector<Range> runs_;
  std::vector<uint8_t> marks_;  ///< columns of the middle map; empty without dilation
  std::vector<int64_t> dilated_counts_, active_counts_;
};

}  // namespace lasnet
