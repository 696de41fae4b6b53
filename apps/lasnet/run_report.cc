#include "run_report.h"

#include <fmt/format.h>

#include "core/escape.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr int kBarWidth = 20;

std::string top_lines(const ImageReport& report) {
  int width = 0;
  for (const auto& [name, probability] : report.top) width = std::max(width, display_width(excerpt(name)));
  std::string text;
  for (size_t i = 0; i < report.top.size(); ++i) {
    const std::string name = excerpt(report.top[i].first);
    const double probability = report.top[i].second;
    const std::string padding(static_cast<size_t>(width - display_width(name)), ' ');
    text += fmt::format("  {}{}  {} {:>7}\n", i == 0 ? bold(name) : name, padding,
                        accent(bar(probability, kBarWidth)), format_percent(probability));
  }
  return text;
}

/// "1.52x faster"; where pairs disagree, between what.
std::string describe_speedup(const Quartiles& speedup) {
  constexpr double kSteady = 1.2;
  const std::string text = bold(format_speedup(speedup.median));
  if (speedup.q3 <= kSteady * speedup.q1) return text;
  return text + dim(fmt::format(" ({:.2f} to {:.2f}x: the machine is busy, --repeat more often)", speedup.q1,
                                speedup.q3));
}

std::string block_table(const ImageReport& report) {
  Table table({"block", ">S", "computed (r)", ">", ">with halo", ">MACs", ">time"});
  for (const BlockReport& block : report.blocks) {
    const bool dynamic = block.granularity > 0;
    table.add_row({block.name, dynamic ? std::to_string(block.granularity) : "-",
                   accent(bar(block.rate, kBarWidth)), format_percent(block.rate),
                   format_percent(block.dilated_rate), format_count(block.macs), format_ms(block.ms)});
  }
  return table.to_string(2);
}

}  // namespace

Json to_json(const ImageReport& report) {
  Json top = Json::array();
  for (const auto& [name, probability] : report.top)
    top.push_back({{"class", name}, {"probability", probability}});
  Json blocks = Json::array();
  for (const BlockReport& block : report.blocks) {
    blocks.push_back({{"name", block.name},
                      {"granularity", block.granularity},
                      {"rate", block.rate},
                      {"dilated_rate", block.dilated_rate},
                      {"macs", block.macs},
                      {"ms", block.ms}});
  }
  return {{"file", report.file},
          {"top", top},
          {"macs_ratio", report.macs_ratio()},
          {"dynamic_ms", report.dynamic_ms},
          {"dense_ms", report.dense_ms},
          {"speedup", report.speedup.median},
          {"speedup_quartiles", {report.speedup.q1, report.speedup.q3}},
          {"blocks", blocks}};
}

std::string to_text(const ImageReport& report) {
  std::string text = fmt::format("\n{}  {}\n\n", bold(report.file),
                                 dim(fmt::format("{} x {} px, seen at {} x {}", report.width, report.height,
                                                 report.input_width, report.input_height)));
  text += top_lines(report) + "\n";
  text +=
      fmt::format("  computed {} of the MACs, {};  {} instead of {} dense: {}\n\n",
                  bold(format_percent(report.macs_ratio())), format_macs(report.macs, report.static_macs),
                  format_ms(report.dynamic_ms), format_ms(report.dense_ms), describe_speedup(report.speedup));
  text += block_table(report);
  for (const auto& path : report.overlays) text += fmt::format("  {} {}\n", dim("written"), path);
  return text;
}

std::string summary(const std::vector<ImageReport>& reports) {
  Table table({"photograph", "class", ">probability", ">MACs", ">dynamic", ">dense", ">speed-up"});
  std::vector<double> ratios, dynamic_ms, dense_ms, speedups;
  for (const ImageReport& report : reports) {
    ratios.push_back(report.macs_ratio());
    dynamic_ms.push_back(report.dynamic_ms);
    dense_ms.push_back(report.dense_ms);
    speedups.push_back(report.speedup.median);
    table.add_row({report.file, report.top.front().first, format_percent(report.top.front().second),
                   format_percent(ratios.back()), format_ms(dynamic_ms.back()), format_ms(dense_ms.back()),
                   fmt::format("{:.2f}x", speedups.back())});
  }
  table.add_rule();
  table.add_row({"mean", "", "", format_percent(mean(ratios)), format_ms(mean(dynamic_ms)),
                 format_ms(mean(dense_ms)), fmt::format("{:.2f}x", mean(speedups))});
  return table.to_string();
}

}  // namespace lasnet::cli
