// Which pixels of a block are computed, as functions of patch decisions: the device's counterpart of
// mask/active_lists.h, whose definitions it must share. Pure; tested on the host against it.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.h"

namespace lasnet::cuda {

/// Maps and patches of one block. 32-bit: a batch has fewer than 2^31 bordered pixels.
struct ListGeometry {
  int images = 0;
  int input_height = 0, input_width = 0;    ///< block input
  int middle_height = 0, middle_width = 0;  ///< output of the first convolution: D's map
  int output_height = 0, output_width = 0;  ///< block output: M's map
  int stride = 1;                           ///< of the block
  int dilation_stride = 1;                  ///< of the second convolution
  int granularity = 1, patch_rows = 1, patch_cols = 1;

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

/// Patches, along one axis, that decide about a pixel; none if last < first.
struct PatchSpan {
  int first, last;
};

/// Of the pixels of D at `v` along an axis: those with an output whose 3x3 window reads it. Outputs y with
/// s * y in [v - 1, v + 1]; whole patches of them at once.
LASNET_HOST_DEVICE inline PatchSpan dilated_span(const ListGeometry& g, int v, int outputs) {
  int s = g.dilation_stride;
  int first = v < 1 ? 0 : (v - 1 + s - 1) / s, last = (v + 1) / s;
  if (last > outputs - 1) last = outputs - 1;
  if (last < first) return {0, -1};
  return {first / g.granularity, last / g.granularity};
}

/// The same of a list; `outputs`: rows or columns of the output map.
LASNET_HOST_DEVICE inline PatchSpan span_of(const ListGeometry& g, ListKind kind, int v, int outputs) {
  if (kind == ListKind::dilated) return dilated_span(g, v, outputs);
  if (kind == ListKind::patches) return {v, v};
  return {v / g.granularity, v / g.granularity};
}
LASNET_HOST_DEVICE inline PatchSpan row_span(const ListGeometry& g, ListKind kind, int y) {
  return span_of(g, kind, y, g.output_height);
}
LASNET_HOST_DEVICE inline PatchSpan column_span(const ListGeometry& g, ListKind kind, int x) {
  return span_of(g, kind, x, g.output_width);
}

/// Whether a patch is active among these rows and columns, at most three of each. `patches`: one image's
/// decisions. Reads do not wait for each other: first, middle and last cover three, first and last two.
LASNET_HOST_DEVICE inline bool any_active(const ListGeometry& g, const uint8_t* patches, PatchSpan rows,
                                          PatchSpan columns) {
  if (rows.last < rows.first || columns.last < columns.first) return false;
  const uint8_t *top = patches + rows.first * g.patch_cols, *bottom = patches + rows.last * g.patch_cols;
  int left = columns.first, right = columns.last;
  int corners = top[left] | top[right] | bottom[left] | bottom[right];
  if (rows.last - rows.first < 2 && right - left < 2) return corners != 0;
  const uint8_t* centre = patches + (rows.first + rows.last) / 2 * g.patch_cols;
  int middle = (left + right) / 2;
  int others = top[middle] | bottom[middle] | centre[left] | centre[middle] | centre[right];
  return (corners | others) != 0;
}

/// What the mask says of pixel (y, x) of a list's map.
LASNET_HOST_DEVICE inline bool is_masked_in(const ListGeometry& g, ListKind kind, const uint8_t* patches,
                                            int y, int x) {
  return any_active(g, patches, row_span(g, kind, y), column_span(g, kind, x));
}

/// Input and output pixel of a position.
struct PixelPair {
  int in = 0, out = 0;
};

LASNET_HOST_DEVICE inline PixelPair pixel_pair(const ListGeometry& g, ListKind kind, int n, int y, int x) {
  int out = bordered(g.output_height, g.output_width, n, y, x);
  switch (kind) {
    case ListKind::dilated: {
      int first_stride = g.stride / g.dilation_stride;  // of the first convolution
      return {bordered(g.input_height, g.input_width, n, y * first_stride, x * first_stride),
              bordered(g.middle_height, g.middle_width, n, y, x)};
    }
    case ListKind::active:
      return {bordered(g.middle_height, g.middle_width, n, y * g.dilation_stride, x * g.dilation_stride),
              out};
    case ListKind::result:
      return {out, out};
    case ListKind::projected:
      return {bordered(g.input_height, g.input_width, n, y * g.stride, x * g.stride), out};
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

/// Pixels are dealt to blocks of threads in chunks that never cross images.
inline constexpr int kChunkPixels = 1024;
LASNET_HOST_DEVICE inline int chunks_per_image(const ListGeometry& g, ListKind kind) {
  return (domain_height(g, kind) * domain_width(g, kind) + kChunkPixels - 1) / kChunkPixels;
}
/// Rows that a chunk can reach into, and columns that are worked out for all of it: those of maps no wider
/// than a chunk.
LASNET_HOST_DEVICE inline int chunk_rows(const ListGeometry& g, ListKind kind) {
  int reached = (kChunkPixels - 2) / domain_width(g, kind) + 2, height = domain_height(g, kind);
  return reached < height ? reached : height;
}
LASNET_HOST_DEVICE inline int chunk_columns(const ListGeometry& g, ListKind kind) {
  return domain_width(g, kind) <= kChunkPixels ? domain_width(g, kind) : 0;
}

/// n / d for 0 <= n < 2^30 and quotients below 2^22, by 1.0f / d: at most one off before it is mended.
LASNET_HOST_DEVICE inline int quotient(int n, int d, float inverse) {
  int q = static_cast<int>((static_cast<float>(n) + 0.5f) * inverse);
  q -= q * d > n;
  q += (q + 1) * d <= n;
  return q;
}

}  // namespace lasnet::cuda
