#include "calibrate/validation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/fail.h"

namespace lasnet {
namespace {

/// Rates that blocks run at; 0 and 1 are the ends of the curves that choices are interpolated from.
const std::vector<double> kRates = {0.1, 0.5, 0.9, 0.25, 0, 0.65, 0.4, 1, 0.8};
constexpr double kChoiceRates[] = {0.1, 0.25, 0.4, 0.5, 0.65, 0.8, 0.9};

ArchConfig network(const std::string& name, std::vector<int> granularity) {
  ArchConfig arch;
  arch.name = name;
  arch.granularity = std::move(granularity);
  return arch;
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    for (size_t j = i; j < end; ++j)
      result[order[j]] = (static_cast<double>(i) + static_cast<double>(end) - 1) / 2;
    i = end;
  }
  return result;
}

/// Measured time against the share of active patches, interpolated linearly; samples of equal share averaged.
class Curve {
 public:
  void add(double rate, double seconds) {
    auto& [sum, count] = points_[rate];
    sum += seconds;
    count += 1;
  }
  double at(double rate) const {
    const auto above = points_.lower_bound(rate);
    if (above == points_.end()) return value(*points_.rbegin());
    if (above == points_.begin() || above->first == rate) return value(*above);
    const auto below = std::prev(above);
    const double share = (rate - below->first) / (above->first - below->first);
    return (1 - share) * value(*below) + share * value(*above);
  }
  /// Expectation over independent patches of this rate.
  double expected(const BlockActivity& activity, double patches) const {
    return activity.mean([&](const ActiveCounts& counts) { return at(counts.patches / patches); });
  }

 private:
  using Sum = std::pair<double, double>;
  static double value(const std::pair<const double, Sum>& point) {
    return point.second.first / point.second.second;
  }

  std::map<double, Sum> points_;
};

/// The curves of one stage's identity blocks with one S.
struct StageCurve {
  Curve curve;
  const Sample* sample = nullptr;  ///< any of them: the same spec and geometry
};

/// Choices between the S of a stage, from runs of one network with every S.
std::vector<GranularityChoice> choices_from(const std::vector<MeasuredRun>& runs, double reference_s,
                                            const CpuContext& context) {
  std::map<int, std::map<int, StageCurve>> stages;
  for (const MeasuredRun& run : runs) {
    for (const Sample& sample : run.samples) {
      if (!sample.dynamic || sample.spec.projection) continue;
      const int granularity = sample.spec.granularity;
      if (granularity > std::max(sample.geometry.output.height, sample.geometry.output.width)) continue;
      StageCurve& stage = stages[sample.spec.stage][granularity];
      stage.curve.add(sample.activity.rate, sample.quiet() * reference_s);
      stage.sample = &sample;
    }
  }
  std::vector<GranularityChoice> choices;
  for (const auto& [stage, curves] : stages) {
    for (const double rate : kChoiceRates) {
      GranularityChoice choice{.stage = stage, .rate = rate, .measured_s = {}, .predicted_s = {}};
      std::vector<double> measured, predicted;
      for (const auto& [granularity, curve] : curves) {
        const Sample& sample = *curve.sample;
        const BlockActivity activity = independent_activity(sample.geometry, sample.batch, rate);
        const auto patches = static_cast<double>(sample.geometry.grid.patches() * sample.batch);
        measured.push_back(curve.curve.expected(activity, patches));
        predicted.push_back(expected_seconds(sample.spec, sample.geometry, context, activity,
                                             fit_plan(sample.spec, {}), sample.sums));
        choice.measured_s[granularity] = measured.back();
        choice.predicted_s[granularity] = predicted.back();
      }
      const auto least = [](const std::map<int, double>& times) {
        return std::min_element(times.begin(), times.end(),
                                [](const auto& a, const auto& b) { return a.second < b.second; })
            ->first;
      };
      choice.chosen = least(choice.predicted_s);
      choice.best = least(choice.measured_s);
      choice.rank_correlation = spearman(predicted, measured);
      choices.push_back(std::move(choice));
    }
  }
  return choices;
}

double predicted_seconds(const MeasuredRun& run, const CpuHardware& hardware) {
  double sum = 0;
  for (const Sample& sample : run.samples) sum += seconds(sample.counts, hardware);
  return sum;
}

/// What is run; `all_rates` are pairs of a network and its threads and batch.
struct NetworkCase {
  const char* name;
  int64_t batch;
  int threads;
};

class Validator {
 public:
  Validator(const CpuHardware& hardware, const ValidationOptions& options, const ValidationProgress& progress)
      : hardware_(hardware),
        options_(options),
        progress_(progress),
        reference_s_(reference_seconds(hardware.isa)) {}

  Validation run() {
    const std::vector<int> granularities =
        options_.quick ? std::vector{1, 4, 7} : std::vector{1, 2, 4, 7, 8, 14};
    const std::vector<int> offsets = options_.quick ? std::vector{0, 4} : std::vector{0, 2, 4, 6, 8};
    const std::vector<NetworkCase> networks = network_cases();
    steps_ = granularities.size() + networks.size() + 2;
    std::vector<MeasuredRun> resnet;
    for (const int s : granularities) {
      append(resnet,
             measure({.arch = network("resnet50", {s, s, s, s}), .rates = kRates, .offsets = offsets}));
    }
    add_points(resnet);
    validation_.choices = choices_from(resnet, reference_s_, context_of(resnet.front()));
    add_points(
        measure({.arch = network("regnet_y_800mf", {4, 4, 7, 1}), .rates = kRates, .offsets = {0, 4, 7}}));
    add_points(
        measure({.arch = network("regnet_y_400mf", {1, 2, 2, 7}), .rates = kRates, .offsets = {0, 5}}));
    for (const NetworkCase& of_case : networks) compare_network(of_case);
    std::vector<double> noises;
    for (const ValidationPoint& point : validation_.points) noises.push_back(point.noise);
    std::sort(noises.begin(), noises.end());
    validation_.noise = noises[noises.size() / 2];
    return std::move(validation_);
  }

 private:
  std::vector<NetworkCase> network_cases() const {
    if (options_.quick) return {{"resnet50", 1, 1}};
    std::vector<NetworkCase> cases;
    for (const char* name : {"resnet50", "resnet101", "regnet_y_400mf", "regnet_y_800mf"}) {
      for (const int64_t batch : {1, 8}) {
        cases.push_back({name, batch, 1});
        if (hardware_.cores > 1) cases.push_back({name, batch, 2});
      }
    }
    return cases;
  }

  CpuContext context_of(const MeasuredRun& run) const {
    return cpu_context(make_spec(run.of.arch), hardware_, run.of.batch, run.of.threads);
  }

  static void append(std::vector<MeasuredRun>& to, std::vector<MeasuredRun> from) {
    for (MeasuredRun& run : from) to.push_back(std::move(run));
  }

  std::vector<MeasuredRun> measure(const MeasuredCase& measured) {
    const std::string name = fmt::format("{} S {}, batch {}, {} thread{}", measured.arch.name,
                                         granularity_to_string(measured.arch.granularity), measured.batch,
                                         measured.threads, measured.threads == 1 ? "" : "s");
    const auto done = static_cast<double>(step_++), steps = static_cast<double>(steps_);
    return measure_case(
        measured, {.min_repeat = options_.repeat, .max_repeat = options_.repeat, .seed = options_.seed},
        hardware_, [&](double share) { progress_(std::min(1.0, (done + share) / steps), name); });
  }

  void add_points(const std::vector<MeasuredRun>& runs) {
    for (const MeasuredRun& run : runs) {
      for (const Sample& sample : run.samples) {
        if (!sample.block) continue;
        validation_.points.push_back({.network = sample.network,
                                      .stage = sample.spec.stage,
                                      .granularity = sample.dynamic ? sample.spec.granularity : 0,
                                      .rate = sample.activity.rate,
                                      .batch = sample.batch,
                                      .threads = sample.threads,
                                      .measured_s = sample.quiet() * reference_s_,
                                      .predicted_s = seconds(sample.counts, hardware_),
                                      .noise = sample.noise()});
      }
    }
  }

  void compare_network(const NetworkCase& of_case) {
    MeasuredCase measured{.arch = network(of_case.name, {4, 4, 2, 1}),
                          .batch = of_case.batch,
                          .threads = of_case.threads,
                          .rates = {0.35},
                          .offsets = {0}};
    const std::vector<MeasuredRun> dynamic = measure(measured);
    measured.arch.granularity.clear();
    measured.rates.clear();
    --step_;
    const std::vector<MeasuredRun> dense = measure(measured);
    add_points(dynamic);
    add_points(dense);
    validation_.networks.push_back({.network = of_case.name,
                                    .batch = of_case.batch,
                                    .threads = of_case.threads,
                                    .rate = 0.35,
                                    .measured_static_s = dense[0].quiet() * reference_s_,
                                    .measured_dynamic_s = dynamic[0].quiet() * reference_s_,
                                    .predicted_static_s = predicted_seconds(dense[0], hardware_),
                                    .predicted_dynamic_s = predicted_seconds(dynamic[0], hardware_)});
  }

  const CpuHardware& hardware_;
  const ValidationOptions& options_;
  const ValidationProgress& progress_;
  double reference_s_;
  size_t step_ = 0, steps_ = 1;
  Validation validation_;
};

}  // namespace

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() < 2) return 1;
  const std::vector<double> x = ranks(a), y = ranks(b);
  const double mean = (static_cast<double>(a.size()) - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx == 0 || yy == 0 ? 0 : xy / std::sqrt(xx * yy);
}

FitQuality quality_of(const std::vector<ValidationPoint>& points, const std::string& prefix) {
  std::vector<double> predicted, measured;
  for (const ValidationPoint& point : points) {
    if (point.granularity == 0 || !point.network.starts_with(prefix)) continue;
    predicted.push_back(point.predicted_s);
    measured.push_back(point.measured_s);
  }
  return fit_quality(predicted, measured);
}

Regret regret_of(const std::vector<GranularityChoice>& choices) {
  Regret regret;
  std::map<int, std::map<int, std::pair<double, int>>> fixed;  // stage, S: sum, count
  const auto count = static_cast<double>(choices.size());
  for (const GranularityChoice& choice : choices) {
    const double chosen = choice.regret(choice.chosen);
    regret.chosen_mean += chosen / count;
    regret.chosen_max = std::max(regret.chosen_max, chosen);
    for (const auto& [granularity, seconds] : choice.measured_s) {
      auto& [sum, times] = fixed[choice.stage][granularity];
      sum += choice.regret(granularity);
      times += 1;
    }
  }
  for (const auto& [stage, sums] : fixed) {
    const auto least = std::min_element(sums.begin(), sums.end(), [](const auto& a, const auto& b) {
      return a.second.first < b.second.first;
    });
    regret.fixed_mean += least->second.first / count;
  }
  return regret;
}

Validation validate_cpu(const CpuHardware& hardware, const ValidationOptions& options,
                        const ValidationProgress& progress) {
  return Validator(hardware, options, progress).run();
}

}  // namespace lasnet
