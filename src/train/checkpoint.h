// Where a run stands, on disk: one .safetensors file with the tensors by name and everything else as JSON in
// its metadata. All random sequences are functions of (seed, phase, epoch, step), so the position is their
// whole state.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "train/deployment.h"
#include "train/record.h"
#include "train/train.h"

namespace lasnet {

inline constexpr const char* kPretrain = "pretrain";
inline constexpr const char* kControl = "control";
inline constexpr const char* kFinetune = "finetune";
inline constexpr const char* kDone = "done";
inline constexpr std::array kPhaseOrder = {kPretrain, kControl, kFinetune, kDone};

/// Sums over the training batches of the current epoch.
struct EpochSums {
  double loss = 0;
  double macs_ratio = 0;
  int64_t images = 0, correct = 0;
  double seconds = 0;
  LossParts losses;
  ImageFigures from;  ///< of this process
};

/// The position: `step` batches of `epoch` of `phase` are done.
struct RunState {
  std::string phase = kPretrain;
  int epoch = 0;
  int64_t step = 0;
  EpochSums sums;
  std::vector<EpochInfo> history;             ///< all finished epochs of all phases
  std::map<std::string, Evaluation> results;  ///< last evaluation by phase
};

/// What a run begins with beside its settings; empty where there is none.
struct RunInputs {
  std::string init, teacher;  ///< SHA-256 of the files
  std::string hardware;  ///< the profile that milliseconds are predicted from, as hardware_to_toml has it

  /// Of a run with a budget in milliseconds.
  std::optional<Deployment> deployment(const TrainConfig& config) const;

  bool operator==(const RunInputs&) const = default;
};

struct Checkpoint {
  TrainConfig config;  ///< of the run, whose thread count its last digits depend on
  int processes = 1;   ///< so do these
  RunInputs inputs;
  std::vector<std::string> classes;
  int64_t train_images = 0;
  std::string file_list;  ///< SHA-256 of list_files
  Preprocessing preprocessing;
  RunState state;
  Weights weights;  ///< of the network in training
  Weights momentum;
};

/// Throws Error if it cannot be written, or a value is not finite; an older checkpoint then stays.
void save_checkpoint(const Checkpoint& checkpoint, const std::string& path);
/// Nothing if there is no such file. Throws Error if it is malformed, its bytes are not those that were
/// written, or a value is out of its range.
std::optional<Checkpoint> load_checkpoint(const std::string& path);

/// All but the tensors, and back. Throws Error if a value is missing or out of its range.
nlohmann::json facts_of(const Checkpoint& checkpoint);
Checkpoint checkpoint_from(const Record& facts);

/// How long a run is.
struct RunExtent {
  int epochs = 0;                ///< of the phase
  int64_t steps = 0, batch = 0;  ///< of an epoch; images in a step
  size_t blocks = 0;             ///< dynamic ones
};
/// Throws Error if the position is none of such a run; `origin` names the file.
void check_position(const RunState& state, const RunExtent& extent, const std::string& origin);

nlohmann::json to_json(const Evaluation& evaluation);
nlohmann::json to_json(const Preprocessing& preprocessing);

}  // namespace lasnet
