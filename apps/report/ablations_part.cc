// What S and the fusion of operators do to the time of the whole network.
#include <fmt/format.h>

#include <algorithm>

#include "bench_run.h"
#include "parts.h"

namespace lasnet::cli {
namespace {

const std::vector<int> kGranularities = {1, 2, 4, 7, 8};

/// Schedules that differ in what is fused. The first fuses nothing.
struct Fusion {
  const char* name;
  const char* schedule;
};
constexpr Fusion kFusions[] = {{"nothing fused", "masker=separate,gather=copied,scatter=separate"},
                               {"masker + conv1", "masker=with_conv1,gather=copied,scatter=separate"},
                               {"masker sums in conv3", "masker=incremental,gather=copied,scatter=separate"},
                               {"gather + conv2", "masker=separate,gather=indirect,scatter=separate"},
                               {"scatter + add", "masker=separate,gather=copied,scatter=in_place"},
                               {"all fused", "masker=incremental,gather=indirect,scatter=in_place"}};

/// MAC ratio that every S is held to: the model's on the photographs, within what masks of any S can give.
double common_macs(const Setup& setup) {
  Session session(setup.model, {});
  double sum = 0;
  for (const Photograph& photograph : setup.photographs)
    sum += session.run(photograph.cropped, {.record_masks = false}).trace.macs_ratio();
  return std::clamp(sum / static_cast<double>(setup.photographs.size()), 0.3, 0.9);
}

BenchOptions same_architecture(const Setup& setup, int granularity, double macs) {
  const ArchConfig& arch = setup.model.spec.arch;
  BenchOptions options;
  options.model.path = arch.name;
  options.model.width = arch.width;
  options.model.classes = arch.classes;
  options.model.stem = arch.stem;
  options.model.granularity = std::vector<int>(4, granularity);
  const auto has_se = [](const BlockSpec& block) { return block.squeeze_excite.has_value(); };
  if (std::ranges::any_of(setup.model.spec.blocks, has_se)) options.model.se_pool = arch.se_pool;
  options.size = setup.size;
  options.macs = macs;
  options.repeat = setup.repetitions.granularity;
  return options;
}

Json granularities_json(const Setup& setup, const Told& told) {
  const double macs = common_macs(setup);
  Json rows = Json::array();
  std::string command;
  for (size_t i = 0; i < kGranularities.size(); ++i) {
    const int granularity = kGranularities[i];
    BenchOptions options = same_architecture(setup, granularity, macs);
    resolve(options);
    const BenchReport report = bench(options, [&](const Measurements& m) {
      const double done = static_cast<double>(m.dense_ms.size()) / options.repeat;
      told((static_cast<double>(i) + done) / static_cast<double>(kGranularities.size()),
           fmt::format("S = {}", granularity));
    });
    command = report.reproduce;
    Json stages = Json::array();
    for (const StageSummary& stage : report.stages())
      stages.push_back(
          {{"stage", stage.stage + 1}, {"dense_ms", stage.dense_ms}, {"sparse_ms", stage.sparse_ms}});
    rows.push_back({{"granularity", granularity},
                    {"rate", *report.rate},
                    {"macs_ratio", report.mean_macs_ratio()},
                    {"dense_ms", median(report.measured.dense_ms)},
                    {"sparse_ms", median(report.measured.sparse_ms)},
                    {"sparse", quartiles_json(report.measured.sparse_ms)},
                    {"speedup", report.speedup()},
                    {"theory_speedup", report.theory_speedup()},
                    {"stages", stages}});
  }
  return {{"command", command}, {"macs_ratio", macs}, {"rows", rows}};
}

Json fusions_json(const Setup& setup, const Told& told) {
  std::vector<Session> sessions;
  std::vector<Contender> contenders;
  for (const Fusion& fusion : kFusions)
    sessions.emplace_back(setup.model, SessionOptions{.schedule = parse_block_schedule(fusion.schedule)});
  sessions.emplace_back(setup.model, SessionOptions{});
  for (size_t i = 0; i < std::size(kFusions); ++i)
    contenders.push_back({kFusions[i].name, &sessions[i], {.record_masks = false}});
  contenders.push_back({"chosen block by block", &sessions.back(), {.record_masks = false}});
  contenders.push_back({"dense", &sessions.back(), {.dense = true, .record_masks = false}});
  const std::vector<Turns> turns = run_in_turn(contenders, setup.inputs(), setup.repetitions.fusion, told);
  Json rows = Json::array();
  for (size_t i = 0; i < contenders.size(); ++i) {
    rows.push_back({{"name", contenders[i].name},
                    {"schedule", i < std::size(kFusions) ? Json(kFusions[i].schedule) : Json(nullptr)},
                    {"ms", quartiles_json(turns[i].ms)},
                    {"against_unfused", median(ratios(turns[0].ms, turns[i].ms))},
                    {"against_dense", median(ratios(turns.back().ms, turns[i].ms))}});
  }
  return {{"command", fmt::format("lasnet run {} PHOTOGRAPH --schedule SCHEDULE", setup.options.model)},
          {"rows", rows}};
}

}  // namespace

Json measure_ablations(const Setup& setup, const Told& told) {
  constexpr double kFirst = 0.6;
  Json granularities =
      granularities_json(setup, [&](double share, const std::string& now) { told(kFirst * share, now); });
  Json fusions = fusions_json(
      setup, [&](double share, const std::string&) { told(kFirst + (1 - kFirst) * share, "fusion"); });
  return {
      {"granularities", std::move(granularities)}, {"fusions", std::move(fusions)}, {"sweep", setup.sweep}};
}

}  // namespace lasnet::cli
