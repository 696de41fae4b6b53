#include "lasnet/mask.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"

namespace lasnet {
namespace {

void check_size(const char* what, size_t got, int64_t expected) {
  if (static_cast<int64_t>(got) != expected) fail("{}: {} values; expected {}", what, got, expected);
}

}  // namespace

PixelRect patch_pixels(const PatchGrid& grid, int64_t row, int64_t col) {
  int64_t s = grid.granularity;
  return {row * s, col * s, std::min((row + 1) * s, grid.map.height),
          std::min((col + 1) * s, grid.map.width)};
}

PixelRect patch_window(const PatchGrid& grid, int64_t row, int64_t col, int stride, MapSize input) {
  int64_t side = int64_t{grid.granularity} * stride;
  return {row * side, col * side, std::min((row + 1) * side, input.height),
          std::min((col + 1) * side, input.width)};
}

void expand_patches(const PatchGrid& grid, std::span<const uint8_t> patches, std::span<uint8_t> mask) {
  check_size("expand_patches: patches", patches.size(), grid.patches());
  check_size("expand_patches: mask", mask.size(), grid.map.pixels());
  for (int64_t y = 0; y < grid.map.height; ++y) {
    const uint8_t* decisions = patches.data() + y / grid.granularity * grid.cols();
    uint8_t* row = mask.data() + y * grid.map.width;
    for (int64_t x = 0; x < grid.map.width; ++x) row[x] = decisions[x / grid.granularity];
  }
}

std::vector<uint8_t> patches_of_mask(const PatchGrid& grid, std::span<const uint8_t> mask) {
  check_size("patches_of_mask: mask", mask.size(), grid.map.pixels());
  std::vector<uint8_t> patches(grid.patches());
  for (int64_t row = 0; row < grid.rows(); ++row) {
    for (int64_t col = 0; col < grid.cols(); ++col) {
      PixelRect rect = patch_pixels(grid, row, col);
      uint8_t value = mask[rect.top * grid.map.width + rect.left];
      if (value > 1) fail("mask: value {} at ({}, {}); expected 0 or 1", value, rect.top, rect.left);
      for (int64_t y = rect.top; y < rect.bottom; ++y) {
        for (int64_t x = rect.left; x < rect.right; ++x) {
          if (mask[y * grid.map.width + x] != value) {
            fail(
                "mask: patch ({}, {}) of granularity {} holds both {} and {}; a mask is constant over each "
                "patch",
                row, col, grid.granularity, value, mask[y * grid.map.width + x]);
          }
        }
      }
      patches[row * grid.cols() + col] = value;
    }
  }
  return patches;
}

void dilate_mask(std::span<const uint8_t> mask, MapSize output, int stride, MapSize input,
                 std::span<uint8_t> dilated, int dilation) {
  check_size("dilate_mask: mask", mask.size(), output.pixels());
  check_size("dilate_mask: dilated", dilated.size(), input.pixels());
  std::fill(dilated.begin(), dilated.end(), uint8_t{0});
  for (int64_t y = 0; y < output.height; ++y) {
    for (int64_t x = 0; x < output.width; ++x) {
      if (!mask[y * output.width + x]) continue;
      for (int64_t tap = 0; tap < 9; ++tap) {
        const int64_t v = y * stride + (tap / 3 - 1) * dilation, u = x * stride + (tap % 3 - 1) * dilation;
        if (v >= 0 && v < input.height && u >= 0 && u < input.width) dilated[v * input.width + u] = 1;
      }
    }
  }
}

double activation_rate(std::span<const uint8_t> mask) {
  if (mask.empty()) return 0;
  return static_cast<double>(std::accumulate(mask.begin(), mask.end(), int64_t{0})) /
         static_cast<double>(mask.size());
}

}  // namespace lasnet
