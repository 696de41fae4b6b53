#include <algorithm>
#include <set>

#include "lasnet/geometry.h"
#include "lasnet/report.h"
#include "report/canvas.h"
#include "report/coverage.h"
#include "report/font.h"
#include "report/page.h"
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

TEST(MapPositions, FollowTheInputAtAnotherResolution) {
  EXPECT_EQ(map_positions(97, 97, 25), map_positions(97, 25));
  const std::vector<int64_t> enlarged = map_positions(194, 97, 25), of_input = map_positions(97, 25);
  for (size_t i = 0; i < enlarged.size(); ++i) EXPECT_EQ(enlarged[i], of_input[i / 2]) << i;
  EXPECT_THAT(map_positions(2, 8, 4), ElementsAre(0, 2));
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

/// A photograph in which no two places look alike.
Image gradient_photo(int width, int height) {
  Image photo = filled_image(width, height, {});
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      set_pixel(photo, x, y,
                {static_cast<uint8_t>(x * 255 / width), static_cast<uint8_t>(y * 255 / height),
                 static_cast<uint8_t>((x * 7 + y * 3) % 256)});
    }
  }
  return photo;
}

/// Where the heat is on a page that has it beside a photograph of this width.
int heat_left(int photo_width) { return 2 * kPageMargin + photo_width; }

TEST(HeatMap, ShowsThePhotographAtItsOwnResolutionBesideTheHeat) {
  const Trace trace = make_trace({{4, 6}}, 2, [](int, int64_t, int64_t x) { return x == 1; });
  const Image photo = gradient_photo(640, 480);
  const Image picture = heat_map(photo, trace, {.input = {96, 128}});
  ASSERT_EQ(picture.width, 3 * kPageMargin + 2 * 640);
  const int top = header_bottom(picture.width);
  EXPECT_EQ(crop(picture, top, kPageMargin, 480, 640), photo);
  const Image heat = crop(picture, top, heat_left(640), 480, 640);
  EXPECT_NE(heat, photo);
  // Three columns of patches, of which the network's 128 px say where they are: the second is hot.
  EXPECT_EQ(pixel(heat, 0, 479).red, pixel(heat, 0, 479).blue) << "nothing was computed: grey";
  EXPECT_GT(pixel(heat, 320, 479).red, pixel(heat, 320, 479).blue + 40);
}

TEST(HeatMap, AWidePhotographHasTheHeatBelow) {
  const Trace trace = make_trace({{4, 12}}, 2, [](int, int64_t, int64_t) { return 1; });
  const Image photo = gradient_photo(900, 300);
  const Image picture = heat_map(photo, trace);
  EXPECT_EQ(picture.width, 2 * kPageMargin + 900);
  const int top = header_bottom(picture.width);
  EXPECT_EQ(crop(picture, top, kPageMargin, 300, 900), photo);
  EXPECT_NE(crop(picture, top + 300 + kPageMargin, kPageMargin, 300, 900), photo);
}

TEST(HeatMap, IsBrighterWhereMoreWasComputed) {
  // Three columns of the picture: no block, one of two, both.
  const Trace trace =
      make_trace({{4, 6}, {4, 6}}, 2, [](int block, int64_t, int64_t x) { return x > block; });
  for (const auto& [width, height] : {std::pair{390, 390}, {480, 640}, {639, 480}}) {
    const Image picture = heat_map(flat_photo(width, height), trace);
    const int top = header_bottom(picture.width), third = width / 3, border = 4;
    const auto column = [&](int i) {
      return mean_luma(picture, heat_left(width) + i * third + border, top + border, third - 2 * border,
                       height - 2 * border);
    };
    EXPECT_LT(column(0) + 10, column(1));
    EXPECT_LT(column(1) + 10, column(2));
  }
}

/// The heat of a white photograph in eight columns, of which column i was computed by i of 7 blocks.
std::vector<Colour> colours_of_ranks(int more_blocks) {
  const std::vector<MapSize> maps(static_cast<size_t>(7 + more_blocks), MapSize{1, 8});
  const Trace trace =
      make_trace(maps, 1, [](int block, int64_t, int64_t x) { return block >= 7 || x > block; });
  const Image picture = heat_map(filled_image(400, 400, grey(255)), trace);
  std::vector<Colour> colours;
  for (int i = 0; i < 8; ++i) {
    colours.push_back(pixel(picture, heat_left(400) + 50 * i + 25, header_bottom(picture.width) + 200));
  }
  return colours;
}

TEST(HeatMap, ColoursFollowRanksSoThatFullComputationIsNoFog) {
  const std::vector<Colour> few = colours_of_ranks(0), many = colours_of_ranks(20);
  for (size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(luma(few[i]), luma(many[i])) << "20 blocks that computed everything change no rank";
  }
  EXPECT_EQ(many.front().red, many.front().blue) << "the least is not covered";
  EXPECT_GT(many.back().red, many.back().blue + 100) << "the most is coloured in full";
}

TEST(HeatMap, ColoursAreToldApartByBrightnessAlone) {
  const std::vector<Colour> colours = colours_of_ranks(0);
  for (size_t i = 1; i < colours.size(); ++i) EXPECT_GT(luma(colours[i]), luma(colours[i - 1]) + 4) << i;
}

TEST(HeatMap, ThePhotographIsSeenThroughAnyHeat) {
  for (const int computed : {0, 1}) {
    const Trace trace = make_trace({{4, 4}}, 1, [=](int, int64_t, int64_t) { return computed; });
    Image photo = filled_image(400, 400, grey(230));
    fill_rect(photo, 0, 0, 100, 400, grey(0));
    fill_rect(photo, 100, 0, 100, 400, grey(200));
    const Image picture = heat_map(photo, trace);
    const auto light = [&](int x) {
      return mean_luma(picture, heat_left(400) + x + 10, header_bottom(picture.width) + 10, 80, 380);
    };
    EXPECT_LT(light(0), 60) << "black stays dark";
    EXPECT_LT(light(0) + (computed == 1 ? 80 : 40), light(100));
    EXPECT_LT(light(100) + 5, light(200)) << "light places are not all one";
  }
}

bool has_light(const Image& picture, int left, int top, int width, int height) {
  double brightest = 0;
  for (int y = top; y < top + height; ++y) {
    for (int x = left; x < left + width; ++x) brightest = std::max(brightest, luma(pixel(picture, x, y)));
  }
  return brightest > 140;
}

TEST(Pictures, SayClassAndMacs) {
  const Trace trace = make_trace({{4, 4}}, 1, [](int, int64_t, int64_t x) { return x == 0; });
  const Image photo = filled_image(400, 400, {});
  for (const auto& draw :
       {+[](const Image&p, const Trace&t, const PictureOptions&o) { return heat_map(p, t, o); },
        +[](const Image&p, const Trace&t, const PictureOptions&o) { return mask_sheet(p, t, o); }}) {
    const Image named = draw(photo, trace, {.title = "bird 84.9 %"}), nameless = draw(photo, trace, {});
    ASSERT_EQ(named.width, nameless.width);
    const int scale = text_scale(named.width), height = kFontCapHeight * scale;
    EXPECT_TRUE(has_light(named, kPageMargin, kPageMargin, text_width("bird 84.9 %", scale), height));
    EXPECT_FALSE(has_light(nameless, kPageMargin, kPageMargin, text_width("bird 84.9 %", scale), height));
    const int note = text_width("50 % of the MACs", scale);
    EXPECT_TRUE(has_light(nameless, named.width - kPageMargin - note, kPageMargin, note, height));
    Trace silent = trace;
    silent.image_macs.clear();
    EXPECT_FALSE(
        has_light(draw(photo, silent, {}), kPageMargin, kPageMargin, named.width - 2 * kPageMargin, height));
  }
}

TEST(Pictures, AreBoundedAndLegibleAtAnySize) {
  const std::vector<MapSize> maps(50, MapSize{7, 7});
  const Trace trace = make_trace(maps, 1, [](int block, int64_t y, int64_t x) { return 7 * y + x < block; });
  const std::string title(300, 'w');
  for (const auto& [width, height] :
       {std::pair{1, 1}, {1, 700}, {700, 1}, {48, 48}, {97, 3000}, {3000, 97}, {3000, 2000}, {640, 480}}) {
    for (const Image& picture :
         {heat_map(flat_photo(width, height), trace, {.input = {97, 97}, .title = title}),
          mask_sheet(flat_photo(width, height), trace, {.input = {97, 97}, .title = title})}) {
      EXPECT_LE(picture.width, kMaxPictureSide) << width << " x " << height;
      EXPECT_LE(picture.height, kMaxPictureSide) << width << " x " << height;
      EXPECT_GE(picture.width, 420) << "room for text";
      EXPECT_EQ(picture.rgb.size(), static_cast<size_t>(picture.width) * picture.height * 3);
    }
  }
}

TEST(Pictures, RefuseAnInputWithoutPixels) {
  const Trace trace = make_trace({{4, 4}}, 1, [](int, int64_t, int64_t) { return 1; });
  EXPECT_ERROR(heat_map(flat_photo(8, 8), trace, {.input = {0, 5}}), HasSubstr("0 x 5"));
}

TEST(VisiblePart, IsWhatTheNetworkSeesAtThePhotographsResolution) {
  const Image photo = gradient_photo(600, 400);
  const Preprocessing half{.resize = 100, .crop = 50};
  EXPECT_EQ(visible_part(photo, half), crop(photo, 100, 200, 200, 200));
  EXPECT_EQ(visible_part(photo, {.resize = 100, .crop = 0}), photo);
  EXPECT_EQ(visible_part(gradient_photo(48, 48), {.resize = 224, .crop = 224}), gradient_photo(48, 48));
  const Image bounded = visible_part(gradient_photo(4000, 1000), {.resize = 100, .crop = 0});
  EXPECT_EQ(bounded.width, kMaxPictureSide);
  EXPECT_EQ(bounded.height, kMaxPictureSide / 4);
  EXPECT_ERROR(visible_part(Image{}, half), HasSubstr("empty"));
}

TEST(FittedText, IsAsciiAndCutToItsWidth) {
  EXPECT_EQ(fitted_text("plain 84.9 %", 1000, 2), "plain 84.9 %");
  EXPECT_EQ(fitted_text("M\xc3\xb6we \xe9\xb3\xa5\n", 1000, 2), "M?we ??");
  const std::string cut = fitted_text(std::string(100, 'x'), 200, 2);
  EXPECT_LE(text_width(cut, 2), 200);
  EXPECT_GT(text_width(cut, 2), 180);
  EXPECT_THAT(cut, testing::EndsWith("x..."));
  EXPECT_EQ(fitted_text("x", 0, 1), "");
}

TEST(MaskSheet, HasATilePerBlockAndDarkensInactivePatches) {
  Trace trace = make_trace({{4, 4}, {4, 4}, {2, 2}}, 2,
                           [](int block, int64_t, int64_t x) { return block == 1 || x == 0; });
  Image sheet = mask_sheet(flat_photo(128, 128), trace);
  constexpr int kTile = 256, kStep = kTile + kPageMargin;
  ASSERT_EQ(sheet.width, kPageMargin + 3 * kStep);  // three tiles side by side
  const int top = header_bottom(sheet.width);
  auto part = [&](int tile, int offset) {
    return mean_luma(sheet, kPageMargin + tile * kStep + offset, top + 6, 100, 100);
  };
  EXPECT_NEAR(part(0, 6), luma(kFlat), 1);    // block 0: the left half is active,
  EXPECT_LT(part(0, 140), luma(kFlat) / 3);   // the right half is not
  EXPECT_NEAR(part(1, 140), luma(kFlat), 1);  // block 1: all active
  EXPECT_NEAR(part(2, 140), luma(kFlat), 1);  // block 2: one patch
}

TEST(MaskSheet, HasALegendOfWhatIsBrightAndDark) {
  const Trace trace = make_trace({{4, 4}}, 2, [](int, int64_t, int64_t x) { return x == 0; });
  const Image sheet = mask_sheet(flat_photo(400, 400), trace);
  // Below the tile and its label: swatches as the tile's two halves are.
  bool computed = false, skipped = false;
  const Colour dark = pixel(sheet, kPageMargin + 200, header_bottom(sheet.width) + 20);
  for (int y = header_bottom(sheet.width) + 256 + 20; y < sheet.height; ++y) {
    for (int x = 0; x < sheet.width; ++x) {
      const Colour colour = pixel(sheet, x, y);
      computed |= colour.red == kFlat.red && colour.green == kFlat.green && colour.blue == kFlat.blue;
      skipped |= colour.red == dark.red && colour.green == dark.green && colour.blue == dark.blue;
    }
  }
  EXPECT_TRUE(computed);
  EXPECT_TRUE(skipped);
}

TEST(MaskSheet, DrawsMapsThatDoNotDivideTheImage) {
  std::vector<MapSize> maps = {{25, 33}, {13, 17}, {7, 9}, {4, 5}};
  for (int granularity : {1, 3, 9}) {
    Trace trace = make_trace(maps, granularity, [](int, int64_t y, int64_t x) { return (x + y) % 2 == 0; });
    Image sheet = mask_sheet(flat_photo(131, 97), trace);
    ASSERT_EQ(sheet.rgb.size(), static_cast<size_t>(sheet.width) * sheet.height * 3);
    // The first patch of the first tile is active.
    EXPECT_GT(luma(pixel(sheet, kPageMargin + 4, header_bottom(sheet.width) + 4)), 100);
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
