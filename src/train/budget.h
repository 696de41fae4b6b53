// What a run is held to, MACs or milliseconds. Whether the masks come to it: predicted from the schedule,
// judged at the end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/network_cost.h"
#include "train/train.h"

namespace lasnet {

struct Budget {
  NetworkCost cost;
  double target = 1;  ///< cost over that of the static network
};

/// config.target, of the MACs.
Budget macs_budget(const TrainConfig& config, const ModelSpec& spec);
/// config.budget_ms, of what is predicted there. Throws Error if no masks meet it, or the static network
/// does.
Budget time_budget(const TrainConfig& config, const ModelSpec& spec, const Deployment& deployment);

/// What the forecast has to know of a network and its schedule.
struct MaskerTraining {
  double target = 0.5;        ///< of the budget
  std::string unit = "MACs";  ///< what the target is a share of
  double bias = 0;            ///< logit difference that the maskers start with
  int64_t steps = 0;          ///< of fine-tuning
  double lr = 0;              ///< peak, for this batch size
  int blocks = 1;             ///< dynamic ones
  double dynamic_share = 1;   ///< of the static network's cost that masks decide on ...
  double gradient_share = 1;  ///< ... and of those, that give them a gradient
  double gain =
      1;  ///< how much further a step moves a patch's logits than its masker's bias (features count)
};

/// What is known of a fine-tuning before its first step.
struct MaskerStart {
  double bias = 0;
  int64_t steps = 0;
  double lr = 0;
  double gain = 1;  ///< as MaskerTraining::gain
};
/// With what the network's cost says of its maskers.
MaskerTraining masker_training(const TrainConfig& config, const Budget& budget, const MaskerStart& start);

/// The share of patches that sampled masks would keep at the end, if the budget's gradient alone moved them.
/// It solves an ordinary differential equation for the logit difference that all blocks share.
double forecast_rate(const TrainConfig& config, const MaskerTraining& schedule);

/// A warning if maskers are not expected to come half of the way to the target within their steps. It names
/// the multiplier of the learning rate that would do. Empty if they are.
std::string masker_forecast(const TrainConfig& config, const MaskerTraining& schedule);

/// A warning if no masks meet a target of MACs: stem, head, static blocks, projections and maskers take more.
/// Empty if some do.
std::string unreachable_target(const TrainConfig& config, const Budget& budget);

/// Noise-free ratios within this of the target have met it.
inline constexpr double kBudgetTolerance = 0.05;

bool meets_budget(double ratio, double target);

/// What to change so that another run comes closer to the target; empty if `ratio`, the cost that masks of
/// these rates have, has met it.
std::string budget_advice(const TrainConfig& config, double target, double ratio,
                          const std::vector<double>& rates);

}  // namespace lasnet
