#include "figures.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/fail.h"

namespace lasnet::cli {
namespace {

/// Break-even densities from here on are those of a full mask.
constexpr double kAlwaysFaster = 0.98;

constexpr const char* kLogNote = "Both axes are logarithmic, so neither has a zero.";

PlotAxis rate_axis() { return {.label = "share of active patches", .min = 0, .max = 1}; }

std::string s_text(const Json& granularity) {
  return granularity.is_string() ? granularity.get<std::string>() : std::to_string(granularity.get<int>());
}

/// Linear between the values around `at`.
double interpolated(const std::vector<double>& x, const std::vector<double>& y, double at) {
  for (size_t i = 1; i < x.size(); ++i) {
    if (x[i] < at) continue;
    const double share = x[i] > x[i - 1] ? (at - x[i - 1]) / (x[i] - x[i - 1]) : 0;
    return y[i - 1] + std::clamp(share, 0.0, 1.0) * (y[i] - y[i - 1]);
  }
  return y.back();
}

/// S that a search chose for a stage; null where there is none.
Json chosen_in(const Json& search, const Json& stage) {
  for (const Json& found : search["stages"]) {
    if (found["stage"] != stage) continue;
    for (const Json& curve : found["curves"]) {
      if (curve["chosen"].get<bool>()) return curve["granularity"];
    }
  }
  return nullptr;
}

double largest(const std::vector<PlotSeries>& series) {
  double most = 0;
  for (const PlotSeries& one : series) {
    for (const double y : one.y) most = std::max(most, y);
  }
  return most;
}

void from_zero(Plot& plot) {
  plot.y.min = 0;
  plot.y.max = std::max(1e-9, 1.08 * largest(plot.series));
}

}  // namespace

Figure prediction_figure(const Json& data) {
  Figure figure{.name = "prediction",
                .title = "Predicted (lines) and measured (points) time of a block",
                .note = "",
                .plots = {}};
  const double rate = data["rate"].get<double>();
  for (const Json& stage : data["stages"]) {
    const Json chosen = chosen_in(data["here"], stage["stage"]);
    Plot plot{.title = fmt::format("stage {}", stage["stage"].get<int>()),
              .x = rate_axis(),
              .y = {.label = "time of a block, ms"}};
    int colour = 0;
    for (const Json& curve : stage["curves"]) {
      const bool is_chosen = curve["granularity"] == chosen;
      PlotSeries predicted{.label = "S = " + s_text(curve["granularity"]),
                           .mark = SeriesMark::line,
                           .colour = colour,
                           .emphasised = is_chosen};
      PlotSeries measured{.label = "S = " + s_text(curve["granularity"]) + ", measured",
                          .mark = SeriesMark::points,
                          .colour = colour,
                          .emphasised = is_chosen,
                          .in_legend = false};
      for (const Json& point : curve["points"]) {
        predicted.x.push_back(point["rate"].get<double>());
        predicted.y.push_back(point["predicted_ms"].get<double>());
        measured.x.push_back(point["rate"].get<double>());
        measured.y.push_back(point["measured_ms"].get<double>());
      }
      if (is_chosen) {
        plot.callouts.push_back({.x = rate,
                                 .y = interpolated(predicted.x, predicted.y, rate),
                                 .label = "chosen: S = " + s_text(chosen)});
      }
      plot.series.push_back(std::move(predicted));
      plot.series.push_back(std::move(measured));
      ++colour;
    }
    from_zero(plot);
    figure.plots.push_back(std::move(plot));
  }
  return figure;
}

Figure scatter_figure(const Json& data) {
  Figure figure{.name = "scatter", .title = "Predicted against measured", .note = kLogNote, .plots = {}};
  Plot plot{.title = "every measured block",
            .x = {.label = "measured, ms", .scale = AxisScale::log},
            .y = {.label = "predicted, ms", .scale = AxisScale::log}};
  double low = INFINITY, high = 0;
  for (int stage = 1; stage <= 4; ++stage) {
    PlotSeries series{.label = fmt::format("stage {}", stage),
                      .mark = SeriesMark::points,
                      .colour = stage - 1,
                      .compact = true};
    for (const Json& point : data["points"]) {
      if (point["stage"] != stage) continue;
      series.x.push_back(point["measured_ms"].get<double>());
      series.y.push_back(point["predicted_ms"].get<double>());
      low = std::min(low, series.x.back());
      high = std::max(high, series.x.back());
    }
    if (!series.x.empty()) plot.series.push_back(std::move(series));
  }
  if (high > 0)
    plot.series.push_back(
        {.label = "equal", .x = {low, high}, .y = {low, high}, .mark = SeriesMark::dashed_line, .colour = 7});
  figure.plots.push_back(std::move(plot));
  return figure;
}

Figure elsewhere_figure(const Json& hardware, double rate) {
  const std::string name = hardware["name"].get<std::string>();
  Figure figure{
      .name = "predicted_" + name,
      .title = fmt::format("Predicted, not measured: {}", hardware["description"].get<std::string>()),
      .note = "",
      .plots = {}};
  const auto rates = hardware["rates"].get<std::vector<double>>();
  for (const Json& stage : hardware["stages"]) {
    Plot plot{.title = fmt::format("stage {}, predicted", stage["stage"].get<int>()),
              .x = rate_axis(),
              .y = {.label = "time of the stage, ms"}};
    int colour = 0;
    for (const Json& curve : stage["curves"]) {
      const bool is_chosen = curve["chosen"].get<bool>();
      PlotSeries series{.label = "S = " + s_text(curve["granularity"]),
                        .x = rates,
                        .y = curve["ms"].get<std::vector<double>>(),
                        .mark = SeriesMark::line,
                        .colour = colour++,
                        .emphasised = is_chosen};
      if (is_chosen) {
        plot.callouts.push_back({.x = rate,
                                 .y = interpolated(series.x, series.y, rate),
                                 .label = "chosen: S = " + s_text(curve["granularity"])});
      }
      plot.series.push_back(std::move(series));
    }
    const double full = stage["static_ms"].get<double>();
    plot.series.push_back(
        {.label = "static", .x = {0, 1}, .y = {full, full}, .mark = SeriesMark::dashed_line, .colour = 7});
    from_zero(plot);
    figure.plots.push_back(std::move(plot));
  }
  return figure;
}

Figure density_figure(const Json& data) {
  Figure figure{.name = "density", .title = "Speed-up against density", .note = "", .plots = {}};
  Plot plot{.title = "speed-up against density", .x = rate_axis(), .y = {.label = "speed-up over dense"}};
  PlotSeries measured{.label = "measured", .colour = 0, .emphasised = true},
      theory{.label = "by MACs", .mark = SeriesMark::dashed_line, .colour = 1};
  for (const Json& point : data["density"]) {
    measured.x.push_back(point["rate"].get<double>());
    measured.y.push_back(point["speedup"].get<double>());
    theory.x.push_back(point["rate"].get<double>());
    theory.y.push_back(point["theory_speedup"].get<double>());
  }
  plot.series = {std::move(measured), std::move(theory)};
  plot.series.push_back(
      {.label = "break-even", .x = {0, 1}, .y = {1, 1}, .mark = SeriesMark::dashed_line, .colour = 7});
  const double even = data["break_even"].get<double>();
  if (even > 0 && even < kAlwaysFaster)
    plot.callouts.push_back({.x = even, .y = 1, .label = fmt::format("break-even at {:.2f}", even)});
  from_zero(plot);
  figure.plots.push_back(std::move(plot));
  return figure;
}

Figure accuracy_figure(const Json& data) {
  Figure figure{.name = "accuracy", .title = "Accuracy against latency", .note = "", .plots = {}};
  const Json& entries = data["accuracy"]["entries"];
  if (entries.empty()) return figure;
  const Json& run = data["runs"][0];
  Plot plot{.title = "accuracy against latency",
            .x = {.label = "time of one image, one thread, ms", .min = 0},
            .y = {.label = "top-1, %", .min = 0, .max = 100}};
  double most = 0;
  int colour = 0;
  for (const Json& entry : entries) {
    const std::string network = entry["network"].get<std::string>();
    const double ms = run[network == "sparse" ? "sparse" : "dense"]["median_ms"].get<double>();
    most = std::max(most, ms);
    const double top1 = 100 * entry["top1"].get<double>();
    plot.series.push_back({.label = network,
                           .x = {ms},
                           .y = {top1},
                           .mark = SeriesMark::points,
                           .colour = colour++,
                           .emphasised = true,
                           .in_legend = false});
    plot.callouts.push_back({.x = ms, .y = top1, .label = fmt::format("{} {:.1f} %", network, top1)});
  }
  plot.x.max = 1.1 * most;
  figure.plots.push_back(std::move(plot));
  return figure;
}

Figure granularity_figure(const Json& data) {
  Figure figure{.name = "granularity", .title = "The same MACs with every S", .note = "", .plots = {}};
  Plot plot{.title = "time against S at equal MACs",
            .x = {.label = "S, pixels of the output map", .min = 0, .max = 9},
            .y = {.label = "time of one image, ms"}};
  PlotSeries sparse{.label = "sparse", .colour = 0, .emphasised = true},
      dense{.label = "dense", .mark = SeriesMark::dashed_line, .colour = 7},
      theory{.label = "by MACs", .mark = SeriesMark::dashed_line, .colour = 1};
  for (const Json& row : data["granularities"]["rows"]) {
    for (PlotSeries* series : {&sparse, &dense, &theory})
      series->x.push_back(row["granularity"].get<double>());
    sparse.y.push_back(row["sparse_ms"].get<double>());
    dense.y.push_back(row["dense_ms"].get<double>());
    theory.y.push_back(row["dense_ms"].get<double>() / row["theory_speedup"].get<double>());
  }
  plot.series = {std::move(sparse), std::move(dense), std::move(theory)};
  from_zero(plot);
  figure.plots.push_back(std::move(plot));
  return figure;
}

Figure sweep_figure(const Json& data) {
  Figure figure{
      .name = "sweep", .title = "Networks trained with every S, as recorded", .note = "", .plots = {}};
  if (!data.contains("sweep")) return figure;
  Plot plot{.title = "accuracy against MACs",
            .x = {.label = "share of the static network's MACs"},
            .y = {.label = "top-1, %"}};
  std::map<std::string, PlotSeries> by_granularity;
  for (const Json& row : data["sweep"]["rows"]) {
    const std::string granularity = row["granularity"].get<std::string>();
    PlotSeries& series = by_granularity[granularity];
    series.label = granularity.empty() ? "static" : "S = " + granularity;
    series.mark = SeriesMark::points;
    series.x.push_back(row["macs_ratio"].get<double>());
    series.y.push_back(100 * row["top1"].get<double>());
  }
  for (auto& [granularity, series] : by_granularity) plot.series.push_back(std::move(series));
  figure.plots.push_back(std::move(plot));
  return figure;
}

Figure knob_figure(const Json& data) {
  Figure figure{.name = "knob", .title = "One model at many thresholds", .note = "", .plots = {}};
  const bool tuned = data["tuned"].get<bool>();
  const auto x_of = [&](const Json& point) {
    return tuned ? point["macs_ratio"].get<double>() : point["thresholds"][0].get<double>();
  };
  const PlotAxis x = tuned ? PlotAxis{.label = "MAC ratio", .min = 0, .max = 1}
                           : PlotAxis{.label = "threshold of the logit difference"};
  const auto add = [&](const char* title, const char* label, double scale, std::optional<double> most,
                       const std::function<Json(const Json&)>& value) {
    Plot plot{.title = title, .x = x, .y = {.label = label}};
    PlotSeries series{.colour = static_cast<int>(figure.plots.size()), .emphasised = true};
    for (const Json& point : data["points"]) {
      const Json y = value(point);
      if (point["dense"].get<bool>() || y.is_null()) continue;
      series.x.push_back(x_of(point));
      series.y.push_back(scale * y.get<double>());
    }
    if (series.x.empty()) return;
    plot.series.push_back(std::move(series));
    from_zero(plot);
    if (most) plot.y.max = most;
    figure.plots.push_back(std::move(plot));
  };
  if (!tuned) add("MACs", "MAC ratio, %", 100, 105, [](const Json& point) { return point["macs_ratio"]; });
  add("time", "time of one image, ms", 1, {}, [](const Json& point) { return point["ms"]["median"]; });
  if (!data["top1_source"].is_null()) {
    add("accuracy", "top-1, %", 100, 105, [](const Json& point) { return point["top1"]; });
  } else {
    add("agreement with the dense run", "same class, %", 100, 105,
        [](const Json& point) { return point["same_class"]; });
    add("certainty of the dense run's class", "mean probability, %", 100, 105,
        [](const Json& point) { return point["probability"]; });
  }
  return figure;
}

std::vector<Figure> figures_of(const std::string& part, const Json& data) {
  std::vector<Figure> figures;
  if (part == "prediction") {
    figures = {prediction_figure(data), scatter_figure(data)};
    for (const Json& hardware : data["elsewhere"])
      figures.push_back(elsewhere_figure(hardware, data["rate"].get<double>()));
  }
  if (part == "speed") figures = {density_figure(data), accuracy_figure(data)};
  if (part == "ablations") figures = {granularity_figure(data), sweep_figure(data)};
  if (part == "knob") figures = {knob_figure(data)};
  std::erase_if(figures, [](const Figure& figure) { return figure.plots.empty(); });
  return figures;
}

}  // namespace lasnet::cli
