#include "report/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/fail.h"
#include "base/file.h"
#include "base/math.h"
#include "report/markup.h"

namespace lasnet {
namespace {

constexpr std::array kPalette = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                 "#e69f00", "#56b4e9", "#7f3c8d", "#000000"};  // Okabe, Ito 2008
constexpr int kLeft = 62, kRight = 14, kTop = 30, kBottom = 44;                // margins of a plot, px
constexpr int kTitleHeight = 34;
constexpr int kLegendRow = 15, kLegendWidth = 104;

bool drawable(double value, AxisScale scale) {
  return std::isfinite(value) && (scale == AxisScale::linear || value > 0);
}

/// From values to pixels along one axis.
class AxisMap {
 public:
  /// `values` decide the ends that the axis leaves open.
  AxisMap(const PlotAxis& axis, const std::vector<double>& values, double begin_px, double end_px)
      : scale_(axis.scale), begin_px_(begin_px), end_px_(end_px) {
    bool log = scale_ == AxisScale::log;
    double low = log ? 1 : 0, high = log ? 10 : 1;
    if (!values.empty()) {
      const auto [least, most] = std::minmax_element(values.begin(), values.end());
      low = *least, high = *most;
    }
    if (low == high) {
      low = log ? low / 2 : low - 0.5;
      high = log ? high * 2 : high + 0.5;
    }
    double margin = 0.04 * (position(high) - position(low));
    low_ = axis.min.value_or(log ? low * std::exp(-margin) : low - margin);
    high_ = axis.max.value_or(log ? high * std::exp(margin) : high + margin);
    if (!drawable(low_, scale_) || !drawable(high_, scale_) || low_ >= high_) {
      fail("plot: axis '{}' from {:g} to {:g}; expected rising, finite ends, positive on a log axis",
           axis.label, low_, high_);
    }
  }

  double pixel(double value) const {
    double share = (position(value) - position(low_)) / (position(high_) - position(low_));
    return begin_px_ + share * (end_px_ - begin_px_);
  }
  bool contains(double value) const { return drawable(value, scale_) && value >= low_ && value <= high_; }
  std::vector<double> ticks() const { return axis_ticks(low_, high_, scale_); }

 private:
  double position(double value) const { return scale_ == AxisScale::log ? std::log(value) : value; }

  AxisScale scale_;
  double begin_px_, end_px_;
  double low_ = 0, high_ = 1;
};

std::vector<double> drawable_values(const Plot& plot, bool of_x) {
  std::vector<double> values;
  for (const PlotSeries& series : plot.series) {
    if (series.x.size() != series.y.size()) {
      fail("plot '{}': series '{}' has {} x and {} y", plot.title, series.label, series.x.size(),
           series.y.size());
    }
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!drawable(series.x[i], plot.x.scale) || !drawable(series.y[i], plot.y.scale)) continue;
      values.push_back(of_x ? series.x[i] : series.y[i]);
    }
  }
  return values;
}

std::string text_at(double x, double y, const char* anchor, const std::string& attributes,
                    const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor,
                     attributes, escape_markup(text));
}

std::string line_between(double x1, double y1, double x2, double y2, const std::string& style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2,
                     style);
}

double point_radius(const PlotSeries& series) { return series.emphasised ? 3.8 : 2.6; }

bool is_in_legend(const PlotSeries& series) { return series.in_legend && !series.label.empty(); }
bool has_line(SeriesMark mark) { return mark != SeriesMark::points; }
bool has_points(SeriesMark mark) { return mark == SeriesMark::points || mark == SeriesMark::line_and_points; }

/// "line s2", "point s2": by which the style of a page that a plot is put into can choose other colours.
std::string class_of(const char* mark, size_t colour) {
  return fmt::format("class=\"{} s{}\"", mark, colour);
}

std::string line_style(const PlotSeries& series, size_t colour) {
  return fmt::format(
      "stroke=\"{}\" stroke-width=\"{}\" fill=\"none\"{} {}", kPalette[colour], series.emphasised ? 3.2 : 1.6,
      series.mark == SeriesMark::dashed_line ? " stroke-dasharray=\"4 3\"" : "", class_of("line", colour));
}

/// Which of an axis's ticks have room for their labels side by side: powers of ten first.
std::vector<bool> labelled_ticks(const std::vector<double>& ticks, const AxisMap& axis) {
  constexpr double kCharacter = 6.6, kGap = 5;  // px
  struct Span {
    double begin, end;
  };
  std::vector<Span> taken;
  std::vector<bool> labelled(ticks.size());
  for (const bool powers : {true, false}) {
    for (size_t i = 0; i < ticks.size(); ++i) {
      const double exponent = ticks[i] > 0 ? std::log10(ticks[i]) : 0.5;
      if ((std::abs(exponent - std::round(exponent)) < 1e-9) != powers) continue;
      const double half = kCharacter * static_cast<double>(fmt::format("{:g}", ticks[i]).size()) / 2;
      const Span own{axis.pixel(ticks[i]) - half - kGap, axis.pixel(ticks[i]) + half};
      labelled[i] = std::none_of(taken.begin(), taken.end(), [&](const Span& other) {
        return own.begin < other.end && other.begin < own.end;
      });
      if (labelled[i]) taken.push_back(own);
    }
  }
  return labelled;
}

/// Pixels of the picture.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;

  bool contains(double x, double y) const { return x >= left && x <= right && y >= top && y <= bottom; }
};

/// One plot at an offset on the picture.
class PlotWriter {
 public:
  PlotWriter(const Plot& plot, double left, double top, const PlotLayout& layout)
      : plot_(plot),
        left_(left + kLeft),
        right_(left + layout.width - kRight),
        top_(top + kTop),
        bottom_(top + layout.height - kBottom),
        x_(plot.x, drawable_values(plot, true), left_, right_),
        y_(plot.y, drawable_values(plot, false), bottom_, top_) {}

  std::string svg() const {
    std::string svg =
        text_at((left_ + right_) / 2, top_ - 10, "middle", " font-weight=\"bold\"", plot_.title);
    svg += axes();
    for (const bool emphasised : {false, true}) {  // the emphasised ones above the others
      for (size_t i = 0; i < plot_.series.size(); ++i) {
        if (plot_.series[i].emphasised == emphasised) svg += series(plot_.series[i], colour(i));
      }
    }
    for (const PlotCallout& place : plot_.callouts) svg += callout(place);
    return svg + legend();
  }

 private:
  /// Index in the palette.
  size_t colour(size_t place) const {
    return static_cast<size_t>(plot_.series[place].colour.value_or(static_cast<int>(place))) %
           kPalette.size();
  }

  std::string axes() const {
    std::string svg, grid;
    const std::vector<double> ticks = x_.ticks();
    const std::vector<bool> labelled = labelled_ticks(ticks, x_);
    for (size_t i = 0; i < ticks.size(); ++i) {
      const double x = x_.pixel(ticks[i]);
      grid += fmt::format("M{:.1f} {:.1f}V{:.1f}", x, top_, bottom_);
      if (labelled[i]) svg += text_at(x, bottom_ + 15, "middle", "", fmt::format("{:g}", ticks[i]));
    }
    for (const double tick : y_.ticks()) {
      grid += fmt::format("M{:.1f} {:.1f}H{:.1f}", left_, y_.pixel(tick), right_);
      svg += text_at(left_ - 6, y_.pixel(tick) + 4, "end", "", fmt::format("{:g}", tick));
    }
    svg = fmt::format("<path d=\"{}\" stroke=\"#e0e0e0\" class=\"grid\"/>\n", grid) + svg;
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" "
        "stroke=\"#555\" class=\"frame\"/>\n",
        left_, top_, right_ - left_, bottom_ - top_);
    svg += text_at((left_ + right_) / 2, bottom_ + 33, "middle", "", plot_.x.label);
    const double x = left_ - 46, y = (top_ + bottom_) / 2;
    return svg + text_at(x, y, "middle", fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", x, y),
                         plot_.y.label);
  }

  std::string series(const PlotSeries& series, size_t colour) const {
    std::string lines, points, run;
    const auto end_run = [&] {
      if (!run.empty()) {
        lines += fmt::format("<polyline points=\"{}\" {}/>\n", run, line_style(series, colour));
      }
      run.clear();
    };
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!x_.contains(series.x[i]) || !y_.contains(series.y[i])) {
        end_run();
        continue;
      }
      const double x = x_.pixel(series.x[i]), y = y_.pixel(series.y[i]);
      if (has_line(series.mark)) run += fmt::format("{}{:.1f},{:.1f}", run.empty() ? "" : " ", x, y);
      if (has_points(series.mark)) {
        points += series.compact
                      ? fmt::format("M{:.1f},{:.1f}h0", x, y)
                      : fmt::format(
                            "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\" fill-opacity=\"0.75\" "
                            "{}><title>{}</title></circle>\n",
                            x, y, point_radius(series), kPalette[colour], class_of("point", colour),
                            escape_markup(point_title(series, i)));
      }
    }
    end_run();
    if (series.compact && !points.empty()) {
      points = fmt::format(
          "<path d=\"{}\" stroke=\"{}\" stroke-width=\"{}\" stroke-linecap=\"round\" fill=\"none\" {}/>\n",
          points, kPalette[colour], 2 * point_radius(series), class_of("line", colour));
    }
    return lines + points;
  }

  /// What a pointer that rests on a point is told.
  std::string point_title(const PlotSeries& series, size_t i) const {
    return fmt::format("{}{}: {:.4g}, {}: {:.4g}", series.label.empty() ? "" : series.label + "; ",
                       plot_.x.label, series.x[i], plot_.y.label, series.y[i]);
  }

  std::string callout(const PlotCallout& place) const {
    constexpr double kRadius = 7, kGap = 4;
    if (!x_.contains(place.x) || !y_.contains(place.y)) return "";
    const double x = x_.pixel(place.x), y = y_.pixel(place.y);
    std::string svg =
        line_between(x, y + kRadius, x, bottom_, "stroke=\"#555\" stroke-dasharray=\"2 3\" class=\"frame\"");
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"none\" stroke=\"#222\" stroke-width=\"1.6\" "
        "class=\"ring\"/>\n",
        x, y, kRadius);
    // A white rim keeps the label apart from the lines that it crosses.
    const bool left = x > (left_ + right_) / 2;
    return svg + text_at(left ? x - kRadius - kGap : x + kRadius + kGap, y + kRadius + 2 * kGap,
                         left ? "end" : "start",
                         " font-weight=\"bold\" stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\" "
                         "class=\"callout\"",
                         place.label);
  }

  std::string legend() const {
    const auto rows = std::count_if(plot_.series.begin(), plot_.series.end(), is_in_legend);
    if (rows == 0 || !plot_.legend) return "";
    const Box box = legend_place(static_cast<int>(rows));
    std::string svg = fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\" fill=\"#fff\" "
        "fill-opacity=\"0.8\" class=\"legend\"/>\n",
        box.left, box.top, box.right - box.left, box.bottom - box.top);
    const double x = box.left + 4;
    double y = box.top + 9;
    for (size_t i = 0; i < plot_.series.size(); ++i) {
      const PlotSeries& series = plot_.series[i];
      if (!is_in_legend(series)) continue;
      if (has_line(series.mark)) svg += line_between(x, y, x + 16, y, line_style(series, colour(i)));
      if (has_points(series.mark)) {
        svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\" {}/>\n", x + 8, y,
                           point_radius(series), kPalette[colour(i)], class_of("point", colour(i)));
      }
      svg += text_at(x + 21, y + 4, "start", "", series.label);
      y += kLegendRow;
    }
    return svg;
  }

  /// The corner that hides the least, the upper left one first.
  Box legend_place(int rows) const {
    const double width = kLegendWidth, height = kLegendRow * rows + 3;
    Box best;
    int64_t fewest = std::numeric_limits<int64_t>::max();
    for (const double top : {top_ + 3, bottom_ - 3 - height}) {
      for (const double left : {left_ + 4, right_ - 4 - width}) {
        const Box box{left, top, left + width, top + height};
        if (const int64_t hidden = hidden_by(box); hidden < fewest) {
          fewest = hidden;
          best = box;
        }
      }
    }
    return best;
  }

  /// Points in the box, and places on lines, some of each stretch between two points.
  int64_t hidden_by(const Box& box) const {
    constexpr int kPlaces = 8, kCalloutWeight = 100;
    int64_t hidden = 0;
    for (const PlotCallout& place : plot_.callouts) {
      if (x_.contains(place.x) && y_.contains(place.y)) {
        hidden += kCalloutWeight * box.contains(x_.pixel(place.x), y_.pixel(place.y));
      }
    }
    for (const PlotSeries& series : plot_.series) {
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!x_.contains(series.x[i]) || !y_.contains(series.y[i])) continue;
        const double x = x_.pixel(series.x[i]), y = y_.pixel(series.y[i]);
        hidden += box.contains(x, y);
        if (i == 0 || !has_line(series.mark)) continue;
        if (!x_.contains(series.x[i - 1]) || !y_.contains(series.y[i - 1])) continue;
        const double before_x = x_.pixel(series.x[i - 1]), before_y = y_.pixel(series.y[i - 1]);
        for (int place = 1; place < kPlaces; ++place) {
          const double share = static_cast<double>(place) / kPlaces;
          hidden += box.contains(before_x + share * (x - before_x), before_y + share * (y - before_y));
        }
      }
    }
    return hidden;
  }

  const Plot& plot_;
  double left_, right_, top_, bottom_;
  AxisMap x_, y_;
};

std::vector<double> linear_ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= rough) step = factor * power;
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step); i * step <= high * (1 + 1e-12); ++i) ticks.push_back(i * step);
  return ticks;
}

std::vector<double> log_ticks(double low, double high, int count) {
  for (const std::vector<double>& factors : {std::vector{1.0, 2.0, 5.0}, std::vector{1.0}}) {
    std::vector<double> ticks;
    for (double decade = std::floor(std::log10(low)); decade <= std::ceil(std::log10(high)); ++decade) {
      for (const double factor : factors) {
        const double tick = factor * std::pow(10.0, decade);
        if (tick >= low && tick <= high) ticks.push_back(tick);
      }
    }
    if (static_cast<int>(ticks.size()) <= 2 * count) {
      return ticks.size() >= 2 ? ticks : linear_ticks(low, high, count);
    }
  }
  return {low, high};
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, AxisScale scale, int count) {
  return scale == AxisScale::log ? log_ticks(low, high, count) : linear_ticks(low, high, count);
}

std::string to_svg(const std::vector<Plot>& plots, const PlotLayout& layout) {
  if (layout.columns < 1) fail("plot: {} columns; expected at least 1", layout.columns);
  const int shown = std::max(1, std::min(layout.columns, static_cast<int>(plots.size())));
  const int rows = ceil_div(static_cast<int>(plots.size()), shown);
  const int title = layout.title.empty() ? 0 : kTitleHeight;
  const int width = shown * layout.width, height = title + rows * layout.height;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\" "
      "class=\"paper\"/>\n",
      width, height);
  if (title > 0) {
    svg += text_at(width / 2.0, 22, "middle", " font-size=\"15\" font-weight=\"bold\"", layout.title);
  }
  for (size_t i = 0; i < plots.size(); ++i) {
    const int row = static_cast<int>(i) / shown, column = static_cast<int>(i) % shown;
    svg += PlotWriter(plots[i], column * layout.width, title + row * layout.height, layout).svg();
  }
  return svg + "</svg>\n";
}

void write_svg(const std::vector<Plot>& plots, const PlotLayout& layout, const std::string& path) {
  const std::string svg = to_svg(plots, layout);
  write_file_atomically(path, [&](std::ostream& out) { out << svg; });
}

}  // namespace lasnet
