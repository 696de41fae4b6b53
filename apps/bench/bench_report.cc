#include "bench_report.h"

#include <fmt/format.h>

#include "terminal.h"

namespace lasnet::cli {
namespace {

Json to_json(const Quartiles& q) { return {{"median", q.median}, {"q1", q.q1}, {"q3", q.q3}}; }

Json times_json(const std::vector<double>& ms) {
  const Quartiles q = quartiles(ms);
  return {{"min_ms", q.min}, {"median_ms", q.median}};
}

Json block_json(const BlockMeasurements& block) {
  return {{"name", block.name},
          {"granularity", granularity_json(block.granularity)},
          {"rate", block.rate},
          {"dilated_rate", block.dilated_rate},
          {"macs", block.macs},
          {"static_macs", block.static_macs},
          {"dense_ms", median(block.dense_ms)},
          {"sparse_ms", median(block.sparse_ms)},
          {"masking_ms", median(block.masking_ms)},
          {"speedup", to_json(quartiles(ratios(block.dense_ms, block.sparse_ms)))}};
}

Json baseline_json(const BenchReport& report) {
  const Measurements& m = report.measured;
  const ChosenBaseline& chosen = report.baseline;
  if (!chosen.baseline) return nullptr;
  Json variants = Json::array();
  for (const TimedVariant& variant : chosen.variants)
    variants.push_back({{"note", variant.note}, {"min_ms", variant.min_ms}});
  Json json = {{"name", chosen.baseline->name()},
               {"version", chosen.baseline->version()},
               {"note", chosen.baseline->note()},
               {"variants", variants},
               {"logits_error", chosen.logits_error}};
  json.update(times_json(m.baseline_ms));
  json["speedup"] = to_json(quartiles(ratios(m.baseline_ms, m.sparse_ms)));
  json["dense_speedup"] = to_json(quartiles(ratios(m.baseline_ms, m.dense_ms)));
  json["peak_share"] = report.has_peak() ? to_json(report.peak_share(m.baseline_ms)) : Json(nullptr);
  return json;
}

/// "1.76x (1.73 ... 1.81)".
std::string format_speedup(const Quartiles& q) {
  return fmt::format("{:.2f}x ({:.2f} ... {:.2f})", q.median, q.q1, q.q3);
}

std::string run_table(const BenchReport& report) {
  const Measurements& m = report.measured;
  const bool compared = report.baseline.baseline != nullptr;
  const std::string other = compared ? report.baseline.baseline->name() : "";
  Table table({"run", ">min", ">median", ">against dense", compared ? ">against " + other : "",
               report.has_peak() ? ">of the FMA peak" : ""});
  const auto add = [&](const std::string& name, const std::vector<double>& ms, bool whole) {
    const Quartiles time = quartiles(ms), peak = report.has_peak() ? report.peak_share(ms) : Quartiles{};
    const bool itself = &ms == &m.baseline_ms;
    table.add_row({name, format_ms(time.min), format_ms(time.median),
                   &ms == &m.dense_ms ? "" : format_speedup(quartiles(ratios(m.dense_ms, ms))),
                   compared && !itself ? format_speedup(quartiles(ratios(m.baseline_ms, ms))) : "",
                   whole && report.has_peak() ? fmt::format("{:.0f} % ({:.0f} ... {:.0f})", 100 * peak.median,
                                                            100 * peak.q1, 100 * peak.q3)
                                              : ""});
  };
  add("dense", m.dense_ms, true);
  add("sparse", m.sparse_ms, false);
  if (compared) add(other, m.baseline_ms, true);
  return table.to_string(2);
}

BlocksSummary summarise(const std::vector<const BlockMeasurements*>& blocks) {
  const size_t runs = blocks.front()->sparse_ms.size();
  std::vector<double> dense(runs), sparse(runs), masking(runs), theory(runs);
  size_t skipped_runs = 0;
  for (size_t i = 0; i < runs; ++i) {
    double macs = 0, all_macs = 0;
    bool skipped = true;
    for (const BlockMeasurements* block : blocks) {
      dense[i] += block->dense_ms[i];
      sparse[i] += block->sparse_ms[i];
      masking[i] += block->masking_ms[i];
      macs += block->run_macs[i];
      all_macs += static_cast<double>(block->static_macs);
      skipped &= block->skipped(i);
    }
    theory[i] = all_macs / macs;
    skipped_runs += skipped;
  }
  return {.dense_ms = median(dense),
          .sparse_ms = median(sparse),
          .speedup = median(ratios(dense, sparse)),
          .theory_speedup = median(theory),
          .masking_share = median(ratios(masking, sparse)),
          .runs = runs,
          .skipped_runs = skipped_runs};
}

std::string describe_speedup(const BlocksSummary& summary) {
  if (!summary.skipped()) return fmt::format("{:.2f}x", summary.speedup);
  return summary.skipped_runs == summary.runs ? "skipped" : "mostly skipped";
}

std::string block_table(const BenchReport& report) {
  Table table(
      {"block", ">S", ">computed (r)", ">with halo", ">MACs", ">dense", ">sparse", ">speed-up", ">theory"});
  for (const BlockMeasurements& block : report.measured.blocks) {
    const BlocksSummary summary = summarise({&block});
    table.add_row({block.name, format_granularity(block.granularity), format_percent(block.rate),
                   format_percent(block.dilated_rate), format_count(block.macs), format_ms(summary.dense_ms),
                   format_ms(summary.sparse_ms), describe_speedup(summary),
                   summary.skipped() ? "" : fmt::format("{:.2f}x", summary.theory_speedup)});
  }
  return table.to_string(2);
}

/// One row for each stage: how much of its saved MACs became saved time.
std::string stage_table(const BenchReport& report) {
  Table table({"stage", ">dense", ">sparse", ">speed-up", ">theory", ">efficiency", ">masker and lists"});
  bool beyond_theory = false;
  for (const StageSummary& stage : report.stages()) {
    beyond_theory |= !stage.skipped() && stage.efficiency() > 1;
    table.add_row(
        {std::to_string(stage.stage + 1), format_ms(stage.dense_ms), format_ms(stage.sparse_ms),
         describe_speedup(stage), stage.skipped() ? "" : fmt::format("{:.2f}x", stage.theory_speedup),
         stage.skipped() ? "" : format_percent(stage.efficiency()), format_percent(stage.masking_share)});
  }
  std::string text = table.to_string(2);
  if (beyond_theory) {
    text += "  " + dim("above 100 %: beside MACs, memory traffic is saved; or the machine was busy") + "\n";
  }
  return text;
}

/// What became of the theory: a share of it, or, where more is saved than MACs, the speed-up itself.
std::string describe_reached(const BenchReport& report) {
  const double efficiency = report.speedup() / report.theory_speedup();
  if (efficiency <= 1) return fmt::format("of which {} is reached", bold(format_percent(efficiency)));
  return fmt::format("and {} measured: memory traffic is saved, too, or the machine was busy",
                     bold(fmt::format("{:.2f}x", report.speedup())));
}

std::string describe_inputs(const BenchReport& report) {
  if (report.photographs == 0) return "random inputs";
  if (report.photographs == report.photographs_found)
    return fmt::format("{} photographs", report.photographs);
  return fmt::format("{} of {} photographs", report.photographs, report.photographs_found);
}

std::string describe_features(const BenchReport& report) {
  return report.features.empty() ? "" : fmt::format(", with maps of {}", fmt::join(report.features, ", "));
}

std::string heading(const BenchReport& report) {
  const std::string masks = report.rate ? fmt::format("random masks, patch rate {:.3f}", *report.rate)
                            : report.operating.thresholds.empty()
                                ? "the network's own masks"
                                : "the network's own masks at other thresholds";
  return fmt::format(
      "{}  {}\n", bold(report.model),
      dim(fmt::format("{} · {} x {} px, batch {} · {} · {}, {}{}", describe(report.arch), report.size.height,
                      report.size.width, report.batch, describe_kernels(report.kernels), masks,
                      describe_inputs(report), describe_features(report))));
}

}  // namespace

Quartiles BenchReport::peak_share(const std::vector<double>& ms) const {
  const double gflop = 2e-9 * batch * static_cast<double>(static_macs);
  std::vector<double> shares;
  for (size_t i = 0; i < ms.size(); ++i) shares.push_back(gflop / (1e-3 * ms[i]) / measured.peak_gflops[i]);
  return quartiles(shares);
}

std::vector<StageSummary> BenchReport::stages() const {
  std::vector<StageSummary> stages;
  for (const BlockMeasurements& first : measured.blocks) {
    if (!stages.empty() && stages.back().stage == first.stage) continue;
    std::vector<const BlockMeasurements*> blocks;
    for (const BlockMeasurements& block : measured.blocks) {
      if (block.stage == first.stage) blocks.push_back(&block);
    }
    stages.push_back({summarise(blocks), first.stage});
  }
  return stages;
}

Quartiles BenchReport::masking_share() const {
  std::vector<double> masking(measured.sparse_ms.size());
  for (const BlockMeasurements& block : measured.blocks) {
    for (size_t i = 0; i < masking.size(); ++i) masking[i] += block.masking_ms[i];
  }
  return quartiles(ratios(masking, measured.sparse_ms));
}

Json to_json(const BenchReport& report) {
  const Measurements& m = report.measured;
  Json stages = Json::array();
  for (const StageSummary& stage : report.stages()) {
    stages.push_back({{"stage", stage.stage + 1},
                      {"dense_ms", stage.dense_ms},
                      {"sparse_ms", stage.sparse_ms},
                      {"speedup", stage.speedup},
                      {"theory_speedup", stage.skipped() ? Json(nullptr) : Json(stage.theory_speedup)},
                      {"efficiency", stage.skipped() ? Json(nullptr) : Json(stage.efficiency())},
                      {"masking_share", stage.masking_share}});
  }
  Json blocks = Json::array();
  for (const BlockMeasurements& block : m.blocks) blocks.push_back(block_json(block));
  const Quartiles speedup = quartiles(ratios(m.dense_ms, m.sparse_ms));
  const auto& [thresholds, point] = report.operating;
  return {{"model", report.model},
          {"architecture", report.arch.name},
          {"granularity", granularity_to_string(report.arch.granularity)},
          {"input", {report.batch, 3, report.size.height, report.size.width}},
          {"backend", to_string(report.kernels.backend)},
          {"precision", to_string(report.kernels.precision)},
          {"threads", report.kernels.threads},
          {"isa", to_string(report.kernels.isa)},
          {"schedule", report.schedule ? Json(to_string(*report.schedule)) : Json(nullptr)},
          {"masks", report.rate ? "random" : "own"},
          {"rate", report.rate ? Json(*report.rate) : Json(nullptr)},
          {"thresholds", thresholds.empty() ? Json(nullptr) : thresholds_json(thresholds)},
          {"operating_point", point ? operating_point_json(*point) : Json(nullptr)},
          {"features", report.features},
          {"photographs", report.photographs},
          {"photographs_found", report.photographs_found},
          {"repeat", m.dense_ms.size()},
          {"dense", times_json(m.dense_ms)},
          {"sparse", times_json(m.sparse_ms)},
          {"speedup", to_json(speedup)},
          {"macs_ratio", report.mean_macs_ratio()},
          {"theory_speedup", report.theory_speedup()},
          {"efficiency", speedup.median / report.theory_speedup()},
          {"peak_gflops", report.has_peak() ? Json(median(m.peak_gflops)) : Json(nullptr)},
          {"dense_peak_share", report.has_peak() ? to_json(report.peak_share(m.dense_ms)) : Json(nullptr)},
          {"masking_share", to_json(report.masking_share())},
          {"stages", stages},
          {"blocks", blocks},
          {"baseline", baseline_json(report)},
          {"reproduce", report.reproduce}};
}

std::string to_text(const BenchReport& report) {
  const Measurements& m = report.measured;
  std::string text = heading(report) + "\n" + run_table(report);
  text += "  " + dim("ratios are medians over pairs of runs, with quartiles") + "\n\n";
  text += fmt::format("  computed {} of the MACs: {:.2f}x by theory, {}\n",
                      format_percent(report.mean_macs_ratio()), report.theory_speedup(),
                      describe_reached(report));
  if (report.has_peak()) text += fmt::format("  FMA peak {:.0f} GFLOP/s, measured\n", median(m.peak_gflops));
  if (const Baseline* baseline = report.baseline.baseline.get()) {
    text += fmt::format("  {} {}: {}; logits differ by {:.1g}\n", baseline->name(), baseline->version(),
                        baseline->note(), report.baseline.logits_error);
  }
  text += fmt::format("  masker, dilation and lists take {} of the sparse run\n",
                      format_percent(report.masking_share().median));
  return text + "\n" + stage_table(report) + "\n" + block_table(report) + "\n  " + dim("reproduce: ") +
         report.reproduce + "\n";
}

}  // namespace lasnet::cli
