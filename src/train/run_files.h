// The files of a run in its output directory.
#pragma once

#include <string>

#include "lasnet/train.h"
#include "train/checkpoint.h"

namespace lasnet {

class RunFiles {
 public:
  /// Creates the directory and proves that it can be written to. Throws Error otherwise.
  explicit RunFiles(std::string directory);

  /// Removes what runs that were killed left half-written. Only while no other run writes here.
  void remove_half_written() const;

  /// Removes the checkpoint: nothing goes on from there any more.
  void forget_position() const;

  std::string checkpoint() const { return path("checkpoint.safetensors"); }
  std::string static_model() const { return path("static.safetensors"); }
  std::string control_model() const { return path("control.safetensors"); }
  std::string dynamic_model() const { return path("model.safetensors"); }
  std::string log() const { return path("log.csv"); }

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  std::string directory_;
};

/// Throws Error if `checkpoint` was written by another recipe or on other data than the run's: `recipe`,
/// `classes` and `train_images` now; `origin` names the file.
void check_resumable(const Checkpoint& checkpoint, const nlohmann::json& recipe,
                     const std::vector<std::string>& classes, int64_t train_images,
                     const std::string& origin);

/// One CSV line per finished epoch, with a header; written atomically. `blocks` name the columns of r.
void write_log_csv(const std::vector<EpochInfo>& history, const std::vector<std::string>& blocks,
                   const std::string& path);

}  // namespace lasnet
