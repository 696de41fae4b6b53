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
  if (bordered_pixels(geometry.input, images) > std::numeric_limits<int32_t>::max()) {
    fail("a batch of {} maps of {} x {} exceeds 2^31 pixels; use a smaller batch", images,
         geometry.input.height, geometry.input.width);
  }
  PatchGrid& grid = geometry_.grid;
  if (grid.granularity == 0) {
    grid.granularity = static_cast<int>(std::max(geometry.output.height, geometry.output.width));
  }
  runs_.reserve(grid.cols());
}

void ActiveListBuilder::reserve(ActiveLists& lists) const {
  int64_t outputs = images_ * geometry_.output.pixels();
  lists.dilated.reserve(images_ * geometry_.middle.pixels(), images_);
  lists.active.reserve(outputs, images_);
  lists.projected.reserve(options_.projected ? outputs : 0, images_);
  lists.active_by_row.reserve(options_.by_row ? outputs : 0, images_);
  lists.dilated_rows.reserve(images_ * geometry_.middle.height + 1);
  lists.patches.reserve(images_ * geometry_.grid.patches() + 1);
  lists.patch_rows.reserve(images_ * geometry_.grid.rows() + 1);
}

int64_t ActiveListBuilder::list_bytes() const {
  constexpr int64_t kPairBytes = 2 * sizeof(int32_t);
  int64_t lists_of_outputs = 1 + (options_.projected ? 1 : 0) + (options_.by_row ? 1 : 0);
  return kPairBytes * images_ * (geometry_.middle.pixels() + lists_of_outputs * geometry_.output.pixels());
}

void ActiveListBuilder::build(std::span<const uint8_t> patches, ActiveLists& lists) {
  reserve(lists);
  for (PixelList* list : {&lists.dilated, &lists.active, &lists.projected, &lists.active_by_row})
    list->clear();
  lists.dilated_rows.clear();
  lists.patches.clear();
  lists.patch_rows.clear();
  filled_ = 0;
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

void ActiveListBuilder::list_patch(const ActivePatch& patch, ActiveLists& lists) const {
  PixelRect rect = patch_pixels(geometry_.grid, patch.row, patch.col);
  for (int64_t y = rect.top; y < rect.bottom; ++y) {
    int64_t out = bordered_index(geometry_.output, patch.image, y, rect.left);
    int64_t step = geometry_.dilation_stride, length = rect.right - rect.left;
    lists.active.append(
        {bordered_index(geometry_.middle, patch.image, y * step, rect.left * step), step, out, length});
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
    }
  }
}

ActiveListBuilder::Range ActiveListBuilder::patch_rows_reading(int64_t v) const {
  // Outputs y of a 3x3 stride-s window that read row v: s * y in [v - 1, v + 1].
  int64_t stride = geometry_.dilation_stride, granularity = geometry_.grid.granularity;
  int64_t first = std::max<int64_t>((v - 1 + stride - 1) / stride, 0);
  int64_t last = std::min((v + 1) / stride + 1, geometry_.output.height);
  if (first >= last) return {};
  return {first / granularity, (last - 1) / granularity + 1};
}

void ActiveListBuilder::find_runs(std::span<const uint8_t> patches, Range rows) {
  const PatchGrid& grid = geometry_.grid;
  int64_t stride = geometry_.dilation_stride;
  runs_.clear();
  for (int64_t col = 0; col < grid.cols(); ++col) {
    bool active = false;
    for (int64_t row = rows.begin; row < rows.end; ++row) active |= patches[row * grid.cols() + col] != 0;
    if (!active) continue;
    int64_t first = col * grid.granularity;
    int64_t last = std::min<int64_t>(first + grid.granularity, grid.map.width) - 1;
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
}

void ActiveListBuilder::list_dilated(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists) {
  int64_t before = lists.dilated.count();
  int64_t first_stride = options_.stride / geometry_.dilation_stride;  // of convs[0]
  Range rows{-1, -1};
  for (int64_t v = 0; v < geometry_.middle.height; ++v) {
    lists.dilated_rows.push_back(lists.dilated.count());
    Range reading = patch_rows_reading(v);
    if (reading != rows) find_runs(patches, rows = reading);
    int64_t in = bordered_index(geometry_.input, image, v * first_stride, 0);
    int64_t out = bordered_index(geometry_.middle, image, v, 0);
    for (const Range& run : runs_) {
      lists.dilated.append(
          {in + run.begin * first_stride, first_stride, out + run.begin, run.end - run.begin});
    }
  }
  lists.dilated.end_image();
  dilated_counts_[image] = lists.dilated.count() - before;
}

}  // namespace lasnet
