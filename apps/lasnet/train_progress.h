// What `lasnet train` shows: a bar per epoch, a line after it, and the result.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "common.h"
#include "lasnet/train.h"
#include "progress.h"

namespace lasnet::cli {

class TrainProgress {
 public:
  /// Callbacks for train(); they refer to this object.
  TrainObserver observer();
  /// Removes the bar.
  void finish();

 private:
  void on_step(const StepInfo& step);
  void on_epoch(const EpochInfo& epoch);

  std::unique_ptr<Progress> bar_;
  std::string bar_label_;
  std::set<std::string> warned_;  ///< each warning is shown once
};

Json to_json(const TrainResult& result);
std::string to_text(const TrainResult& result);

}  // namespace lasnet::cli
