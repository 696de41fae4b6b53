// What `lasnet train` shows: a bar per epoch, a line after it, and the result.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "output.h"
#include "progress.h"
#include "train/train.h"

namespace lasnet::cli {

class TrainProgress {
 public:
  /// `output` is the run's folder.
  explicit TrainProgress(std::string output) : output_(std::move(output)) {}

  /// Callbacks for train(); they refer to this object.
  TrainObserver observer();
  /// Removes the bar.
  void finish();

 private:
  void on_plan(const TrainPlan& plan);
  void on_step(const StepInfo& step);
  void on_epoch(const EpochInfo& epoch);
  void report_images(const EpochInfo& epoch);
  void report_constant(const char* what, const std::vector<std::string>& blocks);

  std::unique_ptr<Progress> bar_;
  std::string bar_label_;
  std::set<std::string> warned_;  ///< what was said of blocks, and warnings: shown once
  std::set<std::string> begun_;   ///< phases whose first step was announced
  std::string output_;
};

Json to_json(const TrainResult& result);
std::string to_text(const TrainResult& result);
/// Target and result in one line, and what to change.
std::string verdict(const TrainResult& result);

}  // namespace lasnet::cli
