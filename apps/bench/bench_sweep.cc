#include "bench_sweep.h"

#include <fmt/format.h>

#include <map>
#include <ostream>

#include "base/file.h"
#include "output.h"
#include "predict/break_even.h"
#include "report/plot.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

std::string stage_name(int stage) { return stage == 0 ? "network" : fmt::format("stage {}", stage); }

/// Rows by stage, then granularity, in the order they came.
std::map<int, std::map<int, std::vector<SweepRow>>> grouped(const std::vector<SweepRow>& rows) {
  std::map<int, std::map<int, std::vector<SweepRow>>> groups;
  for (const SweepRow& row : rows) groups[row.stage][row.granularity].push_back(row);
  return groups;
}

/// Linear between the rows around `rate`; the nearest one outside of them.
double speedup_at(const std::vector<SweepRow>& rows, double rate) {
  for (size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].rate < rate) continue;
    const double span = rows[i].rate - rows[i - 1].rate;
    const double part = span > 0 ? std::max(0.0, (rate - rows[i - 1].rate) / span) : 0;
    return rows[i - 1].speedup + part * (rows[i].speedup - rows[i - 1].speedup);
  }
  return rows.back().speedup;
}

Plot stage_plot(int stage, const std::map<int, std::vector<SweepRow>>& by_granularity) {
  Plot plot{.title = stage_name(stage),
            .x = {.label = "share of active patches", .min = 0, .max = 1},
            .y = {.label = "speed-up over dense", .scale = AxisScale::log}};
  for (const auto& [granularity, rows] : by_granularity) {
    PlotSeries series{.label = fmt::format("S = {}", granularity)};
    for (const SweepRow& row : rows) {
      series.x.push_back(row.rate);
      series.y.push_back(row.speedup);
    }
    plot.series.push_back(std::move(series));
  }
  plot.series.push_back({.label = "break-even", .x = {0, 1}, .y = {1, 1}, .mark = SeriesMark::dashed_line});
  return plot;
}

double break_even_of(const std::vector<SweepRow>& line) {
  std::vector<double> rates, speedups;
  for (const SweepRow& row : line) rates.push_back(row.rate), speedups.push_back(row.speedup);
  return break_even(rates, speedups);
}

std::string file_of(const std::string& dir, const std::string& name, const char* extension) {
  return dir + "/" + name + extension;
}

}  // namespace

std::vector<SweepRow> sweep_rows(const BenchReport& report, int granularity) {
  const Measurements& m = report.measured;
  std::vector<SweepRow> rows;
  for (const StageSummary& stage : report.stages()) {
    SweepRow row{.stage = stage.stage + 1,
                 .granularity = granularity,
                 .dense_ms = stage.dense_ms,
                 .sparse_ms = stage.sparse_ms,
                 .speedup = stage.speedup,
                 .theory_speedup = stage.theory_speedup};
    int blocks = 0;
    for (const BlockMeasurements& block : m.blocks) {
      if (block.stage != stage.stage) continue;
      row.rate += block.rate;
      row.dilated_rate += block.dilated_rate;
      ++blocks;
    }
    row.rate /= blocks;
    row.dilated_rate /= blocks;
    rows.push_back(row);
  }
  SweepRow network{.granularity = granularity,
                   .dense_ms = median(m.dense_ms),
                   .sparse_ms = median(m.sparse_ms),
                   .speedup = median(ratios(m.dense_ms, m.sparse_ms)),
                   .theory_speedup = report.theory_speedup()};
  for (const BlockMeasurements& block : m.blocks) {
    network.rate += block.rate;
    network.dilated_rate += block.dilated_rate;
  }
  network.rate /= static_cast<double>(m.blocks.size());
  network.dilated_rate /= static_cast<double>(m.blocks.size());
  rows.push_back(network);
  return rows;
}

void prepare_sweep(const std::string& dir, const std::string& name) {
  create_directory(dir);
  for (const char* extension : {".csv", ".svg"}) check_writable(file_of(dir, name, extension));
}

void write_sweep(const std::vector<SweepRow>& rows, const std::string& title, const std::string& dir,
                 const std::string& name) {
  std::string csv = "stage,granularity,rate,dilated_rate,dense_ms,sparse_ms,speedup,theory_speedup\n";
  for (const SweepRow& row : rows) {
    csv += fmt::format("{},{},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f}\n",
                       row.stage == 0 ? "network" : std::to_string(row.stage), row.granularity, row.rate,
                       row.dilated_rate, row.dense_ms, row.sparse_ms, row.speedup, row.theory_speedup);
  }
  write_file_atomically(file_of(dir, name, ".csv"), [&](std::ostream& out) { out << csv; });
  std::vector<Plot> plots;
  for (const auto& [stage, by_granularity] : grouped(rows))
    plots.push_back(stage_plot(stage, by_granularity));
  write_svg(plots, {.title = title, .columns = 3}, file_of(dir, name, ".svg"));
}

std::string to_text(const std::vector<SweepRow>& rows) {
  Table table({"", ">S", ">at r = 0.25", ">0.5", ">0.75", ">faster up to r"});
  for (const auto& [stage, by_granularity] : grouped(rows)) {
    for (const auto& [granularity, line] : by_granularity) {
      table.add_row(
          {stage_name(stage), std::to_string(granularity), fmt::format("{:.2f}x", speedup_at(line, 0.25)),
           fmt::format("{:.2f}x", speedup_at(line, 0.5)), fmt::format("{:.2f}x", speedup_at(line, 0.75)),
           fmt::format("{:.2f}", break_even_of(line))});
    }
  }
  return table.to_string(2);
}

}  // namespace lasnet::cli
