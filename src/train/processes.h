// Which of several processes this one is, as torchrun and its kin tell it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "train/train.h"

namespace lasnet {

/// The value of an environment variable, or nothing.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// Reads RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. A process alone without WORLD_SIZE.
/// Throws Error if a variable is missing or makes no sense, naming it.
Processes processes_from(const Environment& environment);

/// Throws Error if these processes cannot share such a run.
void check_processes(const Processes& processes, const TrainConfig& config);

}  // namespace lasnet
