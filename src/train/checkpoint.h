// Where a run stands, on disk: one .safetensors file with the tensors by name and everything else as JSON in
// its metadata. All random sequences are functions of (seed, phase, epoch, step), so the position is their
// whole state.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lasnet/train.h"

namespace lasnet {

/// Sums over the training batches of the current epoch.
struct EpochSums {
  double loss = 0;
  int64_t images = 0, correct = 0;
  double seconds = 0;
};

/// The position: `step` batches of `epoch` of `phase` are done.
struct RunState {
  std::string phase;
  int epoch = 0;
  int64_t step = 0;
  EpochSums sums;
  std::vector<EpochInfo> history;             ///< all finished epochs of all phases
  std::map<std::string, Evaluation> results;  ///< last evaluation by phase
};

struct Checkpoint {
  nlohmann::json recipe;  ///< recipe_json of the configuration
  std::vector<std::string> classes;
  int64_t train_images = 0;
  int threads = 0;  ///< that the run was on, which its last digits depend on; 0: not recorded
  RunState state;
  Weights weights;  ///< of the network in training
  Weights momentum;
};

/// Throws Error if it cannot be written; an older checkpoint then stays.
void save_checkpoint(const Checkpoint& checkpoint, const std::string& path);
/// Nothing if there is no such file. Throws Error if it is malformed.
std::optional<Checkpoint> load_checkpoint(const std::string& path);

nlohmann::json to_json(const Evaluation& evaluation);

}  // namespace lasnet
