// `granularity = "auto"`: S per stage from predicted latency (paper section 3.3, "guide the choice of S").
#pragma once

#include "train/train.h"

namespace lasnet {

/// `config` with its granularity settled. kAutoGranularity becomes that of the run which is resumed. For a
/// new run it becomes what search_granularity chooses for config.hardware at the MAC ratio config.target.
/// The observer is told which. Throws Error on hardware that is unknown, and a target that no rate meets.
TrainConfig with_granularity(TrainConfig config, const TrainObserver& observer);

}  // namespace lasnet
