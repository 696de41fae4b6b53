#include "mask/active_lists.h"

#include <algorithm>
#include <limits>

#include "core/fail.h"

namespace lasnet {
namespace {

/// Outputs y of a 3x3 stride-s padding-1 window that read input position v: s * y in [v - 1, v + 1].
struct Range {
  int64_t begin, end;
};

Range readers_of(int64_t v, int stride, int64_t outputs) {
  return {std::max<int64_t>((v - 1 + stride - 1) / stride, 0), std::min((v + 1) / stride + 1, outputs)};
}

}  // namespace

void PixelList::reserve(int64_t capacity) {
  in_.resize(capacity + 1);
  out_.resize(capacity + 1);
}

void PixelList::append(std::span<const uint8_t> flags, uint8_t wanted, int64_t in, int64_t in_step,
                       int64_t out) {
  int64_t count = count_;
  for (size_t i = 0; i < flags.size(); ++i) {
    // Written always, kept only if wanted: no branch to mispredict.
    in_[count] = static_cast<int32_t>(in + static_cast<int64_t>(i) * in_step);
    out_[count] = static_cast<int32_t>(out + static_cast<int64_t>(i));
    count += flags[i] == wanted;
  }
  count_ = count;
}

ActiveListBuilder::ActiveListBuilder(const BlockGeometry& geometry, int stride, bool has_projection,
                                     int64_t images)
    : geometry_(geometry),
      stride_(stride),
      has_projection_(has_projection),
      images_(images),
      mask_(geometry.output.pixels()),
      combined_(geometry.output.width),
      dilated_row_(geometry.middle.width),
      dilated_counts_(images),
      active_counts_(images) {
  if (bordered_pixels(geometry.input, images) > std::numeric_limits<int32_t>::max()) {
    fail("a batch of {} maps of {} x {} exceeds 2^31 pixels; use a smaller batch", images,
         geometry.input.height, geometry.input.width);
  }
}

void ActiveListBuilder::build(std::span<const uint8_t> patches, ActiveLists& lists) {
  lists.dilated.reserve(images_ * geometry_.middle.pixels());
  lists.active.reserve(images_ * geometry_.output.pixels());
  if (has_projection_) {
    lists.projected_active.reserve(images_ * geometry_.output.pixels());
    lists.projected_inactive.reserve(images_ * geometry_.output.pixels());
  }
  for (PixelList* list :
       {&lists.dilated, &lists.active, &lists.projected_active, &lists.projected_inactive}) {
    list->clear();
  }
  int64_t per_image = geometry_.grid.patches();
  for (int64_t n = 0; n < images_; ++n) build_image(patches.subspan(n * per_image, per_image), n, lists);
}

void ActiveListBuilder::build_image(std::span<const uint8_t> patches, int64_t image, ActiveLists& lists) {
  expand_patches(geometry_.grid, patches, mask_);
  int64_t before = lists.active.count();
  for (int64_t y = 0; y < geometry_.output.height; ++y) {
    std::span<const uint8_t> row(&mask_[y * geometry_.output.width], geometry_.output.width);
    int64_t out = bordered_index(geometry_.output, image, y, 0);
    int64_t middle = bordered_index(geometry_.middle, image, y * geometry_.dilation_stride, 0);
    lists.active.append(row, 1, middle, geometry_.dilation_stride, out);
    if (!has_projection_) continue;
    int64_t in = bordered_index(geometry_.input, image, y * stride_, 0);
    lists.projected_active.append(row, 1, in, stride_, out);
    lists.projected_inactive.append(row, 0, in, stride_, out);
  }
  lists.active.end_image();
  active_counts_[image] = lists.active.count() - before;
  before = lists.dilated.count();
  int first_stride = stride_ / geometry_.dilation_stride;  // of convs[0]
  for (int64_t v = 0; v < geometry_.middle.height; ++v) {
    dilate_row(v);
    lists.dilated.append(dilated_row_, 1, bordered_index(geometry_.input, image, v * first_stride, 0),
                         first_stride, bordered_index(geometry_.middle, image, v, 0));
  }
  lists.dilated.end_image();
  dilated_counts_[image] = lists.dilated.count() - before;
}

void ActiveListBuilder::dilate_row(int64_t row) {
  // The window is a product of a row and a column range, so D separates into an OR over rows and one over
  // columns.
  std::fill(combined_.begin(), combined_.end(), uint8_t{0});
  int64_t width = geometry_.output.width;
  Range rows = readers_of(row, geometry_.dilation_stride, geometry_.output.height);
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    for (int64_t x = 0; x < width; ++x) combined_[x] |= mask_[y * width + x];
  }
  for (int64_t u = 0; u < geometry_.middle.width; ++u) {
    Range columns = readers_of(u, geometry_.dilation_stride, width);
    uint8_t any = 0;
    for (int64_t x = columns.begin; x < columns.end; ++x) any |= combined_[x];
    dilated_row_[u] = any;
  }
}

}  // namespace lasnet
