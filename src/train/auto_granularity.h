// `granularity = "auto"`: S per stage from predicted latency (paper section 3.3, "guide the choice of S").
#pragma once

#include "train/deployment.h"

namespace lasnet {

/// What search_granularity chooses for the deployment, at the MAC ratio config.target or within
/// config.budget_ms. The observer is told. Throws Error on a target or budget that no rate meets.
std::vector<int> searched_granularity(const TrainConfig& config, const Deployment& deployment,
                                      const TrainObserver& observer);

}  // namespace lasnet
