#include "run_report.h"

#include <fmt/format.h>

#include "base/escape.h"
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

/// "1.93 ms instead of 3.20 ms dense: 1.66x faster"; where pairs of runs disagree, between what.
std::string describe_times(const ImageReport& report) {
  constexpr double kSteady = 1.2;
  if (!report.dense) return format_ms(report.run_ms);
  const std::string text = fmt::format("{} instead of {} dense: {}", format_ms(report.run_ms),
                                       format_ms(report.dense->ms), bold(format_speedup(report.speedup())));
  const Quartiles& pairs = report.dense->pair_ratio;
  if (pairs.q3 <= kSteady * pairs.q1) return text;
  return text + dim(fmt::format(" (single pairs of runs: {:.2f} to {:.2f}x; the machine is busy, --repeat "
                                "more often)",
                                pairs.q1, pairs.q3));
}

/// Static blocks compute everything: nothing is to be said of it.
std::string static_table(const ImageReport& report) {
  Table table({"block", ">MACs", ">time"});
  for (const BlockReport& block : report.blocks) {
    table.add_row({block.name, format_count(block.macs), format_ms(block.ms)});
  }
  return table.to_string(2);
}

/// How much was computed; of a block without active patches, what is left of it.
std::string describe_rate(const BlockReport& block) {
  if (block.granularity == 0 || block.rate > 0) return accent(bar(block.rate, kBarWidth));
  return dim(block.identity ? "skipped" : "shortcut only");
}

std::string block_table(const ImageReport& report) {
  if (!report.dense) return static_table(report);
  Table table({"block", ">S", "computed (r)", ">", ">with halo", ">MACs", ">time"});
  for (const BlockReport& block : report.blocks) {
    table.add_row({block.name, format_granularity(block.granularity), describe_rate(block),
                   format_percent(block.rate), format_percent(block.dilated_rate), format_count(block.macs),
                   format_ms(block.ms)});
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
                      {"granularity", granularity_json(block.granularity)},
                      {"rate", block.rate},
                      {"dilated_rate", block.dilated_rate},
                      {"macs", block.macs},
                      {"ms", block.ms}});
  }
  return {{"file", report.file},
          {"top", top},
          {"macs_ratio", report.macs_ratio()},
          {"dynamic_ms", report.run_ms},
          {"dense_ms", report.dense ? Json(report.dense->ms) : Json(nullptr)},
          {"speedup", report.dense ? Json(report.speedup()) : Json(nullptr)},
          {"speedup_quartiles",
           report.dense ? Json{report.dense->pair_ratio.q1, report.dense->pair_ratio.q3} : Json(nullptr)},
          {"blocks", blocks}};
}

std::string to_text(const ImageReport& report) {
  std::string text = fmt::format("\n{}  {}\n\n", bold(report.file),
                                 dim(fmt::format("{} x {} px, seen at {} x {}", report.width, report.height,
                                                 report.input_width, report.input_height)));
  text += top_lines(report) + "\n";
  const std::string computed =
      report.dense ? fmt::format("{} of the MACs, {}", bold(format_percent(report.macs_ratio())),
                                 format_macs(report.macs, report.static_macs))
                   : fmt::format("all {} MACs", format_count(report.macs));
  text += fmt::format("  computed {};  {}\n\n", computed, describe_times(report));
  text += block_table(report);
  for (const auto& path : report.overlays) text += fmt::format("  {} {}\n", dim("written"), path);
  return text;
}

namespace {

std::string static_summary(const std::vector<ImageReport>& reports) {
  Table table({"photograph", "class", ">probability", ">time"});
  std::vector<double> ms;
  for (const ImageReport& report : reports) {
    ms.push_back(report.run_ms);
    table.add_row({report.file, report.top.front().first, format_percent(report.top.front().second),
                   format_ms(report.run_ms)});
  }
  table.add_rule();
  table.add_row({"mean", "", "", format_ms(mean(ms))});
  return table.to_string();
}

}  // namespace

std::string summary(const std::vector<ImageReport>& reports) {
  if (!reports.front().dense) return static_summary(reports);
  Table table({"photograph", "class", ">probability", ">MACs", ">dynamic", ">dense", ">speed-up"});
  std::vector<double> ratios, dynamic_ms, dense_ms;
  for (const ImageReport& report : reports) {
    ratios.push_back(report.macs_ratio());
    dynamic_ms.push_back(report.run_ms);
    dense_ms.push_back(report.dense->ms);
    table.add_row({report.file, report.top.front().first, format_percent(report.top.front().second),
                   format_percent(ratios.back()), format_ms(dynamic_ms.back()), format_ms(dense_ms.back()),
                   fmt::format("{:.2f}x", report.speedup())});
  }
  table.add_rule();
  table.add_row({"mean", "", "", format_percent(mean(ratios)), format_ms(mean(dynamic_ms)),
                 format_ms(mean(dense_ms)), fmt::format("{:.2f}x", mean(dense_ms) / mean(dynamic_ms))});
  return table.to_string();
}

}  // namespace lasnet::cli
