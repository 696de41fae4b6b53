// The exponential moving average of a network's values over the steps, as torch.optim.swa_utils.AveragedModel
// keeps it with buffers.
#pragma once

#include <vector>

#include "train/masked_net.h"

namespace lasnet {

class WeightAverage {
 public:
  /// Starts as the network is now.
  WeightAverage(const MaskedNet& net, double decay);

  /// After a step: average = decay * average + (1 - decay) * network.
  void update();
  /// Exchanges the network's values and the average.
  void swap();
  const std::vector<torch::Tensor>& tensors() const { return average_; }

  /// The average, as MaskedNet::state() names it.
  Weights state() const;
  /// Throws Error if it is not of this network.
  void set_state(const Weights& state);

 private:
  const MaskedNet& net_;
  double decay_;
  std::vector<torch::Tensor> average_;
};

/// While it lives, the network has the average's values; nothing happens without an average.
class AveragedScope {
 public:
  explicit AveragedScope(WeightAverage* average) : average_(average) {
    if (average_ != nullptr) average_->swap();
  }
  ~AveragedScope() {
    if (average_ != nullptr) average_->swap();
  }
  AveragedScope(const AveragedScope&) = delete;
  AveragedScope& operator=(const AveragedScope&) = delete;

 private:
  WeightAverage* average_;
};

}  // namespace lasnet
