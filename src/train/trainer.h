// The order of a run: data, static network, static control, dynamic network.
#pragma once

#include <optional>

#include "train/run_files.h"
#include "train/world.h"

namespace lasnet {

/// Trains from where `found` stands, or from the beginning; `inputs` are the digests of the files that config
/// names. Rank 0 alone touches the files. All references must outlive the call.
TrainResult run_trainer(const TrainConfig& config, const RunInputs& inputs,
                        std::optional<FoundCheckpoint> found, const RunFiles& files, World& world,
                        const TrainObserver& observer);

/// What a run came to, as its state says.
TrainResult result_of(const RunState& state, const TrainConfig& config, const RunFiles& files,
                      bool completed);

}  // namespace lasnet
