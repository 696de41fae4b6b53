#include <algorithm>
#include <set>

#include "lasnet/geometry.h"
#include "lasnet/report.h"
#include "report/canvas.h"
#include "report/coverage.h"
#include "report/font.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A trace of one image with blocks layer1.0, layer1.1 ... of these maps; `active(block, row, column)`
/// decides patches.
template <typename Active>
Trace make_trace(const std::vector<MapSize>& maps, int granularity, Active active) {
  Trace trace;
  for (size_t i = 0; i < maps.size(); ++i) {
    BlockTrace block;
    block.name = "layer1." + std::to_string(i);
    block.granularity = granularity;
    block.height = maps[i].height;
    block.width = maps[i].width;
    block.mask = ByteTensor({1, block.height, block.width});
    for (int64_t y = 0; y < block.height; ++y) {
      for (int64_t x = 0; x < block.width; ++x) {
        block.mask.data[y * block.width + x] = active(static_cast<int>(i), y / granularity, x / granularity);
      }
    }
    auto ones = std::count(block.mask.data.begin(), block.mask.data.end(), 1);
    block.rate = static_cast<double>(ones) / static_cast<double>(block.mask.size());
    block.rates = {block.rate};
    trace.blocks.push_back(block);
  }
  trace.static_macs = 200;
  trace.image_macs = {100};
  return trace;
}

constexpr Colour kFlat = {200, 120, 40};

Image flat_photo(int width, int height) { return filled_image(width, height, kFlat); }

double mean_luma(const Image& image, int left, int top, int width, int height) {
  double sum = 0;
  for (int y = top; y < top + height; ++y) {
    for (int x = left; x < left + width; ++x) sum += luma(pixel(image, x, y));
  }
  return sum / (width * height);
}

TEST(MapPositions, FollowTheStridesOfTheNetwork) {
  int64_t map = 97;  // px, halved with rounding up by every stride
  for (int64_t stride = 2; stride <= 32; stride *= 2) {
    map = (map + 1) / 2;
    std::vector<int64_t> positions = map_positions(97, map);
    for (int64_t i = 0; i < 97; ++i) EXPECT_EQ(positions[i], i / stride) << stride;
  }
}

TEST(MapPositions, StretchOtherMaps) {
  EXPECT_THAT(map_positions(6, 3), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(map_positions(9, 4), ElementsAre(0, 0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_THAT(map_positions(3, 1), ElementsAre(0, 0, 0));
  EXPECT_THAT(map_positions(2, 5), ElementsAre(0, 2));
}

TEST(ComputeDensity, IsTheMeanOfTheMasks) {
  Trace trace = make_trace({{4, 4}, {2, 2}}, 1, [](int block, int64_t y, int64_t x) {
    return block == 0 ? y == 0 && x == 0 : x == 0;
  });
  std::vector<float> density = compute_density(trace, 0, 8, 8);
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) {
      float expected = (y < 2 && x < 2 ? 0.5f : 0) + (x < 4 ? 0.5f : 0);
      EXPECT_EQ(density[y * 8 + x], expected) << y << " " << x;
    }
  }
}

TEST(ComputeDensity, LeavesStaticBlocksOutAndPicksTheImage) {
  Trace trace = make_trace({{2, 2}}, 1, [](int, int64_t, int64_t) { return 1; });
  trace.blocks.emplace_back();  // granularity 0: static
  trace.blocks[0].mask = ByteTensor({2, 2, 2});
  std::fill_n(trace.blocks[0].mask.data.begin() + 4, 4, uint8_t{1});  // image 1 only
  EXPECT_THAT(compute_density(trace, 0, 1, 2), ElementsAre(0, 0));
  EXPECT_THAT(compute_density(trace, 1, 1, 2), ElementsAre(1, 1));
}

TEST(Report, RefusesTracesWithoutMasks) {
  Image photo = flat_photo(8, 8);
  Trace trace = make_trace({{2, 2}}, 1, [](int, int64_t, int64_t) { return 1; });
  Trace unrecorded = trace, fixed = trace;
  unrecorded.blocks[0].mask = {};
  fixed.blocks[0].granularity = 0;
  EXPECT_ERROR(heat_map(photo, unrecorded), HasSubstr("layer1.0 has no recorded mask"));
  EXPECT_ERROR(mask_sheet(photo, fixed), HasSubstr("the network is static"));
  EXPECT_ERROR(heat_map(photo, trace, 1), HasSubstr("image 1 of a batch of 1"));
  EXPECT_ERROR(mask_sheet(photo, trace, -1), HasSubstr("image -1"));
  EXPECT_ERROR(mask_sheet({}, trace), HasSubstr("empty"));
  EXPECT_ERROR(compute_density(trace, 0, 0, 5), HasSubstr("0 x 5"));
}

TEST(HeatMap, IsWideEnoughAndBrighterWhereMoreWasComputed) {
  for (auto [width, height] : {std::pair{128, 96}, {96, 131}, {639, 480}}) {
    // Three columns of the picture: no block, one of two, both.
    Trace trace = make_trace({{4, 6}, {4, 6}}, 2, [](int block, int64_t, int64_t x) { return x > block; });
    Image picture = heat_map(flat_photo(width, height), trace);
    EXPECT_GE(picture.width, 448);
    EXPECT_EQ(picture.width % width, 0);
    int factor = picture.width / width;
    EXPECT_GT(picture.height, height * picture.width / width);  // the colour bar
    int third = picture.width / 3, border = 2 * factor;
    int rows = height * factor;
    auto column = [&](int i) { return mean_luma(picture, i * third + border, 0, third - 2 * border, rows); };
    EXPECT_LT(column(0) + 10, column(1));
    EXPECT_LT(column(1) + 10, column(2));
  }
}

TEST(HeatMap, ShowsThePhotoBelow) {
  for (int computed : {0, 1}) {
    Trace trace = make_trace({{4, 4}}, 1, [=](int, int64_t, int64_t) { return computed; });
    Image photo = flat_photo(64, 64);
    fill_rect(photo, 0, 0, 32, 64, grey(0));
    Image picture = heat_map(photo, trace);
    EXPECT_LT(mean_luma(picture, 0, 0, 200, 400) + 15, mean_luma(picture, 248, 0, 200, 400));
  }
}

TEST(MaskSheet, HasATilePerBlockAndDarkensInactivePatches) {
  Trace trace = make_trace({{4, 4}, {4, 4}, {2, 2}}, 2,
                           [](int block, int64_t, int64_t x) { return block == 1 || x == 0; });
  Image sheet = mask_sheet(flat_photo(128, 128), trace);
  constexpr int kTile = 256, kMargin = 14, kStep = kTile + kMargin;
  ASSERT_EQ(sheet.width, kMargin + 3 * kStep);  // three tiles side by side
  auto part = [&](int tile, int offset) {
    return mean_luma(sheet, kMargin + tile * kStep + offset, kMargin + 6, 100, 100);
  };
  EXPECT_NEAR(part(0, 6), luma(kFlat), 1);    // block 0: the left half is active,
  EXPECT_LT(part(0, 140), luma(kFlat) / 3);   // the right half is not
  EXPECT_NEAR(part(1, 140), luma(kFlat), 1);  // block 1: all active
  EXPECT_NEAR(part(2, 140), luma(kFlat), 1);  // block 2: one patch
}

TEST(MaskSheet, DrawsMapsThatDoNotDivideTheImage) {
  std::vector<MapSize> maps = {{25, 33}, {13, 17}, {7, 9}, {4, 5}};
  for (int granularity : {1, 3, 9}) {
    Trace trace = make_trace(maps, granularity, [](int, int64_t y, int64_t x) { return (x + y) % 2 == 0; });
    Image sheet = mask_sheet(flat_photo(131, 97), trace);
    ASSERT_EQ(sheet.rgb.size(), static_cast<size_t>(sheet.width) * sheet.height * 3);
    EXPECT_GT(luma(pixel(sheet, 18, 18)), 100);  // the first patch of the first tile is active
  }
}

TEST(Font, HasDistinctGlyphsForPrintableAscii) {
  std::set<std::array<uint8_t, kFontRows>> shapes;
  for (char c = '!'; c <= '~'; ++c) {
    EXPECT_GE(glyph(c).width, 1) << c;
    EXPECT_LE(glyph(c).width, 5) << c;
    shapes.insert(glyph(c).rows);
  }
  EXPECT_EQ(shapes.size(), static_cast<size_t>('~' - '!' + 1));
  EXPECT_EQ(glyph('\xe9').rows, glyph(' ').rows);
  EXPECT_EQ(text_width(""), 0);
  EXPECT_EQ(text_width("ab"), glyph('a').width + 1 + glyph('b').width);
}

TEST(Canvas, DrawsTextWithinItsWidthAndClips) {
  Image image = filled_image(40, 12, {});
  draw_text(image, 2, 2, "S=4", grey(255), 1);
  int right = 0;
  for (int x = 0; x < 40; ++x) {
    for (int y = 0; y < 12; ++y) right = pixel(image, x, y).red == 0 ? right : x;
  }
  EXPECT_EQ(right, 2 + text_width("S=4") - 1);
  Image before = image;
  draw_text(image, -100, 2, "clipped", grey(255), 1);
  draw_text(image, 40, 2, "clipped", grey(255), 1);
  draw_text(image, 2, -30, "clipped", grey(255), 3);
  draw_text(image, 2, 12, "clipped", grey(255), 3);
  EXPECT_EQ(image, before);
}

}  // namespace
}  // namespace lasnet::test
