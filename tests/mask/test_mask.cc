// Properties of patches, masks, dilation and lists against brute force.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/random.h"
#include "lasnet/error.h"
#include "lasnet/mask.h"
#include "mask/active_lists.h"

namespace lasnet {
namespace {

struct MapCase {
  MapSize map;
  int granularity;
};

/// Sizes with a history of trouble, and 200 that nobody chose.
std::vector<MapCase> map_cases() {
  std::vector<MapCase> cases = {{{56, 56}, 4}, {{7, 7}, 1},  {{13, 9}, 3},   {{9, 13}, 5}, {{4, 6}, 9},
                                {{1, 1}, 1},   {{1, 17}, 2}, {{12, 12}, 12}, {{5, 5}, 4}};
  Random random(4);
  auto side = [&] { return static_cast<int64_t>(1 + random.below(24)); };
  for (int i = 0; i < 200; ++i) {
    MapSize map{side(), side()};
    cases.push_back({map, static_cast<int>(1 + random.below(i % 2 == 0 ? 4 : 26))});
  }
  return cases;
}

/// Decisions at a rate that is itself random, now and then 0 or 1.
std::vector<uint8_t> random_patches(const PatchGrid& grid, Random& random) {
  double rate = std::clamp(random.uniform(-0.15, 1.15), 0.0, 1.0);
  std::vector<uint8_t> patches(grid.patches());
  for (uint8_t& patch : patches) patch = random.uniform() < rate;
  return patches;
}

/// method.md section 2.3, literally.
std::vector<uint8_t> brute_force_dilation(const std::vector<uint8_t>& mask, MapSize output, int stride,
                                          MapSize input, int dilation) {
  std::vector<uint8_t> dilated(input.pixels());
  for (int64_t y = 0; y < output.height; ++y) {
    for (int64_t x = 0; x < output.width; ++x) {
      for (int64_t dy = -1; dy <= 1 && mask[y * output.width + x]; ++dy) {
        for (int64_t dx = -1; dx <= 1; ++dx) {
          int64_t v = stride * y + dilation * dy, u = stride * x + dilation * dx;
          if (v >= 0 && v < input.height && u >= 0 && u < input.width) dilated[v * input.width + u] = 1;
        }
      }
    }
  }
  return dilated;
}

TEST(Patches, CoverTheMapExactlyOnce) {
  for (const MapCase& c : map_cases()) {
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
  for (const MapCase& c : map_cases()) {
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
  for (const MapCase& c : map_cases()) {
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
  for (const MapCase& c : map_cases()) {
    for (int stride : {1, 2, 3}) {
      for (int64_t odd = 0; odd < stride; ++odd) {
        MapSize input{c.map.height * stride - odd, c.map.width * stride - odd};
        std::vector<uint8_t> mask(c.map.pixels());
        expand_patches({c.map, c.granularity}, random_patches({c.map, c.granularity}, random), mask);
        for (int dilation : {1, 2, 4}) {
          std::vector<uint8_t> dilated(input.pixels(), 7);
          dilate_mask(mask, c.map, stride, input, dilated, dilation);
          EXPECT_EQ(dilated, brute_force_dilation(mask, c.map, stride, input, dilation));
        }
      }
    }
  }
}

using Pairs = std::vector<std::pair<int32_t, int32_t>>;

Pairs to_pairs(PixelPairs list) {
  Pairs pairs;
  for (int64_t i = 0; i < list.count; ++i) pairs.emplace_back(list.in[i], list.out[i]);
  return pairs;
}

/// A map with its border.
struct Bordered {
  MapSize map;
  int64_t border = 1;

  int64_t index(int64_t image, int64_t y, int64_t x) const {
    return bordered_index(map, image, y, x, border);
  }
};

/// Pairs of the pixels whose flag is `wanted`, pixel by pixel.
void append_expected(const std::vector<uint8_t>& flags, uint8_t wanted, MapSize in, int stride, Bordered out,
                     int64_t image, Pairs& pairs) {
  for (int64_t y = 0; y < out.map.height; ++y) {
    for (int64_t x = 0; x < out.map.width; ++x) {
      if (flags[y * out.map.width + x] != wanted) continue;
      pairs.emplace_back(bordered_index(in, image, y * stride, x * stride), out.index(image, y, x));
    }
  }
}

struct BlockCase {
  int first_stride, second_stride;  // of convs[0], convs[1]
  int dilation = 1;                 // of convs[1]
};

/// A block whose maps are as odd as they can be: one pixel short of the strides' multiples.
BlockGeometry geometry_of(const MapCase& c, BlockCase strides, bool odd) {
  auto before = [&](MapSize map, int stride) -> MapSize {
    int64_t missing = odd ? stride - 1 : 0;
    return {map.height * stride - missing, map.width * stride - missing};
  };
  BlockGeometry geometry;
  geometry.output = c.map;
  geometry.middle = before(geometry.output, strides.second_stride);
  geometry.input = before(geometry.middle, strides.first_stride);
  geometry.dilation_stride = strides.second_stride;
  geometry.dilation = strides.dilation;
  geometry.grid = {c.map, c.granularity};
  return geometry;
}

/// Pairs of the pixels of patches decided `wanted`, patch by patch.
void append_patches(const PatchGrid& grid, std::span<const uint8_t> patches, uint8_t wanted, Bordered in,
                    int stride, int64_t image, Pairs& pairs) {
  for (int64_t p = 0; p < grid.patches(); ++p) {
    if (patches[p] != wanted) continue;
    PixelRect rect = patch_pixels(grid, p / grid.cols(), p % grid.cols());
    for (int64_t y = rect.top; y < rect.bottom; ++y) {
      for (int64_t x = rect.left; x < rect.right; ++x) {
        pairs.emplace_back(in.index(image, y * stride, x * stride), bordered_index(grid.map, image, y, x));
      }
    }
  }
}

struct ExpectedLists {
  Pairs dilated, active, projected_active, projected_inactive;
  std::vector<int64_t> dilated_counts, active_counts;
};

/// The lists of the masks that `patches` [images, rows, cols] mean, pixel by pixel.
ExpectedLists expected_lists(const BlockGeometry& g, int first_stride, const std::vector<uint8_t>& patches,
                             int64_t images) {
  ExpectedLists lists;
  int stride = first_stride * g.dilation_stride;
  for (int64_t n = 0; n < images; ++n) {
    std::vector<uint8_t> mask(g.output.pixels());
    expand_patches(g.grid, std::span(patches).subspan(n * g.grid.patches(), g.grid.patches()), mask);
    std::vector<uint8_t> dilated =
        brute_force_dilation(mask, g.output, g.dilation_stride, g.middle, g.dilation);
    const Bordered middle{g.middle, g.dilation};
    append_expected(dilated, 1, g.input, first_stride, middle, n, lists.dilated);
    std::span of_image = std::span(patches).subspan(n * g.grid.patches(), g.grid.patches());
    append_patches(g.grid, of_image, 1, middle, g.dilation_stride, n, lists.active);
    append_patches(g.grid, of_image, 1, {g.input}, stride, n, lists.projected_active);
    append_patches(g.grid, of_image, 0, {g.input}, stride, n, lists.projected_inactive);
    lists.dilated_counts.push_back(std::count(dilated.begin(), dilated.end(), uint8_t{1}));
    lists.active_counts.push_back(std::count(mask.begin(), mask.end(), uint8_t{1}));
  }
  return lists;
}

std::vector<uint8_t> random_batch(const PatchGrid& grid, int64_t images, Random& random) {
  std::vector<uint8_t> patches;
  for (int64_t n = 0; n < images; ++n) {
    std::vector<uint8_t> image = random_patches(grid, random);
    patches.insert(patches.end(), image.begin(), image.end());
  }
  return patches;
}

/// Active pixels first, in the order of M, then the others in any order.
void check_projected(const ActiveLists& lists, const ExpectedLists& expected, bool has_projection) {
  if (!has_projection) {
    EXPECT_EQ(lists.projected.all().count, 0);
    return;
  }
  EXPECT_EQ(to_pairs(lists.projected.pairs()), expected.projected_active);
  PixelPairs all = lists.projected.all();
  Pairs others = to_pairs(all.range(lists.active.count(), all.count)), wanted = expected.projected_inactive;
  std::sort(others.begin(), others.end());
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(others, wanted);
}

/// The projection's pixels of every patch are its own, and begin where the list of patches says.
void check_projected_patches(const ActiveLists& lists, const BlockGeometry& geometry) {
  const PixelPairs all = lists.projected.all();
  int64_t begin = 0;
  for (size_t p = 0; p + 1 < lists.projected_patches.size(); ++p) {
    const ListedPatch& patch = lists.projected_patches[p];
    const PixelRect rect = patch_pixels(geometry.grid, patch.row, patch.col);
    ASSERT_EQ(patch.begin, begin);
    std::set<int32_t> wanted;
    for (int64_t y = rect.top; y < rect.bottom; ++y) {
      for (int64_t x = rect.left; x < rect.right; ++x)
        wanted.insert(static_cast<int32_t>(bordered_index(geometry.output, patch.image, y, x)));
    }
    EXPECT_EQ(std::set<int32_t>(all.out + begin, all.out + begin + rect.pixels()), wanted);
    begin += rect.pixels();
  }
  EXPECT_EQ(lists.projected_patches.back().begin, begin);
  EXPECT_EQ(begin, all.count);
}

using Outputs = std::vector<int32_t>;

Outputs outputs_of(const PixelList& list) { return {list.pairs().out, list.pairs().out + list.count()}; }

/// Row by row, image by image.
Outputs sorted_outputs_of(const PixelList& list) {
  Outputs outputs = outputs_of(list);
  std::sort(outputs.begin(), outputs.end());
  return outputs;
}

/// Each active patch, its rows and the rows of D begin where the lists say.
void check_patches(const ActiveLists& lists, const PatchGrid& grid, const std::vector<uint8_t>& patches) {
  int64_t found = 0, pixels = 0;
  for (int64_t p = 0; p < static_cast<int64_t>(patches.size()); ++p) {
    int64_t image = p / grid.patches(), cell = p % grid.patches();
    if (cell % grid.cols() == 0) {
      EXPECT_EQ(lists.patch_rows[p / grid.cols()], found);
    }
    if (patches[p] == 0) continue;
    const ListedPatch& patch = lists.patches[found++];
    EXPECT_EQ(patch.image, image);
    EXPECT_EQ(patch.row, cell / grid.cols());
    EXPECT_EQ(patch.col, cell % grid.cols());
    EXPECT_EQ(patch.begin, pixels);
    pixels += patch_pixels(grid, patch.row, patch.col).pixels();
  }
  EXPECT_EQ(lists.active_patches(), found);
  EXPECT_EQ(lists.patch_rows.back(), found);
  EXPECT_EQ(lists.patches.back().begin, lists.active.count());
  for (size_t row = 0; row + 1 < lists.dilated_rows.size(); ++row) {
    PixelPairs of_row = lists.dilated.pairs().range(lists.dilated_rows[row], lists.dilated_rows[row + 1]);
    for (int64_t i = 1; i < of_row.count; ++i) EXPECT_LT(of_row.out[i - 1], of_row.out[i]);
  }
  EXPECT_EQ(lists.dilated_rows.back(), lists.dilated.count());
}

const BlockCase kStrides[] = {{1, 1}, {1, 2}, {2, 1}, {2, 2}, {1, 3}, {1, 1, 2}, {1, 1, 4}, {1, 2, 2}};

TEST(ActiveLists, AgreeWithMasks) {
  constexpr int64_t kImages = 3;
  Random random(3);
  for (const MapCase& c : map_cases()) {
    for (BlockCase strides : kStrides) {
      BlockGeometry geometry = geometry_of(c, strides, random.below(2) == 0);
      bool has_projection = random.below(4) != 0;
      ListOptions options{strides.first_stride * strides.second_stride, has_projection, random.below(2) == 0};
      ActiveListBuilder builder(geometry, options, kImages);
      ActiveLists lists;
      for (int repeat = 0; repeat < 2; ++repeat) {  // a second build starts from nothing
        std::vector<uint8_t> patches = random_batch(geometry.grid, kImages, random);
        ExpectedLists expected = expected_lists(geometry, strides.first_stride, patches, kImages);
        builder.build(patches, lists);
        EXPECT_EQ(to_pairs(lists.dilated.pairs()), expected.dilated);
        EXPECT_EQ(to_pairs(lists.active.pairs()), expected.active);
        check_projected(lists, expected, has_projection);
        if (has_projection) check_projected_patches(lists, geometry);
        check_patches(lists, geometry.grid, patches);
        EXPECT_EQ(outputs_of(lists.active_by_row),
                  options.by_row ? sorted_outputs_of(lists.active) : Outputs());
        EXPECT_EQ(builder.dilated_counts(), expected.dilated_counts);
        EXPECT_EQ(builder.active_counts(), expected.active_counts);
      }
    }
  }
}

/// The projection computes every output pixel exactly once, whatever the mask.
TEST(ActiveLists, ProjectionsPartitionTheMap) {
  constexpr int64_t kImages = 2;
  Random random(5);
  for (const MapCase& c : map_cases()) {
    BlockGeometry geometry = geometry_of(c, {1, 2}, random.below(2) == 0);
    ActiveListBuilder builder(geometry, {.stride = 2, .projected = true}, kImages);
    ActiveLists lists;
    builder.build(random_batch(geometry.grid, kImages, random), lists);
    std::vector<int32_t> computed, everything;
    for (auto [in, out] : to_pairs(lists.projected.all())) computed.push_back(out);
    for (int64_t n = 0; n < kImages; ++n) {
      for (int64_t y = 0; y < c.map.height; ++y) {
        for (int64_t x = 0; x < c.map.width; ++x) everything.push_back(bordered_index(c.map, n, y, x));
      }
    }
    std::sort(computed.begin(), computed.end());
    EXPECT_EQ(computed, everything);
  }
}

/// Every pixel that the 3x3 reads for an active output is in D, or outside the map; and D holds no other.
TEST(ActiveLists, DilatedIsWhatTheSecondConvolutionReads) {
  Random random(6);
  for (const MapCase& c : map_cases()) {
    BlockCase strides = kStrides[random.below(std::size(kStrides))];
    BlockGeometry geometry = geometry_of(c, strides, random.below(2) == 0);
    ActiveListBuilder builder(geometry, {.stride = strides.first_stride * strides.second_stride}, 1);
    ActiveLists lists;
    builder.build(random_batch(geometry.grid, 1, random), lists);
    std::set<int32_t> inside, read, written;
    for (int64_t v = 0; v < geometry.middle.height; ++v) {
      for (int64_t u = 0; u < geometry.middle.width; ++u) {
        inside.insert(static_cast<int32_t>(bordered_index(geometry.middle, 0, v, u, geometry.dilation)));
      }
    }
    int64_t row = geometry.middle.width + 2 * geometry.dilation;
    for (auto [in, out] : to_pairs(lists.active.pairs())) {
      for (int64_t dy = -1; dy <= 1; ++dy) {
        for (int64_t dx = -1; dx <= 1; ++dx) {
          int32_t tap = static_cast<int32_t>(in + geometry.dilation * (dy * row + dx));
          if (inside.count(tap) != 0) read.insert(tap);
        }
      }
    }
    for (auto [in, out] : to_pairs(lists.dilated.pairs())) written.insert(out);
    EXPECT_EQ(written, read);
  }
}

}  // namespace
}  // namespace lasnet
