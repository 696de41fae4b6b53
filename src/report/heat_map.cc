#include <algorithm>
#include <array>
#include <cmath>

#include "base/fail.h"
#include "lasnet/report.h"
#include "report/canvas.h"
#include "report/coverage.h"
#include "report/font.h"
#include "report/page.h"

namespace lasnet {
namespace {

constexpr int kMinPanelSide = 384;  ///< px of a panel's longer side; smaller photographs are enlarged
constexpr int kMinPageWidth = 420;  ///< px; the legend's text needs them
constexpr int kMaxLegendWidth = 900;
constexpr double kWideRatio = 2.0;   ///< photographs wider than this have the heat map below
constexpr double kBackLight = 0.26;  ///< brightness of the grey photo below the heat
constexpr double kShadow = 0.26;     ///< share of the heat's brightness where the photo is black
constexpr double kThinnest = 0.55, kThickest = 0.92;  ///< share of the heat, from the second rank to the last
constexpr double kLift = 0.7;      ///< exponent of the photo's light: dark places show their heat too
constexpr double kContour = 0.28;  ///< darkening of the lines between different numbers

/// Inferno without its ends (Smith, van der Walt; matplotlib, CC0), perceptually uniform, told apart by
/// colour-blind people too: equal steps, linear between.
Colour heat_colour(double value) {
  static constexpr std::array<Colour, 9> kSteps = {{{138, 34, 106},
                                                    {163, 44, 97},
                                                    {188, 55, 84},
                                                    {210, 70, 68},
                                                    {228, 90, 49},
                                                    {241, 115, 29},
                                                    {249, 142, 9},
                                                    {252, 172, 17},
                                                    {249, 203, 53}}};
  const double position = std::clamp(value, 0.0, 1.0) * (kSteps.size() - 1);
  const auto step = std::min(static_cast<size_t>(position), kSteps.size() - 2);
  return mix(kSteps[step], kSteps[step + 1], position - static_cast<double>(step));
}

/// The photo's light (0 to 1) under the heat of a rank (0 to 1), which takes its light and shade, so that the
/// photo stays to be seen; nothing covers rank 0.
Colour heated(double light, double rank) {
  const Colour photo = grey(static_cast<uint8_t>(std::lround(255 * kBackLight * light)));
  if (rank <= 0) return photo;
  const Colour heat = mix({}, heat_colour(rank), kShadow + (1 - kShadow) * light);
  return mix(photo, heat, kThinnest + (kThickest - kThinnest) * rank);
}

/// How many blocks computed each pixel of a panel.
struct Counts {
  int width = 0;
  int blocks = 0;
  std::vector<int> pixels = {};
  std::vector<int> levels = {};    ///< the numbers that occur, rising
  std::vector<double> ranks = {};  ///< of each number, 0 to 1

  int at(int x, int y) const { return pixels[static_cast<size_t>(y) * width + x]; }
  double rank(int x, int y) const { return ranks[static_cast<size_t>(at(x, y))]; }
};

Counts count_blocks(const Trace& trace, const PictureOptions& options, int width, int height) {
  const std::vector<const BlockTrace*> blocks = dynamic_blocks(trace, options.index);
  Counts counts{.width = width, .blocks = static_cast<int>(blocks.size())};
  counts.pixels.resize(static_cast<size_t>(width) * height);
  for (const BlockTrace* block : blocks) {
    const std::vector<int64_t> rows = map_positions(height, options.input.height, block->height);
    const std::vector<int64_t> columns = map_positions(width, options.input.width, block->width);
    int* to = counts.pixels.data();
    for (const int64_t row : rows) {
      for (const int64_t column : columns) *to++ += is_active(*block, options.index, row, column);
    }
  }
  std::vector<bool> occurs(static_cast<size_t>(counts.blocks) + 1);
  for (const int count : counts.pixels) occurs[static_cast<size_t>(count)] = true;
  counts.ranks.resize(occurs.size());
  for (int count = 0; count <= counts.blocks; ++count) {
    if (occurs[static_cast<size_t>(count)]) counts.levels.push_back(count);
  }
  const size_t last = counts.levels.size() - 1;
  for (size_t i = 0; i <= last; ++i) {
    const double only = counts.levels[i] > 0 ? 1 : 0;  // everything computed is hot, nothing computed is not
    counts.ranks[static_cast<size_t>(counts.levels[i])] =
        last == 0 ? only : static_cast<double>(i) / static_cast<double>(last);
  }
  return counts;
}

void heat(Image& panel, const Counts& counts) {
  for (int y = 0; y < panel.height; ++y) {
    for (int x = 0; x < panel.width; ++x) {
      Colour colour = heated(std::pow(luma(pixel(panel, x, y)) / 255, kLift), counts.rank(x, y));
      const bool border = (x > 0 && counts.at(x, y) != counts.at(x - 1, y)) ||
                          (y > 0 && counts.at(x, y) != counts.at(x, y - 1));
      if (border) colour = mix(colour, {}, kContour);
      set_pixel(panel, x, y, colour);
    }
  }
}

/// Where photograph, heat map and legend are on the page.
struct Layout {
  int panel_width = 0, panel_height = 0;
  bool beside = true;  ///< the panels; else one below the other
  int page_width = 0, page_height = 0;
  int scale = 1;  ///< of text
  int legend_top = 0;

  int panels_top() const { return header_bottom(page_width); }
  int panels_left() const {
    const int width = beside ? 2 * panel_width + kPageMargin : panel_width;
    return (page_width - width) / 2;
  }
  int swatch_height() const { return (kFontCapHeight + 6) * scale; }
};

Layout make_layout(const Image& photo) {
  Layout layout;
  layout.beside = photo.width <= kWideRatio * photo.height;
  const int across = layout.beside ? 2 : 1, down = layout.beside ? 1 : 2;
  // Header, legend and the space around them, in the largest text.
  const int furniture = 4 * kPageMargin + 4 * line_height(kMaxTextScale);
  const double room_x = 1.0 * (kMaxPictureSide - (across + 1) * kPageMargin) / across;
  const double room_y = 1.0 * (kMaxPictureSide - furniture) / down;
  const double enlarged = std::max(1.0, 1.0 * kMinPanelSide / std::max(photo.width, photo.height));
  const double factor = std::min({enlarged, room_x / photo.width, room_y / photo.height});
  layout.panel_width = std::max(1, static_cast<int>(photo.width * factor));
  layout.panel_height = std::max(1, static_cast<int>(photo.height * factor));
  const int panels = across * layout.panel_width + (across - 1) * kPageMargin;
  layout.page_width = std::max(kMinPageWidth, panels + 2 * kPageMargin);
  layout.scale = text_scale(layout.page_width);
  layout.legend_top = layout.panels_top() + down * (layout.panel_height + kPageMargin);
  layout.page_height =
      layout.legend_top + line_height(layout.scale) + 2 * layout.scale + layout.swatch_height() + kPageMargin;
  return layout;
}

/// A swatch for each number that occurs, with the number in it where there is room.
void draw_legend(Image& page, const Layout& layout, const Counts& counts) {
  const int scale = layout.scale, width = std::min(kMaxLegendWidth, page.width - 2 * kPageMargin);
  const std::string text = fmt::format("blocks that computed a pixel, of {}", counts.blocks);
  draw_text(page, kPageMargin, layout.legend_top, text, kTextColour, scale);
  const int top = layout.legend_top + line_height(scale) + 2 * scale;
  const int swatches = static_cast<int>(counts.levels.size());
  int free_from = 0;
  for (int i = 0; i < swatches; ++i) {
    const int left = kPageMargin + width * i / swatches, right = kPageMargin + width * (i + 1) / swatches;
    const int level = counts.levels[static_cast<size_t>(i)];
    const Colour colour = heated(1, counts.ranks[static_cast<size_t>(level)]);
    fill_rect(page, left, top, right - left, layout.swatch_height(), colour);
    const std::string number = std::to_string(level);
    const int number_left = (left + right - text_width(number, scale)) / 2;
    if (number_left < std::max(free_from, left - (right - left))) continue;
    free_from = number_left + text_width(number, scale) + 8 * scale;
    draw_text(page, number_left, top + 3 * scale, number, luma(colour) > 128 ? kPageColour : grey(255),
              scale);
  }
}

}  // namespace

Image heat_map(const Image& photo, const Trace& trace, const PictureOptions& given) {
  const PictureOptions options = resolve(photo, given);
  const Layout layout = make_layout(photo);
  const Image original = resize(photo, layout.panel_width, layout.panel_height);
  const Counts counts = count_blocks(trace, options, original.width, original.height);
  Image heated_photo = original;
  heat(heated_photo, counts);
  Image page = filled_image(layout.page_width, layout.page_height, kPageColour);
  draw_header(page, options, trace);
  const int left = layout.panels_left(), top = layout.panels_top();
  paste(page, original, left, top);
  paste(page, heated_photo, layout.beside ? left + original.width + kPageMargin : left,
        layout.beside ? top : top + original.height + kPageMargin);
  draw_legend(page, layout, counts);
  return page;
}

Image heat_map(const Image& photo, const Trace& trace, int64_t index) {
  return heat_map(photo, trace, PictureOptions{.index = index});
}

}  // namespace lasnet
