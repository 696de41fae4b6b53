// Which pixels of a block are computed, as functions of patch decisions: the device's counterpart of
// mask/active_lists.h, whose definitions it must share. Pure; tested on the host against it.
#pragma once

#include <cstdint>

#include "backends/cuda/kernels/divisor.h"
#include "base/host_device.h"

namespace lasnet::cuda {

/// Maps and patches of one block. 32-bit: a batch has fewer than 2^31 bordered pixels.
struct ListGeometry {
  int images = 0;
  int input_height = 0, input_width = 0;    ///< block input
  int middle_height = 0, middle_width = 0;  ///< output of the first convolution: D's map
  int output_height = 0, output_width = 0;  ///< block output: M's map
  int stride = 1;                           ///< of the block
  Divisor dilation_stride = 1;              ///< of the second convolution
  Divisor granularity = 1;
  int patch_rows = 1, patch_cols = 1;

  LASNET_HOST_DEVICE int patches() const { return patch_rows * patch_cols; }
};

/// A list's pixels and what it pairs them with.
enum class ListKind {
  dilated,    ///< D: block input -> middle map
  active,     ///< M: middle map -> output map
  result,     ///< M: output map -> output map
  projected,  ///< every output pixel: block input -> output map; output indices of active pixels are inverted
              ///< (~)
  patches,    ///< active patches: index among all images' patches, twice
};

/// Index of pixel (y, x) of image n in a map with a one-pixel border.
LASNET_HOST_DEVICE inline int bordered(int height, int width, int n, int y, int x) {
  return (n * (height + 2) + y + 1) * (width + 2) + x + 1;
}

/// Height and width of the map whose pixels a list is drawn from; of `patches`, the grid.
LASNET_HOST_DEVICE inline int domain_height(const ListGeometry& g, ListKind kind) {
  if (kind == ListKind::patches) return g.patch_rows;
  return kind == ListKind::dilated ? g.middle_height : g.output_height;
}
LASNET_HOST_DEVICE inline int domain_width(const ListGeometry& g, ListKind kind) {
  if (kind == ListKind::patches) return g.patch_cols;
  return kind == ListKind::dilated ? g.middle_width : g.output_width;
}

/// Patches, along one axis, that decide about pixels; none if last < first. About one pixel at most three do.
struct PatchSpan {
  int first, last;

  LASNET_HOST_DEVICE bool is_empty() const { return last < first; }
};

/// Of the pixels of D from `first` to `last` along an axis: those with an output whose 3x3 window reads one.
/// Outputs y with s * y in [first - 1, last + 1]; whole patches of them at once.
LASNET_HOST_DEVICE inline PatchSpan dilated_span(const ListGeometry& g, int first, int last, int outputs) {
  const Divisor& s = g.dilation_stride;
  int begin = first < 1 ? 0 : (first - 1 + s - 1) / s, end = (last + 1) / s;
  if (end > outputs - 1) end = outputs - 1;
  if (end < begin) return {0, -1};
  return {begin / g.granularity, end / g.granularity};
}

/// The same of a list; `outputs`: rows or columns of the output map.
LASNET_HOST_DEVICE inline PatchSpan span_of(const ListGeometry& g, ListKind kind, int first, int last,
                                            int outputs) {
  if (kind == ListKind::dilated) return dilated_span(g, first, last, outputs);
  if (kind == ListKind::patches) return {first, last};
  return {first / g.granularity, last / g.granularity};
}
LASNET_HOST_DEVICE inline PatchSpan row_span(const ListGeometry& g, ListKind kind, int first, int last) {
  return span_of(g, kind, first, last, g.output_height);
}
LASNET_HOST_DEVICE inline PatchSpan column_span(const ListGeometry& g, ListKind kind, int x) {
  return span_of(g, kind, x, x, g.output_width);
}

/// Input and output pixel of a position.
struct PixelPair {
  int in = 0, out = 0;
};

/// Input pixels from one position to the next.
LASNET_HOST_DEVICE inline int input_step(const ListGeometry& g, ListKind kind) {
  switch (kind) {
    case ListKind::dilated:
      return g.stride / g.dilation_stride;  // of the first convolution
    case ListKind::active:
      return g.dilation_stride;
    case ListKind::projected:
      return g.stride;
    case ListKind::result:
    case ListKind::patches:
      break;
  }
  return 1;
}

LASNET_HOST_DEVICE inline PixelPair pixel_pair(const ListGeometry& g, ListKind kind, int n, int y, int x) {
  int step = input_step(g, kind);
  int out = bordered(g.output_height, g.output_width, n, y, x);
  switch (kind) {
    case ListKind::dilated:
      return {bordered(g.input_height, g.input_width, n, y * step, x * step),
              bordered(g.middle_height, g.middle_width, n, y, x)};
    case ListKind::active:
      return {bordered(g.middle_height, g.middle_width, n, y * step, x * step), out};
    case ListKind::result:
      return {out, out};
    case ListKind::projected:
      return {bordered(g.input_height, g.input_width, n, y * step, x * step), out};
    case ListKind::patches: {
      int patch = (n * g.patch_rows + y) * g.patch_cols + x;
      return {patch, patch};
    }
  }
  return {};
}

/// Input pixels that the masker pools for a patch: [top, bottom) x [left, right).
struct Window {
  int top, left, bottom, right;
};

LASNET_HOST_DEVICE inline Window masker_window(const ListGeometry& g, int row, int col) {
  int side = g.granularity * g.stride;
  Window w{row * side, col * side, (row + 1) * side, (col + 1) * side};
  if (w.bottom > g.input_height) w.bottom = g.input_height;
  if (w.right > g.input_width) w.right = g.input_width;
  return w;
}

/// Maskers that decide in one pass over a map.
inline constexpr int kMaxMaskers = 32;

/// Pixels are taken in units of neighbours in a row, one per lane of a warp; the last of a row may be fewer.
/// Units, in order, are dealt to blocks of threads in chunks that never cross images.
inline constexpr int kUnitPixels = 32;
inline constexpr int kChunkUnits = 64;
LASNET_HOST_DEVICE inline int units_per_row(int width) { return (width + kUnitPixels - 1) / kUnitPixels; }
LASNET_HOST_DEVICE inline int units_per_image(int height, int width) { return height * units_per_row(width); }
LASNET_HOST_DEVICE inline int chunks_per_image(const ListGeometry& g, ListKind kind) {
  return (units_per_image(domain_height(g, kind), domain_width(g, kind)) + kChunkUnits - 1) / kChunkUnits;
}

}  // namespace lasnet::cuda
