// When a checkpoint within an epoch is due.
#pragma once

#include "base/stopwatch.h"
#include "train/train.h"

namespace lasnet {

class CheckpointClock {
 public:
  explicit CheckpointClock(const TrainConfig& config)
      : seconds_(60 * config.checkpoint_minutes), steps_(config.checkpoint_steps) {}

  bool is_due_after_step() {
    ++since_;
    return (steps_ > 0 && since_ >= steps_) || (seconds_ > 0 && watch_.seconds() >= seconds_);
  }
  void restart() {
    since_ = 0;
    watch_ = Stopwatch();
  }

 private:
  double seconds_;
  int steps_, since_ = 0;
  Stopwatch watch_;
};

}  // namespace lasnet
