#include "mask/active_lists.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"

namespace lasnet {

void PixelList::reserve(int64_t capacity, int64_t images) {
  in_.resize(capacity);
  out_.resize(capacity);
  image_ends_.reserve(images);
}

ActiveListBuilder::ActiveListBuilder(const BlockGeometry& geometry, const ListOptions& options,
                                     int64_t images)
    : geometry_(geometry),
      options_(options),
      images_(images),
      dilated_counts_(images),
      active_counts_(images) {
  if (std::max(bordered_pixels(geometry.input, images),
               bordered_pixels(geometry.middle, images, geometry.dilation)) >
      std::numeric_limits<int32_t>::max()) {
    fail("a batch of {} maps of {} x {} exceeds 2^31 pixels; use a smaller batch", images,
         geometry.input.height, geometry.input.width);
  }
  PatchGrid& grid = geometry_.grid;
  if (grid.granularity == 0) {
    grid.granularity = static_cast<int>(std::max(geometry.output.height, geometry.output.width));
  }
  if (geometry.dilation > 1) marks_.resize(geometry.middle.width);
  runs_.reserve(std::max<size_t>(grid.cols(), marks_.size()));
}

void ActiveListBuilder::reserve(ActiveLists& lists) const {
  int64_t outputs = images_ * geometry_.output.pixels();
  lists.dilated.reserve(images_ * geometry_.middle.pixels(), images_);
  lists.active.reserve(outputs, images_);
  lists.projected.reserve(options_.projected ? outputs : 0, images_);
  lists.active_by_row.reserve(options_.by_row ? outputs : 0, images_);
  lists.dilated_rows.reserve(images_ * geometry_.middle.height + 1);
  lists.patches.reserve(images_ * geometry_.grid.patches() + 1);
  if (options_.projected) lists.projected_patches.resize(images_ * geometry_.grid.patches() + 1);
  lists.patch_rows.reserve(images_ * geometry_.grid.rows() + 1);
}

int64_t ActiveListBuilder::list_bytes() const {
  int64_t lists_of_outputs = 1 + (options_.projected ? 1 : 0) + (options_.by_row ? 1 : 0);
  return PixelList::bytes_of(images_ *
                             (geometry_.middle.pixels() + lists_of_outputs * geometry_.output.pixels()));
}

void ActiveListBuilder::build(std::span<const uint8_t> patches, ActiveLists& lists) {
  reserve(lists);
  for (PixelList* list : {&lists.dilated, &lists.active, &lists.projected, &lists.active_by_row})
    list->clear();
  lists.dilated_rows.clear();
  lists.patches.clear();
  lists.patch_rows.clear();
  filled_ = 0;
  inactive_patches_ = 0;
  int64_t per_image = geometry_.grid.patches();
  for (int64_t n = 0; n < images_; ++n) {
    std::span<const uint8_t> of_image = patches.subspan(n * per_image, per_image);
    list_active(of_image, n, lists);
    if (options_.projected) list_inactive(of_image, n, lists);
    if (options_.by_row) list_by_row(of_image, n, lists);
    list_dilated(of_image, n, lists);
  }
  lists.patch_rows.push_back(static_cast<int64_t>(lists.patches.size()));
  lists.patches.push_back({.begin = lists.active.count()});
  if (options_.projected) {
    std::copy(lists.patches.begin(), lists.patches.end() - 1, lists.projected_patches.begin());
    lists.projected_patches.back() = {.begin = lists.projected.capacity()};
  }
  lists.dilated_rows.push_back(lists.dilated.count());
}

void ActiveListBuilder::list_active(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists) {
  const PatchGrid& grid = geometry_.grid;
  int64_t before = lists.active.count();
  for (int64_t row = 0; row < grid.rows(); ++row) {
    lists.patch_rows.push_back(static_cast<int64_t>(lists.patches.size()));
    for (int64_t col = 0; col < grid.cols(); ++col) {
      if (patches[row * grid.cols() + col] == 0) continue;
      lists.patches.push_back({static_cast<int32_t>(image), static_cast<int32_t>(row),
                               static_cast<int32_t>(col), lists.active.count()});
      list_patch(lists.patches.back(), lists);
    }
  }
  lists.active.end_image();
  active_counts_[image] = lists.active.count() - before;
}

void ActiveListBuilder::list_patch(const ListedPatch& patch, ActiveLists& lists) const {
  PixelRect rect = patch_pixels(geometry_.grid, patch.row, patch.col);
  for (int64_t y = rect.top; y < rect.bottom; ++y) {
    int64_t out = bordered_index(geometry_.output, patch.image, y, rect.left);
    int64_t step = geometry_.dilation_stride, length = rect.right - rect.left;
    lists.active.append({middle_index(patch.image, y * step, rect.left * step), step, out, length});
    if (!options_.projected) continue;
    lists.projected.append(
        {bordered_index(geometry_.input, patch.image, y * options_.stride, rect.left * options_.stride),
         options_.stride, out, length});
  }
}

void ActiveListBuilder::list_by_row(std::span<const uint8_t> patches, int64_t image,
                                    ActiveLists& lists) const {
  const PatchGrid& grid = geometry_.grid;
  for (int64_t y = 0; y < grid.map.height; ++y) {
    int64_t row = y / grid.granularity;
    for (int64_t col = 0; col < grid.cols(); ++col) {
      if (patches[row * grid.cols() + col] == 0) continue;
      PixelRect rect = patch_pixels(grid, row, col);
      int64_t pixel = bordered_index(geometry_.output, image, y, rect.left);
      lists.active_by_row.append({.in = pixel, .out = pixel, .length = rect.right - rect.left});
    }
  }
  lists.active_by_row.end_image();
}

void ActiveListBuilder::list_inactive(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists) {
  const PatchGrid& grid = geometry_.grid;
  for (int64_t row = 0; row < grid.rows(); ++row) {
    for (int64_t col = 0; col < grid.cols(); ++col) {
      if (patches[row * grid.cols() + col] != 0) continue;
      PixelRect rect = patch_pixels(grid, row, col);
      for (int64_t y = rect.top; y < rect.bottom; ++y) {
        lists.projected.fill_from_end(
            {bordered_index(geometry_.input, image, y * options_.stride, rect.left * options_.stride),
             options_.stride, bordered_index(geometry_.output, image, y, rect.left), rect.right - rect.left},
            filled_);
      }
      // Patches come from the end backwards, like their pixels.
      const int64_t index = images_ * grid.patches() - ++inactive_patches_;
      lists.projected_patches[index] = {static_cast<int32_t>(image), static_cast<int32_t>(row),
                                        static_cast<int32_t>(col), lists.projected.capacity() - filled_};
    }
  }
}

void ActiveListBuilder::find_runs(std::span<const uint8_t> patches, const PatchesSeen& rows) {
  const PatchGrid& grid = geometry_.grid;
  const bool dilated = geometry_.dilation > 1;
  runs_.clear();
  std::fill(marks_.begin(), marks_.end(), uint8_t{0});
  for (int64_t col = 0; col < grid.cols(); ++col) {
    bool active = false;
    for (int64_t i = 0; i < rows.count; ++i) active |= patches[rows.patches[i] * grid.cols() + col] != 0;
    if (!active) continue;
    int64_t first = col * grid.granularity;
    int64_t last = std::min<int64_t>(first + grid.granularity, grid.map.width) - 1;
    dilated ? mark_columns(first, last) : add_run(first, last);
  }
  if (dilated) find_runs_of_marks();
}

void ActiveListBuilder::add_run(int64_t first, int64_t last) {
  int64_t stride = geometry_.dilation_stride;
  Range run{std::max<int64_t>(first * stride - 1, 0), std::min(last * stride + 2, geometry_.middle.width)};
  if (stride > 3) {  // the windows of neighbouring outputs leave columns between them unread
    for (int64_t x = first; x <= last; ++x) {
      runs_.push_back(
          {std::max<int64_t>(x * stride - 1, 0), std::min(x * stride + 2, geometry_.middle.width)});
    }
  } else if (!runs_.empty() && runs_.back().end >= run.begin) {
    runs_.back().end = run.end;
  } else {
    runs_.push_back(run);
  }
}

void ActiveListBuilder::mark_columns(int64_t first, int64_t last) {
  int64_t width = geometry_.middle.width;
  for (int64_t x = first; x <= last; ++x) {
    for (int64_t tap = -1; tap <= 1; ++tap) {
      int64_t column = x * geometry_.dilation_stride + tap * geometry_.dilation;
      if (column >= 0 && column < width) marks_[column] = 1;
    }
  }
}

void ActiveListBuilder::find_runs_of_marks() {
  for (int64_t x = 0; x < geometry_.middle.width; ++x) {
    if (marks_[x] == 0) continue;
    if (!runs_.empty() && runs_.back().end == x) {
      ++runs_.back().end;
    } else {
      runs_.push_back({x, x + 1});
    }
  }
}

void ActiveListBuilder::list_dilated(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists) {
  int64_t before = lists.dilated.count();
  int64_t first_stride = options_.stride / geometry_.dilation_stride;  // of convs[0]
  const WindowAxis axis = rows_axis(geometry_);
  PatchesSeen rows{.count = -1};
  for (int64_t v = 0; v < geometry_.middle.height; ++v) {
    lists.dilated_rows.push_back(lists.dilated.count());
    PatchesSeen reading = patches_reading(v, axis);
    if (reading != rows) find_runs(patches, rows = reading);
    int64_t in = bordered_index(geometry_.input, image, v * first_stride, 0);
    int64_t out = middle_index(image, v, 0);
    for (const Range& run : runs_) {
      lists.dilated.append(
          {in + run.begin * first_stride, first_stride, out + run.begin, run.end - run.begin});
    }
  }
  lists.dilated.end_image();
  dilated_counts_[image] = lists.dilated.count() - before;
}

}  // namespace lasnet
