// The processes that train together. A run of one process is a world of one, in which every sum is the
// process's own.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "lasnet/model.h"
#include "train/process_group.h"

namespace lasnet {

/// The part of n things that a process has: [begin(n), end(n)).
struct Share {
  int64_t part = 0, parts = 1;

  int64_t begin(int64_t n) const { return n * part / parts; }
  int64_t end(int64_t n) const { return n * (part + 1) / parts; }
};

/// All processes call the same functions in the same order. Each function throws Error, naming the process,
/// if one is lost meanwhile.
class World {
 public:
  /// A world of one.
  World() = default;
  /// Waits for the others. Throws Error, naming those that are missing, after processes.join_seconds.
  explicit World(const Processes& processes);

  int size() const { return processes_.size; }
  int rank() const { return processes_.rank; }
  /// Whether it is the process that writes files and reports.
  bool leads() const { return rank() == 0; }
  /// Processes on this machine.
  int local_size() const { return processes_.local_size; }
  /// Among these.
  int local_rank() const { return processes_.local_rank; }
  Share share() const { return {rank(), size()}; }

  /// Replaces the values by their sum over the processes.
  void sum(torch::Tensor& values);
  double sum(double value);
  /// The same, while the process goes on; null in a world of one. `values` are done once it was waited for.
  std::unique_ptr<ProcessGroup::Work> begin_sum(const torch::Tensor& values);
  bool any(bool mine) { return sum(mine ? 1.0 : 0.0) > 0; }

  /// The mean over a batch, of which this process has a share of the images, `weight` of them, and their
  /// mean. Gradients reach the share: summed over the processes they are the gradient of the whole.
  torch::Tensor batch_mean(const torch::Tensor& mean_of_share, double weight);
  /// The rows of all processes: [total, ...], of which `rows` begin at `first`.
  torch::Tensor gather_rows(const torch::Tensor& rows, int64_t first, int64_t total);
  /// Every process's text, by rank.
  std::vector<std::string> gather(const std::string& text);

  // What rank 0 has, for all.
  void broadcast(std::vector<torch::Tensor> tensors);
  std::string broadcast(const std::string& text);
  Weights broadcast(Weights weights);

  /// Throws Error if a process is lost: for long work between other calls.
  void check();
  /// Tells the others why this process ends.
  void abandon(const std::string& why);

 private:
  Processes processes_;
  std::unique_ptr<ProcessGroup> group_;  ///< null in a world of one
};

}  // namespace lasnet
