#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/math.h"
#include "lasnet/report.h"
#include "report/canvas.h"
#include "report/coverage.h"
#include "report/font.h"
#include "report/page.h"

namespace lasnet {
namespace {

constexpr int kMaxTileSide = 256;   ///< px of a tile's longer side
constexpr int kMinCellWidth = 148;  ///< px; a label of the smallest text needs them
constexpr int kMinPageWidth = 420;
constexpr int kMaxLabelScale = 2;
constexpr int kRateBarHeight = 4;
constexpr int kLabelHeight = kRateBarHeight + 10 + kFontRows * kMaxLabelScale;
constexpr int kMinGridStep = 12;  ///< px; finer grids would hide the photo

constexpr Colour kEmptyBar = {52, 55, 64};
constexpr Colour kAccent = {249, 142, 9};
constexpr double kInactiveShare = 0.2;  ///< brightness left where nothing was computed
constexpr double kGridShare = 0.18;

/// A tile's pixels along one side: their map positions and the first pixel of every patch after the first.
struct Axis {
  std::vector<int64_t> positions;
  std::vector<bool> edge;
  int step = 0;  ///< px between patch edges

  Axis(int tile, int64_t input, int64_t map, int granularity)
      : positions(map_positions(tile, input, map)), edge(static_cast<size_t>(tile)) {
    for (size_t i = 1; i < edge.size(); ++i) {
      edge[i] = positions[i] / granularity != positions[i - 1] / granularity;
    }
    const int64_t patches = ceil_div(map, granularity);
    step = static_cast<int>(tile / patches);
  }
};

Colour darkened(Colour colour) { return grey(static_cast<uint8_t>(luma(colour) * kInactiveShare)); }

/// Darkens what the block skipped, outlines what it computed, and shows coarse patch grids.
void draw_mask(Image& tile, const BlockTrace& block, const PictureOptions& options) {
  const Axis rows(tile.height, options.input.height, block.height, block.granularity);
  const Axis columns(tile.width, options.input.width, block.width, block.granularity);
  const auto active = [&](int y, int x) {
    return is_active(block, options.index, rows.positions[static_cast<size_t>(y)],
                     columns.positions[static_cast<size_t>(x)]);
  };
  const bool grid = std::min(rows.step, columns.step) >= kMinGridStep;
  for (int y = 0; y < tile.height; ++y) {
    for (int x = 0; x < tile.width; ++x) {
      Colour colour = pixel(tile, x, y);
      const bool row_edge = rows.edge[static_cast<size_t>(y)];
      const bool column_edge = columns.edge[static_cast<size_t>(x)];
      const bool border =
          (row_edge && active(y, x) != active(y - 1, x)) || (column_edge && active(y, x) != active(y, x - 1));
      if (active(y, x) == 0) colour = darkened(colour);
      if (border) {
        colour = kAccent;
      } else if (grid && (row_edge || column_edge)) {
        colour = mix(colour, grey(255), kGridShare);
      }
      set_pixel(tile, x, y, colour);
    }
  }
}

double rate_of(const BlockTrace& block, int64_t index) {
  return block.rates.empty() ? block.rate : block.rates.at(static_cast<size_t>(index));
}

std::string label_of(const BlockTrace& block, int64_t index) {
  return fmt::format("{}  S={}  r={:.2f}", block.name, patch_side_to_string(block.granularity),
                     rate_of(block, index));
}

/// Near a square, with the fewest empty places.
int column_count(int tiles) {
  const int smallest = static_cast<int>(std::ceil(std::sqrt(tiles)));
  const auto empty_places = [&](int columns) { return (columns - tiles % columns) % columns; };
  int best = smallest;
  constexpr int kMax = (kMaxPictureSide - kPageMargin) / (kMinCellWidth + kPageMargin);
  for (int columns = smallest + 1; columns <= std::min({smallest + 2, tiles, kMax}); ++columns) {
    if (empty_places(columns) < empty_places(best)) best = columns;
  }
  return best;
}

/// What the legend explains: a text, with a swatch before it where it is about pixels.
struct LegendEntry {
  const char* text;
  bool swatch = false;
  bool computed = false;
};

constexpr LegendEntry kLegend[] = {{"computed", true, true},
                                   {"skipped", true, false},
                                   {"S: patch side on the block's map"},
                                   {"r: share of patches computed"}};

/// Draws the legend from `top` on, in as many lines as the width needs; returns where it ends. On no page it
/// only measures.
int draw_legend(Image* page, const Image& photo, int page_width, int top) {
  const int scale = text_scale(page_width), gap = 12 * scale, side = 2 * kFontCapHeight * scale;
  const int line = std::max(side, line_height(scale)) + 2 * scale;
  int x = kPageMargin, y = top;
  for (const LegendEntry& entry : kLegend) {
    const int swatch = entry.swatch ? side + 3 * scale : 0;
    const int width = swatch + text_width(entry.text, scale);
    if (x > kPageMargin && x + width > page_width - kPageMargin) x = kPageMargin, y += line;
    if (page != nullptr) {
      if (entry.swatch) {
        Image sample = resize(photo, side, side);
        for (int i = 0; i < side * side && !entry.computed; ++i) {
          set_pixel(sample, i % side, i / side, darkened(pixel(sample, i % side, i / side)));
        }
        paste(*page, sample, x, y);
      }
      const int text_top = y + (side - kFontCapHeight * scale) / 2;
      draw_text(*page, x + swatch, text_top, fitted_text(entry.text, page_width - x - swatch, scale),
                kTextColour, scale);
    }
    x += width + gap;
  }
  return y + line;
}

/// Where the tiles are on the page.
struct Layout {
  int columns = 1, rows = 1;
  int tile_width = 0, tile_height = 0;
  int cell_width = 0;  ///< of a tile and its label
  int page_width = 0;
  int tiles_top = 0, legend_top = 0;

  int left(int tile) const { return kPageMargin + tile % columns * (cell_width + kPageMargin); }
  int top(int tile) const { return tiles_top + tile / columns * (tile_height + kLabelHeight + kPageMargin); }
};

Layout make_layout(const Image& photo, int tiles) {
  Layout layout;
  layout.columns = column_count(tiles);
  layout.rows = ceil_div(tiles, layout.columns);
  const int furniture = 3 * kPageMargin + 6 * line_height(kMaxTextScale);  // header and legend
  const int room_x = (kMaxPictureSide - kPageMargin) / layout.columns - kPageMargin;
  const int room_y = (kMaxPictureSide - furniture) / layout.rows - kPageMargin - kLabelHeight;
  const double longer = std::max(photo.width, photo.height);
  const double factor =
      std::min({kMaxTileSide / longer, 1.0 * room_x / photo.width, 1.0 * room_y / photo.height});
  layout.tile_width = std::max(1, static_cast<int>(std::lround(photo.width * factor)));
  layout.tile_height = std::max(1, static_cast<int>(std::lround(photo.height * factor)));
  layout.cell_width = std::max(kMinCellWidth, layout.tile_width);
  layout.page_width =
      std::max(kMinPageWidth, kPageMargin + layout.columns * (layout.cell_width + kPageMargin));
  layout.tiles_top = header_bottom(layout.page_width);
  layout.legend_top = layout.top(layout.rows * layout.columns);
  return layout;
}

void draw_label(Image& page, const Layout& layout, int tile, const BlockTrace& block, int64_t index,
                int scale) {
  const int x = layout.left(tile), y = layout.top(tile) + layout.tile_height;
  fill_rect(page, x, y, layout.tile_width, kRateBarHeight, kEmptyBar);
  const auto filled = static_cast<int>(std::lround(rate_of(block, index) * layout.tile_width));
  fill_rect(page, x, y, filled, kRateBarHeight, kAccent);
  const std::string label = fitted_text(label_of(block, index), layout.cell_width, scale);
  draw_text(page, x, y + kRateBarHeight + 8, label, kTextColour, scale);
}

}  // namespace

Image mask_sheet(const Image& photo, const Trace& trace, const PictureOptions& given) {
  const PictureOptions options = resolve(photo, given);
  const std::vector<const BlockTrace*> blocks = dynamic_blocks(trace, options.index);
  const Layout layout = make_layout(photo, static_cast<int>(blocks.size()));
  const int page_height = draw_legend(nullptr, photo, layout.page_width, layout.legend_top) + kPageMargin;
  Image page = filled_image(layout.page_width, page_height, kPageColour);
  draw_header(page, options, trace);
  const bool large_labels = std::ranges::all_of(blocks, [&](const BlockTrace* block) {
    return text_width(label_of(*block, options.index), kMaxLabelScale) <= layout.cell_width;
  });
  const Image small = resize(photo, layout.tile_width, layout.tile_height);
  for (int i = 0; i < static_cast<int>(blocks.size()); ++i) {
    const BlockTrace& block = *blocks[static_cast<size_t>(i)];
    Image tile = small;
    draw_mask(tile, block, options);
    paste(page, tile, layout.left(i), layout.top(i));
    draw_label(page, layout, i, block, options.index, large_labels ? kMaxLabelScale : 1);
  }
  draw_legend(&page, photo, layout.page_width, layout.legend_top);
  return page;
}

Image mask_sheet(const Image& photo, const Trace& trace, int64_t index) {
  return mask_sheet(photo, trace, PictureOptions{.index = index});
}

}  // namespace lasnet
