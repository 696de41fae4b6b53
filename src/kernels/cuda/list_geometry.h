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
};

/// Index of pixel (y, x) of image n in a map with a one-pixel border.
LASNET_HOST_DEVICE inline int bordered(int height, int width, int n, int y, int x) {
  return (n * (height + 2) + y + 1) * (width + 2) + x + 1;
}

/// Height and width of the map whose pixels a list is drawn from.
LASNET_HOST_DEVICE inline int domain_height(const ListGeometry& g, ListKind kind) {
  return kind == ListKind::dilated ? g.middle_height : g.output_height;
}
LASNET_HOST_DEVICE inline int domain_width(const ListGeometry& g, ListKind kind) {
  return kind == ListKind::dilated ? g.middle_width : g.output_width;
}

/// M at output pixel (y, x). `patches`: one image's decisions.
LASNET_HOST_DEVICE inline bool is_active(const ListGeometry& g, const uint8_t* patches, int y, int x) {
  return patches[y / g.granularity * g.patch_cols + x / g.granularity] != 0;
}

/// D at middle pixel (v, u): some active output's 3x3 window reads it.
LASNET_HOST_DEVICE inline bool is_dilated(const ListGeometry& g, const uint8_t* patches, int v, int u) {
  int s = g.dilation_stride;
  // Outputs y with s * y in [v - 1, v + 1]; whole patches of them at once.
  int top = v < 1 ? 0 : (v - 1 + s - 1) / s, left = u < 1 ? 0 : (u - 1 + s - 1) / s;
  int bottom = (v + 1) / s, right = (u + 1) / s;
  if (bottom > g.output_height - 1) bottom = g.output_height - 1;
  if (right > g.output_width - 1) right = g.output_width - 1;
  if (bottom < top || right < left) return false;
  for (int row = top / g.granularity; row <= bottom / g.granularity; ++row) {
    for (int col = left / g.granularity; col <= right / g.granularity; ++col) {
      if (patches[row * g.patch_cols + col] != 0) return true;
    }
  }
  return false;
}

/// What the mask says of pixel (y, x) of a list's map.
LASNET_HOST_DEVICE inline bool is_masked_in(const ListGeometry& g, ListKind kind, const uint8_t* patches,
                                            int y, int x) {
  return kind == ListKind::dilated ? is_dilated(g, patches, y, x) : is_active(g, patches, y, x);
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

/// Pixels are dealt to blocks of threads, one to a thread, in chunks that never cross images: whole small
/// images, or 1024 pixels.
inline constexpr int kMaxChunkPixels = 1024;
LASNET_HOST_DEVICE inline int chunk_pixels(const ListGeometry& g) {
  int middle = g.middle_height * g.middle_width, output = g.output_height * g.output_width;
  int pixels = ((middle > output ? middle : output) + 31) / 32 * 32;
  return pixels < kMaxChunkPixels ? pixels : kMaxChunkPixels;
}
LASNET_HOST_DEVICE inline int chunks_per_image(const ListGeometry& g, ListKind kind) {
  int chunk = chunk_pixels(g);
  return (domain_height(g, kind) * domain_width(g, kind) + chunk - 1) / chunk;
}

}  // namespace lasnet::cuda
