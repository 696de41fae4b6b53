#include "sweep_results.h"

#include <ostream>

#include "base/file.h"
#include "csv.h"
#include "lasnet/version.h"
#include "report/plot.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

template <typename T>
std::optional<T> optional_from(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional<T>(json.get<T>());
}

}  // namespace

Json to_json(const SweepRow& row) {
  const Evaluation& figures = row.evaluation;
  return {{"kind", row.kind},
          {"name", row.name},
          {"granularity", row.granularity},
          {"target", optional_json(row.target)},
          {"budget_ms", optional_json(row.budget_ms)},
          {"seed", optional_json(row.seed)},
          {"size", row.size},
          {"images", figures.images},
          {"top1", figures.top1},
          {"top5", figures.top5},
          {"macs_ratio", figures.macs_ratio},
          {"macs_ratio_std", figures.macs_ratio_std},
          {"rates", figures.rates},
          {"budget_predicted_ms", optional_json(figures.predicted_ms)},
          {"measured_ms", optional_json(row.measured_ms)},
          {"predicted_ms", Json(row.predicted_ms)},
          {"top1_with", Json(row.top1_with)}};
}

SweepRow row_from(const Json& json) {
  SweepRow row{.kind = json["kind"], .name = json["name"], .granularity = json["granularity"]};
  row.target = optional_from<double>(json["target"]);
  row.budget_ms = optional_from<double>(json["budget_ms"]);
  row.seed = optional_from<uint64_t>(json["seed"]);
  row.size = json["size"];
  row.evaluation.images = json["images"];
  row.evaluation.top1 = json["top1"];
  row.evaluation.top5 = json["top5"];
  row.evaluation.macs_ratio = json["macs_ratio"];
  row.evaluation.macs_ratio_std = json["macs_ratio_std"];
  row.evaluation.rates = json["rates"].get<std::vector<double>>();
  row.evaluation.predicted_ms = optional_from<double>(json["budget_predicted_ms"]);
  row.measured_ms = optional_from<double>(json["measured_ms"]);
  row.predicted_ms = json["predicted_ms"].get<std::map<std::string, double>>();
  row.top1_with = json["top1_with"].get<std::map<std::string, double>>();
  return row;
}

namespace {

/// A row's values under one name each: objects are taken apart, lists have blanks between.
void flatten(const std::string& prefix, const Json& value,
             std::vector<std::pair<std::string, std::string>>& out) {
  if (value.is_object()) {
    for (const auto& [key, member] : value.items())
      flatten(prefix.empty() ? key : prefix + "." + key, member, out);
  } else if (value.is_array()) {
    std::string text;
    for (const Json& item : value) text += (text.empty() ? "" : " ") + item.dump();
    out.emplace_back(prefix, text);
  } else {
    out.emplace_back(prefix, value.is_null()     ? ""
                             : value.is_string() ? value.get<std::string>()
                                                 : value.dump());
  }
}

/// All names that any row has, in order of first sight.
std::vector<std::string> columns_of(const std::vector<std::map<std::string, std::string>>& rows,
                                    const std::vector<std::string>& seen) {
  std::vector<std::string> columns;
  for (const std::string& name : seen) {
    const bool is_new = std::ranges::find(columns, name) == columns.end();
    const bool is_there = std::ranges::any_of(rows, [&](const auto& row) { return row.contains(name); });
    if (is_new && is_there) columns.push_back(name);
  }
  return columns;
}

/// Top-1 of the rows over one of their values. Rows without that value are left out.
template <typename Value>
Plot accuracy_plot(const Json& document, const std::string& title, const std::string& label,
                   const Value& value_of) {
  Plot plot{.title = title, .x = {.label = label}, .y = {.label = "top-1 (%)"}};
  std::map<std::string, PlotSeries> dynamic;
  PlotSeries still{.label = "static, fewer pixels", .mark = SeriesMark::line_and_points};
  for (const Json& row : document["rows"]) {
    const Json value = value_of(row);
    if (value.is_null()) continue;
    const std::string granularity = row["granularity"];
    PlotSeries& series = granularity.empty() ? still : dynamic[granularity];
    if (!granularity.empty()) series.label = "S = " + granularity, series.mark = SeriesMark::points;
    series.x.push_back(value.get<double>());
    series.y.push_back(100 * row["top1"].get<double>());
  }
  if (still.x.size() == 1) still.label = "static", still.mark = SeriesMark::points;
  for (auto& [granularity, series] : dynamic) plot.series.push_back(std::move(series));
  if (!still.x.empty()) plot.series.push_back(std::move(still));
  return plot;
}

std::vector<Plot> plots_of(const Json& document) {
  std::vector<Plot> plots = {accuracy_plot(document, "multiply-accumulates",
                                           "share of the static network's MACs",
                                           [](const Json& row) { return row["macs_ratio"]; })};
  plots.push_back(
      accuracy_plot(document, "measured time", "ms", [](const Json& row) { return row["measured_ms"]; }));
  for (const auto& [hardware, ms] : document["rows"][0]["predicted_ms"].items())
    plots.push_back(accuracy_plot(
        document, "predicted for " + hardware, "ms",
        [&hardware = hardware](const Json& row) { return row["predicted_ms"].value(hardware, Json()); }));
  std::erase_if(plots, [](const Plot& plot) { return plot.series.empty(); });
  return plots;
}

std::string percent_cell(const Json& value) {
  return value.is_null() ? "" : format_percent(value.get<double>());
}
std::string ms_cell(const Json& value) { return value.is_null() ? "" : format_ms(value.get<double>()); }

}  // namespace

Json to_json(const SweepResults& results) {
  Json rows = Json::array();
  for (const SweepRow& row : results.rows) rows.push_back(to_json(row));
  return {{"lasnet_sweep", version()},
          {"plan", results.plan},
          {"processor", results.processor},
          {"measured_on", results.measured_on},
          {"rows", rows}};
}

std::string to_csv(const Json& document) {
  std::vector<std::map<std::string, std::string>> rows;
  std::vector<std::string> seen;
  for (const Json& row : document["rows"]) {
    std::vector<std::pair<std::string, std::string>> values;
    flatten("", row, values);
    for (const auto& [name, text] : values) seen.push_back(name);
    rows.emplace_back(values.begin(), values.end());
  }
  const std::vector<std::string> columns = columns_of(rows, seen);
  std::string text = csv_line(columns);
  for (auto& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& column : columns) cells.push_back(row[column]);
    text += csv_line(cells);
  }
  return text;
}

std::string to_text(const Json& document) {
  Table table({"network", ">top-1", ">MACs", ">measured", ">random masks", ">centre masks"});
  for (const Json& row : document["rows"]) {
    table.add_row({row["name"], percent_cell(row["top1"]), percent_cell(row["macs_ratio"]),
                   ms_cell(row["measured_ms"]), percent_cell(row["top1_with"].value("random", Json())),
                   percent_cell(row["top1_with"].value("centre", Json()))});
  }
  return table.to_string();
}

void write_results(const Json& document, const std::string& dir) {
  const auto write = [&](const std::string& name, const std::string& text) {
    write_file_atomically(dir + "/" + name, [&](std::ostream& out) { out << text; });
  };
  write_svg(plots_of(document), {.title = "accuracy of a sweep", .columns = 3}, dir + "/sweep.svg");
  write("sweep.csv", to_csv(document));
  write("sweep.json", document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace lasnet::cli
