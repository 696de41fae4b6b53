// Plots of numbers as SVG: axes, lines, points, a legend. Plain values in, text out. Elements have classes
// (paper, grid, frame, legend, line, point, ring, callout, and s0 to s7 by palette), so that a page can give
// them other colours.
//
//   Plot plot{.title = "stage 1", .x = {.label = "activation rate"}, .y = {.label = "latency (us)"}};
//   plot.series.push_back({.label = "S = 4", .x = {0.25, 0.5, 1}, .y = {310, 560, 1080}});
//   write_svg({plot}, {.columns = 1}, "stage1.svg");
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lasnet {

enum class AxisScale { linear, log };

struct PlotAxis {
  std::string label = {};
  AxisScale scale = AxisScale::linear;
  std::optional<double> min = std::nullopt, max = std::nullopt;  ///< default: what the series need
};

enum class SeriesMark { line, points, line_and_points, dashed_line };

/// x[i] goes with y[i]. Points that are not finite, or not positive on a log axis, are left out, and a line
/// breaks there.
struct PlotSeries {
  std::string label = {};  ///< in the legend; "" for none
  std::vector<double> x = {}, y = {};
  SeriesMark mark = SeriesMark::line_and_points;
  /// Which colour of the palette; series of the same number look alike. Default: the series' place.
  std::optional<int> colour = std::nullopt;
  bool emphasised = false;  ///< a thicker line and larger points
  bool in_legend = true;    ///< where it has a label
  /// Points are one path without what they stand for: a tenth of the text, for hundreds of them.
  bool compact = false;
};

/// A place in the plot that is pointed out: a ring with a label beside it, and a line down to the x axis.
struct PlotCallout {
  double x = 0, y = 0;
  std::string label = {};
};

struct Plot {
  std::string title = {};
  PlotAxis x = {}, y = {};
  std::vector<PlotSeries> series = {};
  std::vector<PlotCallout> callouts = {};  ///< those outside the axes are left out
  bool legend = true;
};

/// How plots are laid out on one picture.
struct PlotLayout {
  std::string title = "";
  int columns = 2;
  int width = 420, height = 320;  ///< of one plot, px
};

/// One SVG document of all plots, row by row. The same values give the same text. Throws Error if x and y of
/// a series differ in length, the layout has no columns, or an axis ends where it begins.
std::string to_svg(const std::vector<Plot>& plots, const PlotLayout& layout = {});

/// The same into a file, atomically.
void write_svg(const std::vector<Plot>& plots, const PlotLayout& layout, const std::string& path);

/// Round numbers inside [low, high] for an axis, at most about `count` of them. They are 1, 2 or 5 times a
/// power of ten apart. On a log axis they are powers of ten, with 2 and 5 between them where there is room.
std::vector<double> axis_ticks(double low, double high, AxisScale scale, int count = 6);

}  // namespace lasnet
