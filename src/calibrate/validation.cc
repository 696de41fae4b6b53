#include "calibrate/validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/fail.h"
#include "base/statistics.h"

namespace lasnet {
namespace {

/// Rates that blocks run at; 0 and 1 are the ends of the curves that choices are interpolated from.
const std::vector<double> kRates = {0.1, 0.5, 0.9, 0.25, 0, 0.65, 0.4, 1, 0.8};
/// A run of a small network is repeated until it has been measured for so long per repetition asked for.
constexpr double kMinSeconds = 0.04;
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

/// One way to run a stage's identity blocks.
struct StageSetting {
  int granularity = 1;
  BlockSchedule plan;

  std::string schedule_name() const {
    const std::string names = to_string(plan);
    return names.substr(0, names.rfind(','));  // without the break-even
  }
  std::string name() const { return fmt::format("S {}, {}", granularity, schedule_name()); }
};

/// What is known of a setting in one stage: measured times against the rate, and the blocks that they were
/// measured on, one sample of each.
struct SettingCurve {
  StageSetting setting;
  bool usual = false;  ///< what blocks of that S run unless told otherwise
  Curve curve;
  std::map<size_t, const Sample*> blocks;

  Choice::Option option(std::string name, double rate, const CpuContext& context) const {
    const Sample& any = *blocks.begin()->second;
    const BlockActivity activity = independent_activity(any.geometry, any.batch, rate);
    const auto patches = static_cast<double>(any.geometry.grid.patches() * any.batch);
    double predicted = 0;
    for (const auto& [index, sample] : blocks) {  // blocks differ in what they do with the sums of patches
      predicted += expected_seconds({sample->spec, sample->geometry, context, sample->program}, activity);
    }
    return {std::move(name), curve.expected(activity, patches),
            predicted / static_cast<double>(blocks.size())};
  }
};

/// By stage: the default schedule of every S first.
std::map<int, std::vector<SettingCurve>> setting_curves(const std::vector<MeasuredRun>& runs,
                                                        double reference_s) {
  std::map<int, std::vector<SettingCurve>> stages;
  for (const MeasuredRun& run : runs) {
    for (const Sample& sample : run.samples) {
      if (!sample.dynamic || sample.spec.projection) continue;
      const int granularity = sample.spec.granularity;
      if (granularity > std::max(sample.geometry.output.height, sample.geometry.output.width)) continue;
      if (sample.plan != feasible_schedule(sample.spec, run.of.schedule)) continue;
      if (sample.plan == BlockSchedule{} && run.of.schedule != BlockSchedule{}) continue;  // could not run it
      std::vector<SettingCurve>& settings = stages[sample.spec.stage];
      auto found = std::find_if(settings.begin(), settings.end(), [&](const SettingCurve& known) {
        return known.setting.granularity == granularity && known.setting.plan == sample.plan;
      });
      if (found == settings.end()) {
        found = settings.insert(settings.end(), {.setting = {granularity, sample.plan},
                                                 .usual = run.of.schedule == BlockSchedule{},
                                                 .curve = {},
                                                 .blocks = {}});
      }
      found->curve.add(sample.activity.rate, sample.quiet() * reference_s);
      found->blocks[*sample.block] = &sample;
    }
  }
  return stages;
}

size_t least_predicted(const std::vector<Choice::Option>& options) {
  const auto less = [](const Choice::Option& a, const Choice::Option& b) {
    return a.predicted_s < b.predicted_s;
  };
  return static_cast<size_t>(std::min_element(options.begin(), options.end(), less) - options.begin());
}

/// As the engine chooses: the default, which comes first, unless another is clearly faster.
size_t chosen_schedule(const std::vector<Choice::Option>& options) {
  const size_t least = least_predicted(options);
  return options[least].predicted_s < (1 - kClearGain) * options[0].predicted_s ? least : 0;
}

/// The choices of one stage at one rate.
void add_choices(int stage, double rate, const std::vector<SettingCurve>& settings, const CpuContext& context,
                 Validation& validation) {
  Choice granularities{.stage = stage, .rate = rate, .options = {}};
  Choice everything = granularities;
  std::map<int, Choice> schedules;
  for (const SettingCurve& setting : settings) {
    const Choice::Option option = setting.option(setting.setting.name(), rate, context);
    everything.options.push_back(option);
    if (setting.usual) {
      granularities.options.push_back(option);
      granularities.options.back().name = fmt::format("S {}", setting.setting.granularity);
    }
    Choice& of_granularity =
        schedules.try_emplace(setting.setting.granularity, Choice{stage, rate, {}}).first->second;
    of_granularity.options.push_back(option);
    of_granularity.options.back().name = setting.setting.schedule_name();
  }
  granularities.chosen = least_predicted(granularities.options);
  const std::string chosen_granularity = granularities.options[granularities.chosen].name;
  for (auto& [granularity, choice] : schedules) {
    choice.chosen = chosen_schedule(choice.options);
    if (fmt::format("S {}", granularity) == chosen_granularity) {
      const std::string pair = chosen_granularity + ", " + choice.options[choice.chosen].name;
      while (everything.options[everything.chosen].name != pair) ++everything.chosen;
    }
    validation.schedules.push_back(std::move(choice));
  }
  validation.granularities.push_back(std::move(granularities));
  validation.everything.push_back(std::move(everything));
}

/// Other schedules than the default: one choice changed in each.
std::vector<BlockSchedule> other_schedules() {
  return {{.masker = MaskerSchedule::separate},
          {.masker = MaskerSchedule::with_conv1},
          {.gather = GatherSchedule::copied},
          {.scatter = ScatterSchedule::separate},
          {.traversal = Traversal::row_bands}};
}

double predicted_seconds(const MeasuredRun& run, const CpuHardware& hardware) {
  double sum = 0;
  for (const Sample& sample : run.samples) sum += seconds(sample.counts, hardware);
  return sum;
}

/// A network that is run whole, at every rate.
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
    std::vector<BlockSchedule> schedules;  // int8 kernels have the default one alone
    if (hardware_.precision() == Precision::fp32) schedules = other_schedules();
    if (options_.quick && !schedules.empty()) schedules.resize(1);
    schedules.insert(schedules.begin(), BlockSchedule{});
    const std::vector<NetworkCase> networks = network_cases();
    steps_ = granularities.size() * schedules.size() + networks.size() + 2;
    compare_settings(
        {.arch = network("resnet50", {}), .offsets = offsets(options_.quick ? 2 : kRates.size())},
        granularities, schedules);
    add_points(
        measure({.arch = network("regnet_y_800mf", {4, 4, 7, 1}), .rates = kRates, .offsets = {0, 4, 7}}));
    add_points(
        measure({.arch = network("regnet_y_400mf", {1, 2, 2, 7}), .rates = kRates, .offsets = {0, 5}}));
    for (const NetworkCase& of_case : networks) compare_network(of_case);
    return finished();
  }

  Validation run(const GranularityStudy& study) {
    steps_ = study.granularities.size();
    compare_settings({.arch = study.arch, .size = study.size, .offsets = offsets(kRates.size())},
                     study.granularities, {BlockSchedule{}});
    return finished();
  }

 private:
  /// The deals of rates. With all of them every block meets every rate, so that curves compare blocks with
  /// themselves.
  static std::vector<int> offsets(size_t count) {
    std::vector<int> all(count);
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  /// Every granularity under every schedule, and the choices between them.
  void compare_settings(MeasuredCase measured, const std::vector<int>& granularities,
                        const std::vector<BlockSchedule>& schedules) {
    std::vector<MeasuredRun> runs;
    measured.rates = kRates;
    for (const int s : granularities) {
      measured.arch.granularity = {s, s, s, s};
      for (const BlockSchedule& schedule : schedules) {
        measured.schedule = schedule;
        append(runs, measure(measured));
      }
    }
    add_points(runs);
    for (const auto& [stage, settings] : setting_curves(runs, reference_s_)) {
      for (const double rate : kChoiceRates)
        add_choices(stage, rate, settings, context_of(runs.front()), validation_);
    }
  }

  Validation finished() {
    std::vector<double> noises;
    for (const ValidationPoint& point : validation_.points) noises.push_back(point.noise);
    validation_.noise = median(std::move(noises));
    return std::move(validation_);
  }

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
    return measure_case(measured,
                        {.min_repeat = options_.repeat,
                         .max_repeat = options_.repeat,
                         .min_seconds = kMinSeconds * options_.repeat,
                         .seed = options_.seed},
                        hardware_,
                        [&](double share) { progress_(std::min(1.0, (done + share) / steps), name); });
  }

  void add_points(const std::vector<MeasuredRun>& runs) {
    for (const MeasuredRun& run : runs) {
      for (const Sample& sample : run.samples) {
        if (!sample.block) continue;
        validation_.points.push_back({.network = sample.network,
                                      .stage = sample.spec.stage,
                                      .granularity = sample.dynamic ? sample.spec.granularity : 0,
                                      .schedule = to_string(sample.plan),
                                      .rate = sample.activity.rate,
                                      .batch = sample.batch,
                                      .threads = sample.threads,
                                      .precision = hardware_.precision(),
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
                                    .precision = hardware_.precision(),
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
    if (point.granularity == 0 || point.rate < kMinRate || !point.network.starts_with(prefix)) continue;
    predicted.push_back(point.predicted_s);
    measured.push_back(point.measured_s);
  }
  return fit_quality(predicted, measured);
}

IdleQuality idle_quality(const std::vector<ValidationPoint>& points) {
  IdleQuality quality;
  for (const ValidationPoint& point : points) {
    if (point.granularity == 0 || point.rate >= kMinRate) continue;
    ++quality.points;
    quality.error_s += std::abs(point.predicted_s - point.measured_s);
    quality.measured_s += point.measured_s;
  }
  if (quality.points == 0) return quality;
  quality.error_s /= static_cast<double>(quality.points);
  quality.measured_s /= static_cast<double>(quality.points);
  return quality;
}

size_t Choice::best() const {
  const auto less = [](const Option& a, const Option& b) { return a.measured_s < b.measured_s; };
  return static_cast<size_t>(std::min_element(options.begin(), options.end(), less) - options.begin());
}

double Choice::rank_correlation() const {
  std::vector<double> measured, predicted;
  for (const Option& option : options) {
    measured.push_back(option.measured_s);
    predicted.push_back(option.predicted_s);
  }
  return spearman(predicted, measured);
}

Regret regret_of(const std::vector<Choice>& choices) {
  Regret regret;
  std::map<int, std::map<std::string, double>> fixed;  // stage, option: sum
  std::map<int, std::map<std::string, size_t>> offered;
  std::map<int, size_t> of_stage;
  const auto count = static_cast<double>(choices.size());
  for (const Choice& choice : choices) {
    const double chosen = choice.regret(choice.chosen);
    regret.chosen_mean += chosen / count;
    regret.chosen_max = std::max(regret.chosen_max, chosen);
    ++of_stage[choice.stage];
    for (size_t i = 0; i < choice.options.size(); ++i) {
      fixed[choice.stage][choice.options[i].name] += choice.regret(i);
      ++offered[choice.stage][choice.options[i].name];
    }
  }
  for (const auto& [stage, sums] : fixed) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [name, sum] : sums) {
      if (offered[stage][name] == of_stage[stage]) least = std::min(least, sum);
    }
    regret.fixed_mean += least / count;
  }
  return regret;
}

Validation validate_cpu(const CpuHardware& hardware, const ValidationOptions& options,
                        const ValidationProgress& progress) {
  return Validator(hardware, options, progress).run();
}

Validation validate_granularities(const CpuHardware& hardware, const GranularityStudy& study,
                                  const ValidationProgress& progress) {
  const ValidationOptions options{.repeat = study.repeat, .seed = study.seed};
  return Validator(hardware, options, progress).run(study);
}

}  // namespace lasnet
