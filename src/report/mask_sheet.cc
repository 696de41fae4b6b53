#include <algorithm>
#include <cmath>

#include "core/fail.h"
#include "lasnet/report.h"
#include "report/canvas.h"
#include "report/coverage.h"
#include "report/font.h"

namespace lasnet {
namespace {

constexpr int kTileWidth = 256;
constexpr int kTextScale = 2;
constexpr int kMargin = 14;
constexpr int kRateBarHeight = 4;
constexpr int kLabelHeight = kRateBarHeight + 10 + kFontRows * kTextScale;
constexpr int kMinGridStep = 12;  ///< px; finer grids would hide the photo

constexpr Colour kBackground = {17, 18, 23};
constexpr Colour kText = {226, 228, 233};
constexpr Colour kFaint = {52, 55, 64};
constexpr Colour kAccent = {249, 142, 9};
constexpr double kInactiveShare = 0.2;  ///< brightness left where nothing was computed
constexpr double kGridShare = 0.18;

/// A tile's pixels along one side: their map positions and the first pixel of every patch after the first.
struct Axis {
  std::vector<int64_t> positions;
  std::vector<bool> edge;
  int step = 0;  ///< px between patch edges

  Axis(int tile, int image, int64_t map, int granularity) : positions(tile), edge(tile) {
    std::vector<int64_t> of_image = map_positions(image, map);
    for (int i = 0; i < tile; ++i) {
      positions[i] = of_image[static_cast<size_t>(i) * image / tile];
      edge[i] = i > 0 && positions[i] / granularity != positions[i - 1] / granularity;
    }
    int64_t patches = (map + granularity - 1) / granularity;
    step = static_cast<int>(tile / patches);
  }
};

Colour darkened(Colour colour) { return grey(static_cast<uint8_t>(luma(colour) * kInactiveShare)); }

/// Darkens what the block skipped, outlines what it computed, and shows coarse patch grids.
void draw_mask(Image& tile, const Image& photo, const BlockTrace& block, int64_t index) {
  Axis rows(tile.height, photo.height, block.height, block.granularity);
  Axis columns(tile.width, photo.width, block.width, block.granularity);
  auto active = [&](int y, int x) {
    return is_active(block, index, rows.positions[y], columns.positions[x]);
  };
  bool grid = std::min(rows.step, columns.step) >= kMinGridStep;
  for (int y = 0; y < tile.height; ++y) {
    for (int x = 0; x < tile.width; ++x) {
      Colour colour = pixel(tile, x, y);
      bool row_edge = rows.edge[y], column_edge = columns.edge[x];
      bool border =
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

void draw_label(Image& page, int x, int y, const BlockTrace& block, int64_t index) {
  double rate = block.rates.empty() ? block.rate : block.rates.at(static_cast<size_t>(index));
  fill_rect(page, x, y, kTileWidth, kRateBarHeight, kFaint);
  fill_rect(page, x, y, static_cast<int>(std::lround(rate * kTileWidth)), kRateBarHeight, kAccent);
  std::string label = fmt::format("{}  S={}  r={:.2f}", block.name, block.granularity, rate);
  int scale = text_width(label) * kTextScale <= kTileWidth ? kTextScale : 1;
  draw_text(page, x, y + kRateBarHeight + 8, label, kText, scale);
}

/// Near a square, with the fewest empty places.
int column_count(int tiles) {
  int smallest = static_cast<int>(std::ceil(std::sqrt(tiles)));
  auto empty_places = [&](int columns) { return (columns - tiles % columns) % columns; };
  int best = smallest;
  for (int columns = smallest + 1; columns <= std::min(smallest + 2, tiles); ++columns) {
    if (empty_places(columns) < empty_places(best)) best = columns;
  }
  return best;
}

}  // namespace

Image mask_sheet(const Image& photo, const Trace& trace, int64_t index) {
  if (photo.width < 1 || photo.height < 1) fail("report: the photo is empty");
  std::vector<const BlockTrace*> blocks = dynamic_blocks(trace, index);
  int tile_height = std::max(1, static_cast<int>(std::lround(1.0 * kTileWidth * photo.height / photo.width)));
  Image small = resize(photo, kTileWidth, tile_height);
  int count = static_cast<int>(blocks.size());
  int columns = column_count(count);
  int rows = (count + columns - 1) / columns;
  int step_x = kTileWidth + kMargin, step_y = tile_height + kLabelHeight + kMargin;
  Image page = filled_image(kMargin + columns * step_x, kMargin + rows * step_y, kBackground);
  for (int i = 0; i < count; ++i) {
    int x = kMargin + i % columns * step_x, y = kMargin + i / columns * step_y;
    Image tile = small;
    draw_mask(tile, photo, *blocks[i], index);
    paste(page, tile, x, y);
    draw_label(page, x, y + tile_height, *blocks[i], index);
  }
  return page;
}

}  // namespace lasnet
