// What a sweep's networks do on the validation images, how long they take here, and are predicted to take
// elsewhere.
#pragma once

#include <functional>
#include <vector>

#include "sweep_plan.h"
#include "sweep_results.h"

namespace lasnet::cli {

/// The static network's result, and those of the runs, in the order of the plan.
struct SweepTrained {
  TrainResult still;
  std::vector<TrainResult> runs;
};

/// Every network's row. What was evaluated before an interruption is kept in the sweep's folder. Nothing is
/// returned once `stop`, asked before each batch, says so.
std::optional<SweepResults> evaluate_sweep(const SweepPlan& plan, const SweepOptions& options,
                                           const SweepTrained& trained, const std::function<bool()>& stop);

}  // namespace lasnet::cli
