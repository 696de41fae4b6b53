// Where the trained network is to run: what `granularity = "auto"` chooses for, and what a budget in
// milliseconds is of.
#pragma once

#include "lasnet/latency.h"
#include "train/train.h"

namespace lasnet {

struct Deployment {
  HardwareProfile hardware;
  LatencyQuery query;    ///< size, batch, threads and precision
  bool is_here = false;  ///< this machine's CPU, where the trained network can be timed
};

/// What config.hardware names, else what is known of this machine's CPU. The observer is told of a
/// calibration that cannot be used. Throws Error on hardware that is unknown, and on what it cannot predict.
Deployment deployment_of(const TrainConfig& config, const TrainObserver& observer);
/// The same with a profile that is at hand.
Deployment deployment_of(const TrainConfig& config, HardwareProfile hardware);

/// "tx2, batches of 1, fp16".
std::string to_text(const Deployment& deployment);

/// Throws Error on hardware that is unknown or cannot predict this, and on a budget in milliseconds that no
/// masks meet. What the search for a granularity would refuse is left to it. Nothing is read but profiles.
void check_deployment(const TrainConfig& config);

}  // namespace lasnet
