// Whether predicted latency chooses the right S here, and what it chooses for hardware that is not here.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "calibrate/validation.h"
#include "lasnet/latency.h"
#include "latency_options.h"
#include "parts.h"

namespace lasnet::cli {
namespace {

constexpr double kDefaultRate = 0.5;
const std::vector<int> kCandidates = {1, 2, 4, 7, 8};

/// Mean rate of the model's blocks on the photographs.
double usual_rate(const Setup& setup) {
  Session session(setup.model, {});
  double sum = 0, count = 0;
  for (const Photograph& photograph : setup.photographs) {
    const Trace trace = session.run(photograph.cropped, {.record_masks = false}).trace;
    for (const BlockTrace& block : trace.blocks) {
      if (block.granularity == 0) continue;
      sum += block.rate;
      ++count;
    }
  }
  return count > 0 ? sum / count : kDefaultRate;
}

/// Of a stage's identity blocks, predicted and measured, by S.
Json measured_stages(const std::vector<Choice>& choices) {
  std::map<int, Json> stages;
  for (const Choice& choice : choices) {
    Json& curves = stages.try_emplace(choice.stage, Json::object()).first->second;
    for (const Choice::Option& option : choice.options) {
      curves[option.name].push_back({{"rate", choice.rate},
                                     {"predicted_ms", 1e3 * option.predicted_s},
                                     {"measured_ms", 1e3 * option.measured_s}});
    }
  }
  Json list = Json::array();
  for (const auto& [stage, curves] : stages) {
    Json of_stage = Json::array();
    for (const auto& [name, points] : curves.items())
      of_stage.push_back({{"granularity", std::stoi(name.substr(2))}, {"points", points}});
    list.push_back({{"stage", stage + 1}, {"curves", of_stage}});
  }
  return list;
}

double mean_rank(const std::vector<Choice>& choices) {
  std::vector<double> ranks;
  for (const Choice& choice : choices) ranks.push_back(choice.rank_correlation());
  return mean(ranks);
}

Json errors_json(const Validation& validation) {
  const FitQuality quality = quality_of(validation.points, "");
  const Regret regret = regret_of(validation.granularities);
  return {{"runs", quality.points},
          {"mape", quality.mape},
          {"within_5", quality.within_5},
          {"within_10", quality.within_10},
          {"within_15", quality.within_15},
          {"spearman_mean", mean_rank(validation.granularities)},
          {"regret_mean", regret.chosen_mean},
          {"regret_max", regret.chosen_max},
          {"best_fixed_regret_mean", regret.fixed_mean},
          {"noise", validation.noise}};
}

Json points_json(const Validation& validation) {
  Json points = Json::array();
  for (const ValidationPoint& point : validation.points) {
    if (point.granularity == 0) continue;
    points.push_back({{"stage", point.stage + 1},
                      {"granularity", point.granularity},
                      {"rate", point.rate},
                      {"measured_ms", 1e3 * point.measured_s},
                      {"predicted_ms", 1e3 * point.predicted_s}});
  }
  return points;
}

/// What is predicted of a network on this hardware at this rate, and which S are chosen.
Json search_json(const Setup& setup, const HardwareProfile& hardware, double rate) {
  const LatencyQuery query{.size = setup.size, .batch = hardware.usual_batch(), .rate = rate};
  const GranularitySearch found =
      search_granularity(setup.model.spec.arch, hardware, query, {.granularities = kCandidates});
  Json stages = Json::array();
  for (const SearchCurve& curve : found.curves) {
    if (stages.empty() || stages.back()["stage"] != curve.stage + 1)
      stages.push_back(
          {{"stage", curve.stage + 1}, {"static_ms", 1e3 * curve.static_s}, {"curves", Json::array()}});
    std::vector<double> ms;
    for (const double seconds : curve.seconds) ms.push_back(1e3 * seconds);
    stages.back()["curves"].push_back({{"granularity", granularity_json(curve.granularity)},
                                       {"ms", ms},
                                       {"ms_at_rate", 1e3 * curve.seconds_at_rate},
                                       {"chosen", curve.chosen},
                                       {"coarse", curve.coarse}});
  }
  return {{"name", hardware.name},
          {"description", hardware.description},
          {"source", hardware.source},
          {"kind", to_string(hardware.kind())},
          {"batch", query.batch},
          {"granularity", granularity_to_string(found.granularity)},
          {"static_ms", 1e3 * found.latency.static_s},
          {"dynamic_ms", 1e3 * found.latency.dynamic_s},
          {"speedup", found.latency.speedup()},
          {"rates", found.rates},
          {"stages", stages}};
}

}  // namespace

Json measure_prediction(const Setup& setup, const Told& told) {
  const double rate = usual_rate(setup);
  const Validation validation = validate_granularities(cpu_of(setup.host),
                                                       {.arch = setup.model.spec.arch,
                                                        .size = setup.size,
                                                        .granularities = kCandidates,
                                                        .repeat = setup.repetitions.study},
                                                       told);
  Json others = Json::array();
  for (const HardwareProfile& other : setup.others) others.push_back(search_json(setup, other, rate));
  return {{"command", fmt::format("lasnet validate-predictor --network {} --repeat {}", setup.options.model,
                                  setup.repetitions.study)},
          {"architecture", setup.model.spec.arch.name},
          {"granularity", granularity_to_string(setup.model.spec.arch.granularity)},
          {"size", {setup.size.height, setup.size.width}},
          {"rate", rate},
          {"errors", errors_json(validation)},
          {"stages", measured_stages(validation.granularities)},
          {"points", points_json(validation)},
          {"here", search_json(setup, setup.host, rate)},
          {"elsewhere", others}};
}

}  // namespace lasnet::cli
