#include "train/budget.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "train/config.h"
#include "train/curves.h"

namespace lasnet {
namespace {

constexpr int kIncrements = 400;
constexpr int kNoiseSamples = 64;
constexpr double kUnmovedRate = 0.99;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// The mean over logistic noise of the straight-through gradient of a patch's decision.
double mean_slope(double difference, double temperature) {
  double sum = 0;
  for (int i = 0; i < kNoiseSamples; ++i) {
    const double u = (i + 0.5) / kNoiseSamples;
    const double soft = sigmoid((difference + std::log(u / (1 - u))) / temperature);
    sum += soft * (1 - soft) / temperature;
  }
  return sum / kNoiseSamples;
}

/// Of the budget and the bounds, with respect to one block's rate, where all blocks have the same.
double budget_gradient(const TrainConfig& config, const MaskerTraining& schedule, double rate,
                       double progress) {
  const Bounds bounds = ratio_bounds(schedule.target, progress);
  const double excess = 1 - schedule.dynamic_share + schedule.dynamic_share * rate - schedule.target;
  const double network = 2 * excess * schedule.dynamic_share * schedule.gradient_share;
  const double outside = std::max(rate - bounds.up, 0.0) - std::max(bounds.low - rate, 0.0);
  return config.lambda_flops * (network + 2 * outside * schedule.gradient_share) / schedule.blocks;
}

/// To three digits by `round`, so that what is printed can be given.
template <typename Round>
double to_three_digits(double ms, const Round& round) {
  const double step = std::pow(10, std::floor(std::log10(ms)) - 2);
  return round(ms / step) * step;
}

}  // namespace

Budget macs_budget(const TrainConfig& config, const ModelSpec& spec) {
  return {.cost = NetworkCost::macs(spec, {config.size, config.size}), .target = config.target};
}

Budget time_budget(const TrainConfig& config, const ModelSpec& spec, const Deployment& deployment) {
  Budget budget{.cost = NetworkCost::time(spec, deployment)};
  const double static_ms = *budget.cost.milliseconds({});
  const double least_ms = budget.cost.least() * static_ms;
  const auto asked = [&] {
    return fmt::format("{} {:g}: on {}, at {} px, {}", setting_name("budget_ms"), config.budget_ms,
                       to_text(deployment), config.size, spec.arch.name);
  };
  if (config.budget_ms < least_ms)
    fail("{} is predicted to take {:.3g} ms even where nothing is active; give at least that", asked(),
         to_three_digits(least_ms, [](double steps) { return std::ceil(steps); }));
  if (config.budget_ms > static_ms)
    fail("{} is predicted to take {:.3g} ms without masks; give at most that", asked(),
         to_three_digits(static_ms, [](double steps) { return std::floor(steps); }));
  budget.target = config.budget_ms / static_ms;
  return budget;
}

double forecast_rate(const TrainConfig& config, const MaskerTraining& schedule) {
  const double steps = static_cast<double>(schedule.steps) / kIncrements;
  // Both logits move, the one up and the other down.
  const double reach = 2 * steps * config.masker_lr_multiplier * schedule.gain / (1 - config.momentum);
  double difference = schedule.bias;
  for (int i = 0; i < kIncrements; ++i) {
    const double rate = sigmoid(difference);
    if (rate <= schedule.target) return schedule.target;
    const double progress = (i + 0.5) / kIncrements;
    const auto step = static_cast<int64_t>(progress * static_cast<double>(schedule.steps));
    const double temperature =
        exponential_decay(config.gumbel_start, config.gumbel_end, step, schedule.steps);
    difference -= reach * cosine_lr(schedule.lr, step, schedule.steps, 0) *
                  budget_gradient(config, schedule, rate, progress) * mean_slope(difference, temperature);
  }
  return sigmoid(difference);
}

MaskerTraining masker_training(const TrainConfig& config, const Budget& budget, const MaskerStart& start) {
  double fixed = budget.cost.fixed(), dilated = 0, active = 0;
  for (const BlockCost& block : budget.cost.blocks()) {
    const BlockCost::Terms terms = block.overall();
    fixed += terms.always;
    dilated += terms.dilated;
    active += terms.active;
  }
  const double masked = dilated + active;
  const double felt = config.straight_through_dilation ? masked : active;
  return {.target = budget.target,
          .unit = budget.cost.unit(),
          .bias = start.bias,
          .steps = start.steps,
          .lr = start.lr,
          .blocks = static_cast<int>(budget.cost.blocks().size()),
          .dynamic_share = masked / (fixed + masked),
          .gradient_share = felt / std::max(masked, 1e-9),
          .gain = start.gain};
}

std::string masker_forecast(const TrainConfig& config, const MaskerTraining& schedule) {
  if (config.hold_budget) return {};
  constexpr double kMaxMultiplier = 1000;
  const double halfway = (sigmoid(schedule.bias) + schedule.target) / 2;
  const double rate = forecast_rate(config, schedule);
  if (rate <= std::max(halfway, schedule.target)) return {};
  TrainConfig faster = config;
  faster.masker_lr_multiplier = std::max(config.masker_lr_multiplier, 0.01);
  while (forecast_rate(faster, schedule) > halfway && faster.masker_lr_multiplier < kMaxMultiplier)
    faster.masker_lr_multiplier *= 2;
  return fmt::format(
      "{} steps at {} {:g} are too few for the maskers: from a bias of {:g} they are expected to keep about "
      "{:.0f} % of the patches at the end, for a target of {:.0f} % of the {}; {}",
      schedule.steps, setting_name("masker_lr_multiplier"), config.masker_lr_multiplier, schedule.bias,
      100 * rate, 100 * schedule.target, schedule.unit,
      faster.masker_lr_multiplier < kMaxMultiplier
          ? fmt::format("give {} {:g} or more, or more {}", setting_name("masker_lr_multiplier"),
                        faster.masker_lr_multiplier, setting_name("epochs"))
          : fmt::format("give more {}", setting_name("epochs")));
}

std::string unreachable_target(const TrainConfig& config, const Budget& budget) {
  const double least = budget.cost.least();
  if (budget.target >= least) return {};
  return fmt::format(
      "{} {:g} cannot be met: without any active patch this network computes {:.3f} of the static one's MACs "
      "at "
      "{} px; give more than that",
      setting_name("target"), budget.target, std::ceil(1e3 * least) / 1e3, config.size);
}

bool meets_budget(double ratio, double target) { return std::abs(ratio - target) <= kBudgetTolerance; }

std::string budget_advice(const TrainConfig& config, double target, double ratio,
                          const std::vector<double>& rates) {
  if (meets_budget(ratio, target)) return {};
  if (ratio < target) {
    return fmt::format("masks without noise keep less than was asked for: raise {}, or lower {}",
                       setting_name(config.budget_ms > 0 ? "budget_ms" : "target"),
                       setting_name("masker_lr_multiplier"));
  }
  const bool unmoved = std::ranges::all_of(rates, [](double rate) { return rate >= kUnmovedRate; });
  if (unmoved) {
    return fmt::format("the maskers keep every patch still: raise {} (it was {:g}), or give more {}",
                       setting_name("masker_lr_multiplier"), config.masker_lr_multiplier,
                       setting_name("epochs"));
  }
  return fmt::format("raise {} or {}, or give more {}{}", setting_name("lambda_flops"),
                     setting_name("masker_lr_multiplier"), setting_name("epochs"),
                     config.straight_through_dilation
                         ? ""
                         : fmt::format("; {} lets the first convolutions feel the budget",
                                       setting_name("straight_through_dilation")));
}

}  // namespace lasnet
