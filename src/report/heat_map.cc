#include <algorithm>
#include <array>
#include <cmath>

#include "core/fail.h"
#include "lasnet/report.h"
#include "report/canvas.h"
#include "report/coverage.h"
#include "report/font.h"

namespace lasnet {
namespace {

constexpr int kMinWidth = 448;
constexpr int kTextScale = 2;
constexpr int kMargin = 14;
constexpr int kBarHeight = kFontCapHeight * kTextScale;
constexpr int kFooterHeight = kBarHeight + 2 * kMargin;
constexpr double kPhotoLight = 0.6;  ///< brightness of the grey photo where nothing was computed
constexpr double kShade = 0.35;      ///< share of the heat's brightness that does not follow the photo's
constexpr double kLift = 1.15;       ///< makes up for photos darker than the colours
constexpr double kHeatLow = 0.45;    ///< share of the heat where nothing was computed ...
constexpr double kHeatHigh = 0.9;    ///< ... and where every block did

constexpr Colour kBackground = {17, 18, 23};
constexpr Colour kText = {226, 228, 233};

/// Inferno (Smith, van der Walt; matplotlib, CC0), perceptually uniform: 17 equal steps, linear between.
Colour heat_colour(double value) {
  static constexpr std::array<Colour, 17> kSteps = {{{0, 0, 4},
                                                     {11, 7, 36},
                                                     {33, 12, 74},
                                                     {61, 9, 101},
                                                     {87, 16, 110},
                                                     {113, 25, 110},
                                                     {138, 34, 106},
                                                     {163, 44, 97},
                                                     {188, 55, 84},
                                                     {210, 70, 68},
                                                     {228, 90, 49},
                                                     {241, 115, 29},
                                                     {249, 142, 9},
                                                     {252, 172, 17},
                                                     {249, 203, 53},
                                                     {242, 234, 105},
                                                     {252, 255, 164}}};
  double position = std::clamp(value, 0.0, 1.0) * (kSteps.size() - 1);
  auto step = std::min(static_cast<size_t>(position), kSteps.size() - 2);
  return mix(kSteps[step], kSteps[step + 1], position - static_cast<double>(step));
}

/// The heat takes the photo's light and shade, and covers the more of it the more was computed.
void tint(Image& picture, const std::vector<float>& density, int width, int factor) {
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      double value = density[static_cast<size_t>(y / factor) * width + x / factor];
      double light = luma(pixel(picture, x, y)) / 255;
      Colour photo = grey(static_cast<uint8_t>(255 * kPhotoLight * light));
      Colour heat = mix({}, heat_colour(value), std::min(1.0, kShade + (1 - kShade) * light * kLift));
      set_pixel(picture, x, y, mix(photo, heat, kHeatLow + (kHeatHigh - kHeatLow) * value));
    }
  }
}

/// "0 [colours] 8 blocks", and the image's share of MACs at the right.
void draw_footer(Image& picture, int top, size_t blocks, const std::string& note) {
  int y = top + kMargin;
  std::string last = fmt::format("{} block{}", blocks, blocks == 1 ? "" : "s");
  int bar_left = kMargin + text_width("0") * kTextScale + kMargin / 2;
  int note_left = picture.width - kMargin - text_width(note) * kTextScale;
  int bar_width = note_left - bar_left - text_width(last) * kTextScale - kMargin / 2 - 2 * kMargin;
  draw_text(picture, kMargin, y, "0", kText, kTextScale);
  for (int x = 0; x < bar_width; ++x) {
    fill_rect(picture, bar_left + x, y, 1, kBarHeight, heat_colour(x / (bar_width - 1.0)));
  }
  draw_text(picture, bar_left + bar_width + kMargin / 2, y, last, kText, kTextScale);
  draw_text(picture, note_left, y, note, kText, kTextScale);
}

std::string macs_note(const Trace& trace, int64_t index) {
  if (trace.static_macs <= 0 || index >= static_cast<int64_t>(trace.image_macs.size())) return "";
  return fmt::format("{:.0f}% of MACs",
                     100 * trace.image_macs[index] / static_cast<double>(trace.static_macs));
}

}  // namespace

Image heat_map(const Image& photo, const Trace& trace, int64_t index) {
  std::vector<float> density = compute_density(trace, index, photo.height, photo.width);
  int factor = std::max(1, (kMinWidth + photo.width - 1) / photo.width);
  Image picture = resize(photo, photo.width * factor, photo.height * factor);
  tint(picture, density, photo.width, factor);
  Image page = filled_image(picture.width, picture.height + kFooterHeight, kBackground);
  paste(page, picture, 0, 0);
  draw_footer(page, picture.height, dynamic_blocks(trace, index).size(), macs_note(trace, index));
  return page;
}

}  // namespace lasnet
