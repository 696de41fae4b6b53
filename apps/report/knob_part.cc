// One model at many thresholds: from nothing that maskers can leave out to everything.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "accuracy.h"
#include "classes.h"
#include "parts.h"

namespace lasnet::cli {
namespace {

/// Of the logit differences: the outermost ones would stretch the axis for nothing.
constexpr double kQuantiles[] = {0.03, 0.12, 0.25, 0.37, 0.5, 0.62, 0.75, 0.87, 0.97};

/// A setting of the thresholds, and what its file says of it.
struct Setting {
  std::vector<float> thresholds;
  Json recorded_top1 = nullptr;
};

/// Quantiles of the maskers' logit differences on the photographs, and the trained threshold, 0.
std::vector<float> spread_thresholds(const Setup& setup) {
  Session session(setup.model, {});
  std::vector<float> differences;
  for (const Photograph& photograph : setup.photographs) {
    const Trace trace = session.run(photograph.cropped).trace;
    for (const BlockTrace& block : trace.blocks)
      differences.insert(differences.end(), block.logit_difference.data.begin(),
                         block.logit_difference.data.end());
  }
  std::ranges::sort(differences);
  std::vector<float> thresholds = {0};
  for (const double quantile : kQuantiles) {
    const auto index = static_cast<size_t>(quantile * static_cast<double>(differences.size() - 1));
    thresholds.push_back(std::round(differences[index] * 20) / 20);
  }
  std::ranges::sort(thresholds);
  thresholds.erase(std::unique(thresholds.begin(), thresholds.end()), thresholds.end());
  return thresholds;
}

std::vector<Setting> settings_of(const Setup& setup) {
  std::vector<Setting> settings;
  for (const OperatingPoint& point : setup.model.operating_points)
    settings.push_back({point.thresholds, point.top1});
  if (!settings.empty()) return settings;
  for (const float threshold : spread_thresholds(setup)) settings.push_back({{threshold}});
  return settings;
}

/// How often a setting names the class that the dense run names, and how sure it is of that class.
struct Agreement {
  double same = 0, probability = 0;
  int runs = 0;
};

int64_t best_class(const Tensor& logits) { return top_classes(logits.data.data(), logits.size(), 1).front(); }

}  // namespace

Json measure_knob(const Setup& setup, const Told& told) {
  const bool has_labels = setup.has_labels();
  const double timing = has_labels ? 0.4 : 1;  // share of the part
  const std::vector<Setting> settings = settings_of(setup);
  Session session(setup.model, {});
  std::vector<int64_t> dense_class;
  for (const Photograph& photograph : setup.photographs)
    dense_class.push_back(
        best_class(session.run(photograph.cropped, {.dense = true, .record_masks = false}).logits));
  std::vector<Contender> contenders = {{"dense", &session, {.dense = true, .record_masks = false}}};
  for (const Setting& setting : settings)
    contenders.push_back({"thresholds", &session, {.thresholds = setting.thresholds, .record_masks = false}});
  std::vector<Agreement> agreements(contenders.size());
  const std::vector<Turns> turns = run_in_turn(
      contenders, setup.inputs(), setup.repetitions.knob,
      [&](double share, const std::string&) { told(timing * share, "thresholds"); },
      [&](size_t contender, const Result& result) {
        Agreement& agreement = agreements[contender];
        const int64_t expected = dense_class[static_cast<size_t>(agreement.runs++) % dense_class.size()];
        agreement.same += best_class(result.logits) == expected;
        agreement.probability += softmax(result.logits.data)[static_cast<size_t>(expected)];
      });
  LabelledInputs labelled;
  if (has_labels) labelled = load_labelled(setup);
  Session many(setup.model, {.threads = setup.threads});
  Json points = Json::array();
  for (size_t i = 0; i < contenders.size(); ++i) {
    const bool dense = i == 0;
    Json top1 = dense ? Json(nullptr) : settings[i - 1].recorded_top1;
    if (has_labels) {
      top1 = accuracy_of(many, labelled, contenders[i].options).top1;
      told(timing + (1 - timing) * static_cast<double>(i + 1) / static_cast<double>(contenders.size()),
           "accuracy");
    }
    points.push_back({{"dense", dense},
                      {"thresholds", dense ? Json(nullptr) : thresholds_json(settings[i - 1].thresholds)},
                      {"macs_ratio", dense ? 1.0 : mean(turns[i].macs_ratio)},
                      {"ms", quartiles_json(turns[i].ms)},
                      {"speedup", median(ratios(turns[0].ms, turns[i].ms))},
                      {"top1", top1},
                      {"same_class", agreements[i].same / agreements[i].runs},
                      {"probability", agreements[i].probability / agreements[i].runs}});
  }
  const bool tuned = !setup.model.operating_points.empty();
  return {
      {"command", fmt::format("lasnet bench {} --images {} --threshold={} --repeat {}", setup.options.model,
                              setup.options.images, tuned ? "T1,T2,..." : "T", setup.repetitions.knob)},
      {"tuned", tuned},
      {"top1_source", has_labels ? Json("measured in this run, on the images' labels")
                      : tuned    ? Json("recorded in the model file by lasnet tune")
                                 : Json(nullptr)},
      {"labelled", labelled.inputs.size()},
      {"photographs", setup.photographs.size()},
      {"points", points}};
}

}  // namespace lasnet::cli
