// What a world of several processes needs of the library that connects them.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "train/train.h"

namespace lasnet {

class ProcessGroup {
 public:
  /// An operation that goes on by itself.
  class Work {
   public:
    Work() = default;
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    virtual ~Work() = default;
    /// Returns when it is done. Throws Error, naming the process, if one is lost.
    virtual void wait() = 0;
  };

  ProcessGroup() = default;
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  /// Takes leave of the others, unless the group was abandoned.
  virtual ~ProcessGroup() = default;

  /// Replaces the values by their sum over all processes. All processes begin the same operations in the same
  /// order.
  virtual std::unique_ptr<Work> begin_sum(torch::Tensor values) = 0;
  /// Replaces the values by those of rank 0.
  virtual std::unique_ptr<Work> begin_broadcast(torch::Tensor values) = 0;
  /// Throws Error if a process is lost.
  virtual void check() = 0;
  /// Tells the others that this process ends, and why. Nothing else may be asked of the group afterwards.
  virtual void abandon(const std::string& why) = 0;
};

/// Returns when all processes have come. Throws Error, naming those that are missing, after
/// processes.join_seconds.
std::unique_ptr<ProcessGroup> join_processes(const Processes& processes);

}  // namespace lasnet
