// The figures of a run for TensorBoard: each phase is one of its runs, with a point per epoch.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "train/event_file.h"
#include "train/train.h"

namespace lasnet {

class BoardLog {
 public:
  /// Writes into folders below `folder`. `settings` are shown beside the curves, `blocks` name the rates.
  BoardLog(std::string folder, std::string settings, std::vector<std::string> blocks)
      : folder_(std::move(folder)), settings_(std::move(settings)), blocks_(std::move(blocks)) {}

  /// Throws Error if it cannot be written.
  void add(const EpochInfo& info);

 private:
  EventFile& file_of(const EpochInfo& info);

  std::string folder_, settings_;
  std::vector<std::string> blocks_;
  std::map<std::string, EventFile> files_;  ///< by phase
};

/// The settings as a table of Markdown.
std::string settings_table(const TrainConfig& config);

/// The points of an epoch.
std::vector<Scalar> scalars_of(const EpochInfo& info, const std::vector<std::string>& blocks);

/// Removes what earlier runs wrote below `folder`.
void remove_board_logs(const std::string& folder);

}  // namespace lasnet
