// The files of a run in its output directory.
#pragma once

#include <string>

#include "train/checkpoint.h"
#include "train/train.h"

namespace lasnet {

/// The newest checkpoint that is sound.
struct FoundCheckpoint {
  Checkpoint checkpoint;
  std::string path;
  std::string problem;  ///< why it is not the newest, or empty
};

class RunFiles {
 public:
  explicit RunFiles(std::string directory) : directory_(std::move(directory)) {}

  /// Creates the directory and proves that it can be written to. Throws Error otherwise.
  void prepare() const;

  /// Removes what runs that were killed left half-written. Only while no other run writes here.
  void remove_half_written() const;

  /// Nothing if there is none. Damaged ones give way to those before them. Throws Error if there are
  /// checkpoints, but no sound one.
  std::optional<FoundCheckpoint> find_checkpoint() const;
  /// Keeps config.keep_checkpoints, this one among them, and the one before in any case until this one is
  /// written.
  void save(const Checkpoint& position) const;
  /// Removes the checkpoints: nothing goes on from there any more.
  void forget_position() const;
  /// Removes the checkpoints before the newest.
  void forget_previous() const;

  std::string checkpoint() const { return path("checkpoint.safetensors"); }
  /// The `age`-th before the newest.
  std::string previous_checkpoint(int age = 1) const;
  std::string static_model() const { return path("static.safetensors"); }
  std::string control_model() const { return path("control.safetensors"); }
  std::string dynamic_model() const { return path("model.safetensors"); }
  std::string log() const { return path("log.csv"); }
  std::string file_list() const { return path("data_files.txt"); }
  /// TensorBoard's folder.
  std::string board() const { return path("tensorboard"); }

 private:
  void make_previous(int keep) const;

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  std::string directory_;
};

/// Throws Error if the run was started with other settings, or other files for `init` and `teacher`.
void check_same_settings(const FoundCheckpoint& found, const TrainConfig& config);
void check_same_inputs(const FoundCheckpoint& found, const TrainConfig& config, const RunInputs& inputs);

/// What a run is trained on.
struct RunData {
  std::vector<std::string> classes;
  int64_t train_images = 0;
  std::string files;  ///< list_files
  Preprocessing preprocessing;
};
/// Throws Error if the run was started on other data. Returns a warning, or nothing, on files that may be
/// others. `file_list` is the path of the list that the run wrote.
std::string check_same_data(const FoundCheckpoint& found, const RunData& data, const std::string& file_list);

/// One CSV line per finished epoch, with a header; written atomically. `blocks` name the columns of r.
void write_log_csv(const std::vector<EpochInfo>& history, const std::vector<std::string>& blocks,
                   const std::string& path);

}  // namespace lasnet
