// The order of a run: data, static network, static control, dynamic network.
#pragma once

#include <optional>

#include "train/run_files.h"
#include "train/world.h"

namespace lasnet {

struct TrainedRun {
  RunState state;
  bool completed = false;  ///< else it was asked to stop, and `state` is where
};

/// Trains from where `found` stands, or from the beginning; `inputs` are the digests of the files that config
/// names; `device` is what its device comes to in this process. Rank 0 alone touches the files. All
/// references must outlive the call.
TrainedRun run_trainer(const TrainConfig& config, torch::Device device, const RunInputs& inputs,
                       std::optional<FoundCheckpoint> found, const RunFiles& files, World& world,
                       const TrainObserver& observer);

}  // namespace lasnet
