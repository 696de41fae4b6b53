// What the processes of a run have to have in common, compared before its first step.
#pragma once

#include <optional>

#include "train/run_files.h"
#include "train/world.h"

namespace lasnet {

/// All throw the same Error in every process, naming the rank and what differs.
void check_same_program(World& world);
void check_same_settings_everywhere(World& world, const TrainConfig& config, const RunInputs& inputs);
void check_same_data_everywhere(World& world, const RunData& data);

/// What rank 0 has found, for all.
std::optional<FoundCheckpoint> broadcast(World& world, std::optional<FoundCheckpoint> found);

}  // namespace lasnet
