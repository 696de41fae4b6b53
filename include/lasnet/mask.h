// Patches, masks and their dilation: the one definition of what "active" means (paper section 3.1; method).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

/// The grid of S x S patches over an output map. Patch (i, j) covers rows [iS, (i+1)S) and columns [jS,
/// (j+1)S) clipped to the map; S larger than the map is one patch.
struct PatchGrid {
  MapSize map;          ///< the output map
  int granularity = 1;  ///< S

  /// Rows of patches.
  int64_t rows() const { return (map.height + granularity - 1) / granularity; }
  /// Columns of patches.
  int64_t cols() const { return (map.width + granularity - 1) / granularity; }
  /// Patches of one image.
  int64_t patches() const { return rows() * cols(); }
  bool operator==(const PatchGrid&) const = default;
};

/// A half-open rectangle of pixels.
struct PixelRect {
  int64_t top = 0,  ///< first row
      left = 0,     ///< first column
      bottom = 0,   ///< row after the last
      right = 0;    ///< column after the last

  /// How many pixels it holds.
  int64_t pixels() const { return (bottom - top) * (right - left); }
  bool operator==(const PixelRect&) const = default;
};

/// Output pixels of patch (row, col), clipped to the map.
LASNET_EXPORT PixelRect patch_pixels(const PatchGrid& grid, int64_t row, int64_t col);

/// Pixels of the block input under patch (row, col) of a block with this stride, clipped to `input`. The
/// masker averages them.
LASNET_EXPORT PixelRect patch_window(const PatchGrid& grid, int64_t row, int64_t col, int stride,
                                     MapSize input);

/// Repeats patch decisions [rows * cols] over their pixels into mask [map.height * map.width]. Values are 0
/// or
/// 1. This and the two functions below throw Error on spans of a wrong size.
LASNET_EXPORT void expand_patches(const PatchGrid& grid, std::span<const uint8_t> patches,
                                  std::span<uint8_t> mask);

/// Inverse of expand_patches. Throws Error if the mask is not constant over some patch or has values other
/// than 0, 1.
LASNET_EXPORT std::vector<uint8_t> patches_of_mask(const PatchGrid& grid, std::span<const uint8_t> mask);

/// The dilated mask D: the pixels that a 3x3 convolution of this stride reads for the active outputs.
/// `D = {(s*y + d*dy, s*x + d*dx) : M(y, x) = 1, dy, dx in {-1, 0, 1}}` inside `input`, d being the
/// convolution's dilation and its padding. mask: [output.pixels()], with output = ceil(input / stride).
/// dilated: [input.pixels()], every entry is written.
LASNET_EXPORT void dilate_mask(std::span<const uint8_t> mask, MapSize output, int stride, MapSize input,
                               std::span<uint8_t> dilated, int dilation = 1);

/// Share of ones in [0, 1]; 0 for an empty mask.
LASNET_EXPORT double activation_rate(std::span<const uint8_t> mask);

}  // namespace lasnet
