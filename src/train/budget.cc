#include "train/budget.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "lasnet/geometry.h"
#include "lasnet/latency.h"
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
  const Bounds bounds = ratio_bounds(config.target, progress);
  const double excess = 1 - schedule.dynamic_share + schedule.dynamic_share * rate - config.target;
  const double network = 2 * excess * schedule.dynamic_share * schedule.gradient_share;
  const double outside = std::max(rate - bounds.up, 0.0) - std::max(bounds.low - rate, 0.0);
  return config.lambda_flops * (network + 2 * outside * schedule.gradient_share) / schedule.blocks;
}

}  // namespace

double forecast_rate(const TrainConfig& config, const MaskerTraining& schedule) {
  const double steps = static_cast<double>(schedule.steps) / kIncrements;
  // Both logits move, the one up and the other down.
  const double reach = 2 * steps * config.masker_lr_multiplier * schedule.gain / (1 - config.momentum);
  double difference = schedule.bias;
  for (int i = 0; i < kIncrements; ++i) {
    const double rate = sigmoid(difference);
    if (rate <= config.target) return config.target;
    const double progress = (i + 0.5) / kIncrements;
    const auto step = static_cast<int64_t>(progress * static_cast<double>(schedule.steps));
    const double temperature =
        exponential_decay(config.gumbel_start, config.gumbel_end, step, schedule.steps);
    difference -= reach * cosine_lr(schedule.lr, step, schedule.steps, 0) *
                  budget_gradient(config, schedule, rate, progress) * mean_slope(difference, temperature);
  }
  return sigmoid(difference);
}

MaskerTraining masker_training(const TrainConfig& config, const ModelSpec& spec, const MaskerStart& start) {
  const MapSize image{config.size, config.size};
  const NetworkGeometry geometry = network_geometry(spec, image);
  double fixed = static_cast<double>(fixed_macs(spec, geometry)), dilated = 0, active = 0;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const BlockMacs::Terms terms = block_macs(spec.blocks[i], geometry.blocks[i]).terms();
    fixed += terms.always;
    dilated += terms.dilated;
    active += terms.active;
  }
  const double masked = dilated + active;
  const double felt = config.straight_through_dilation ? masked : active;
  return {.bias = start.bias,
          .steps = start.steps,
          .lr = start.lr,
          .blocks = static_cast<int>(spec.blocks.size()),
          .dynamic_share = masked / (fixed + masked),
          .gradient_share = felt / std::max(masked, 1.0),
          .gain = start.gain};
}

std::string masker_forecast(const TrainConfig& config, const MaskerTraining& schedule) {
  if (config.hold_budget) return {};
  constexpr double kMaxMultiplier = 1000;
  const double halfway = (sigmoid(schedule.bias) + config.target) / 2;
  const double rate = forecast_rate(config, schedule);
  if (rate <= std::max(halfway, config.target)) return {};
  TrainConfig faster = config;
  faster.masker_lr_multiplier = std::max(config.masker_lr_multiplier, 0.01);
  while (forecast_rate(faster, schedule) > halfway && faster.masker_lr_multiplier < kMaxMultiplier)
    faster.masker_lr_multiplier *= 2;
  return fmt::format(
      "{} steps at {} {:g} are too few for the maskers: from a bias of {:g} they are expected to keep about "
      "{:.0f} % of the patches at the end, for a target of {:.0f} % of the MACs; {}",
      schedule.steps, setting_name("masker_lr_multiplier"), config.masker_lr_multiplier, schedule.bias,
      100 * rate, 100 * config.target,
      faster.masker_lr_multiplier < kMaxMultiplier
          ? fmt::format("give {} {:g} or more, or more {}", setting_name("masker_lr_multiplier"),
                        faster.masker_lr_multiplier, setting_name("epochs"))
          : fmt::format("give more {}", setting_name("epochs")));
}

std::string unreachable_target(const TrainConfig& config, const ModelSpec& spec) {
  const double least = expected_macs_ratio(spec, {config.size, config.size}, /*rate=*/0);
  if (config.target >= least) return {};
  return fmt::format(
      "{} {:g} cannot be met: without any active patch this network computes {:.3f} of the static one's MACs "
      "at "
      "{} px; give more than that",
      setting_name("target"), config.target, std::ceil(1e3 * least) / 1e3, config.size);
}

bool meets_budget(double macs_ratio, double target) {
  return std::abs(macs_ratio - target) <= kBudgetTolerance;
}

std::string budget_advice(const TrainConfig& config, const Evaluation& reached) {
  if (meets_budget(reached.macs_ratio, config.target)) return {};
  if (reached.macs_ratio < config.target) {
    return fmt::format("masks without noise keep less than was asked for: raise {}, or lower {}",
                       setting_name("target"), setting_name("masker_lr_multiplier"));
  }
  const bool unmoved = std::ranges::all_of(reached.rates, [](double rate) { return rate >= kUnmovedRate; });
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
