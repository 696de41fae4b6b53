// Properties of patches, masks, dilation and lists against brute force.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/random.h"
#include "lasnet/error.h"
#include "lasnet/mask.h"
#include "mask/active_lists.h"

namespace lasnet {
namespace {

struct MapCase {
  MapSize map;
  int granularity;
};

const MapCase kMaps[] = {{{56, 56}, 4}, {{7, 7}, 1},  {{13, 9}, 3},   {{9, 13}, 5}, {{4, 6}, 9},
                         {{1, 1}, 1},   {{1, 17}, 2}, {{12, 12}, 12}, {{5, 5}, 4}};

std::vector<uint8_t> random_patches(const PatchGrid& grid, Random& random, double rate = 0.5) {
  std::vector<uint8_t> patches(grid.patches());
  for (uint8_t& patch : patches) patch = random.uniform() < rate;
  return patches;
}

/// method.md section 2.3, literally.
std::vector<uint8_t> brute_force_dilation(const std::vector<uint8_t>& mask, MapSize output, int stride,
                                          MapSize input) {
  std::vector<uint8_t> dilated(input.pixels());
  for (int64_t y = 0; y < output.height; ++y) {
    for (int64_t x = 0; x < output.width; ++x) {
      for (int64_t dy = -1; dy <= 1 && mask[y * output.width + x]; ++dy) {
        for (int64_t dx = -1; dx <= 1; ++dx) {
          int64_t v = stride * y + dy, u = stride * x + dx;
          if (v >= 0 && v < input.height && u >= 0 && u < input.width) dilated[v * input.width + u] = 1;
        }
      }
    }
  }
  return dilated;
}

TEST(Patches, CoverTheMapExactlyOnce) {
  for (const MapCase& c : kMaps) {
    PatchGrid grid{c.map, c.granularity};
    std::vector<int> covered(c.map.pixels());
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (int64_t col = 0; col < grid.cols(); ++col) {
        PixelRect rect = patch_pixels(grid, row, col);
        EXPECT_GT(rect.pixels(), 0);
        for (int64_t y = rect.top; y < rect.bottom; ++y) {
          for (int64_t x = rect.left; x < rect.right; ++x) ++covered[y * c.map.width + x];
        }
      }
    }
    EXPECT_THAT(covered, testing::Each(1));
  }
}

TEST(Patches, WindowsOfStridedBlocksCoverTheInputExactlyOnce) {
  for (const MapCase& c : kMaps) {
    for (int64_t odd = 0; odd < 2; ++odd) {
      MapSize input{c.map.height * 2 - odd, c.map.width * 2 - odd};
      PatchGrid grid{c.map, c.granularity};
      int64_t covered = 0;
      for (int64_t row = 0; row < grid.rows(); ++row) {
        for (int64_t col = 0; col < grid.cols(); ++col) {
          PixelRect window = patch_window(grid, row, col, 2, input);
          EXPECT_GT(window.pixels(), 0);
          covered += window.pixels();
        }
      }
      EXPECT_EQ(covered, input.pixels());
    }
  }
}

TEST(Patches, ExpansionIsInvertible) {
  Random random(1);
  for (const MapCase& c : kMaps) {
    PatchGrid grid{c.map, c.granularity};
    std::vector<uint8_t> patches = random_patches(grid, random);
    std::vector<uint8_t> mask(c.map.pixels());
    expand_patches(grid, patches, mask);
    EXPECT_EQ(patches_of_mask(grid, mask), patches);
  }
}

TEST(Patches, MasksThatVaryWithinAPatchAreRefused) {
  PatchGrid grid{{4, 4}, 2};
  std::vector<uint8_t> mask(16, 1);
  mask[5] = 0;
  EXPECT_THROW(patches_of_mask(grid, mask), Error);
  mask[5] = 2;
  EXPECT_THROW(patches_of_mask(grid, mask), Error);
}

TEST(Dilation, AgreesWithBruteForce) {
  Random random(2);
  for (const MapCase& c : kMaps) {
    for (int stride : {1, 2}) {
      for (int64_t odd = 0; odd < stride; ++odd) {
        MapSize input{c.map.height * stride - odd, c.map.width * stride - odd};
        std::vector<uint8_t> mask(c.map.pixels());
        expand_patches({c.map, c.granularity}, random_patches({c.map, c.granularity}, random), mask);
        std::vector<uint8_t> dilated(input.pixels(), 7);
        dilate_mask(mask, c.map, stride, input, dilated);
        EXPECT_EQ(dilated, brute_force_dilation(mask, c.map, stride, input));
      }
    }
  }
}

using Pairs = std::vector<std::pair<int32_t, int32_t>>;

Pairs to_pairs(const PixelList& list) {
  Pairs pairs;
  for (int64_t i = 0; i < list.count(); ++i) pairs.emplace_back(list.pairs().in[i], list.pairs().out[i]);
  return pairs;
}

/// Pairs of the pixels whose flag is `wanted`, pixel by pixel.
void append_expected(const std::vector<uint8_t>& flags, uint8_t wanted, MapSize in, int stride, MapSize out,
                     int64_t image, Pairs& pairs) {
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x) {
      if (flags[y * out.width + x] != wanted) continue;
      pairs.emplace_back(bordered_index(in, image, y * stride, x * stride), bordered_index(out, image, y, x));
    }
  }
}

struct BlockCase {
  int first_stride, second_stride;  // of convs[0], convs[1]
};

TEST(ActiveLists, AgreeWithMasks) {
  constexpr int64_t kImages = 3;
  Random random(3);
  for (const MapCase& c : kMaps) {
    for (BlockCase strides : {BlockCase{1, 1}, BlockCase{1, 2}, BlockCase{2, 1}}) {
      int stride = strides.first_stride * strides.second_stride;
      BlockGeometry geometry;
      geometry.output = c.map;
      geometry.middle = {c.map.height * strides.second_stride, c.map.width * strides.second_stride};
      geometry.input = {geometry.middle.height * strides.first_stride,
                        geometry.middle.width * strides.first_stride};
      geometry.dilation_stride = strides.second_stride;
      geometry.grid = {c.map, c.granularity};
      ActiveListBuilder builder(geometry, stride, true, kImages);
      ActiveLists lists;
      Pairs dilated_pairs, active, projected_active, projected_inactive;
      std::vector<uint8_t> patches;
      for (int64_t n = 0; n < kImages; ++n) {
        std::vector<uint8_t> image = random_patches(geometry.grid, random, 0.4);
        patches.insert(patches.end(), image.begin(), image.end());
        std::vector<uint8_t> mask(c.map.pixels());
        expand_patches(geometry.grid, image, mask);
        std::vector<uint8_t> dilated =
            brute_force_dilation(mask, geometry.output, strides.second_stride, geometry.middle);
        append_expected(dilated, 1, geometry.input, strides.first_stride, geometry.middle, n, dilated_pairs);
        append_expected(mask, 1, geometry.middle, strides.second_stride, geometry.output, n, active);
        append_expected(mask, 1, geometry.input, stride, geometry.output, n, projected_active);
        append_expected(mask, 0, geometry.input, stride, geometry.output, n, projected_inactive);
      }
      for (int repeat = 0; repeat < 2; ++repeat) {  // a second build starts from nothing
        builder.build(patches, lists);
        EXPECT_EQ(to_pairs(lists.dilated), dilated_pairs);
        EXPECT_EQ(to_pairs(lists.active), active);
        EXPECT_EQ(to_pairs(lists.projected_active), projected_active);
        EXPECT_EQ(to_pairs(lists.projected_inactive), projected_inactive);
      }
    }
  }
}

}  // namespace
}  // namespace lasnet
