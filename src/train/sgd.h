// Stochastic gradient descent with Nesterov momentum, as torch.optim.SGD computes it.
#pragma once

#include <vector>

#include "train/curves.h"
#include "train/optimizer.h"

namespace lasnet {

class Sgd : public Optimizer {
 public:
  Sgd(const MaskedNet& net, const OptimizerOptions& options);

  void step(double lr) override;
  /// Momentum by parameter name; parameters not yet updated have none.
  Weights state() const override;
  void set_state(const Weights& momentum) override;

 private:
  struct Slot {
    NamedTensor parameter;
    double lr_multiplier;
    torch::Tensor momentum;  ///< undefined before the first step
  };

  OptimizerOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace lasnet
