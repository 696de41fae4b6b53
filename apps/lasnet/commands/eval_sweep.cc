#include "eval_sweep.h"

#include <fmt/format.h>

#include <filesystem>
#include <ostream>

#include "base/file.h"
#include "report/plot.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

std::string file_of(const std::string& dir, const std::string& model, const char* extension) {
  return (fs::path(dir) / (fs::path(model).stem().string() + extension)).string();
}

/// Top-1 in percent against a member of the rows.
Plot accuracy_plot(const Sweep& sweep, const std::string& title, const std::string& label,
                   double SweepRow::*member) {
  Plot plot{.title = title, .x = {.label = label, .min = 0}, .y = {.label = "top-1, %"}};
  PlotSeries points{.label = "operating points"}, dense{.label = "without masks", .mark = SeriesMark::points};
  for (const SweepRow& row : sweep.rows) {
    PlotSeries& series = row.dense ? dense : points;
    series.x.push_back(row.*member);
    series.y.push_back(100 * row.top1);
  }
  plot.series = {std::move(points), std::move(dense)};
  return plot;
}

}  // namespace

void prepare_sweep(const std::string& dir, const std::string& model) {
  create_directory(dir);
  for (const char* extension : {".csv", ".svg"}) check_writable(file_of(dir, model, extension));
}

void write_sweep(const Sweep& sweep, const std::string& dir) {
  std::string csv = "masks,macs_ratio,top1,top5,ms_per_image\n";
  for (const SweepRow& row : sweep.rows) {
    csv += fmt::format("{},{:.4f},{:.4f},{:.4f},{:.4f}\n", row.dense ? "none" : "own", row.macs_ratio,
                       row.top1, row.top5, row.ms_per_image);
  }
  write_file_atomically(file_of(dir, sweep.model, ".csv"), [&](std::ostream& out) { out << csv; });
  write_svg(
      {accuracy_plot(sweep, "accuracy against MACs", "MACs over the static network's", &SweepRow::macs_ratio),
       accuracy_plot(sweep, "accuracy against time", "ms per image", &SweepRow::ms_per_image)},
      {.title = fmt::format("{}, {} images, medians of {} runs", sweep.model, sweep.images, sweep.repeats)},
      file_of(dir, sweep.model, ".svg"));
}

Json to_json(const Sweep& sweep) {
  Json rows = Json::array();
  for (const SweepRow& row : sweep.rows) {
    rows.push_back({{"dense", row.dense},
                    {"macs_ratio", row.macs_ratio},
                    {"top1", row.top1},
                    {"top5", row.top5},
                    {"ms_per_image", row.ms_per_image}});
  }
  return {{"model", sweep.model}, {"images", sweep.images}, {"repeats", sweep.repeats}, {"points", rows}};
}

std::string to_text(const Sweep& sweep, const std::string& dir) {
  Table table({"", ">MACs", ">top-1", ">top-5", ">ms per image", ">against no masks"});
  const double dense_ms = sweep.rows.back().ms_per_image;
  for (const SweepRow& row : sweep.rows) {
    if (row.dense) table.add_rule();
    table.add_row({row.dense ? "without masks" : "operating point", format_percent(row.macs_ratio),
                   format_percent(row.top1), format_percent(row.top5), format_ms(row.ms_per_image),
                   row.dense ? "" : format_speedup(dense_ms / row.ms_per_image)});
  }
  return fmt::format("{}  {} images, times: medians of {} runs\n\n{}\n  written {} and .svg\n",
                     bold(sweep.model), sweep.images, sweep.repeats, table.to_string(2),
                     file_of(dir, sweep.model, ".csv"));
}

}  // namespace lasnet::cli
