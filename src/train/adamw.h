// Adam with decoupled weight decay, as torch.optim.AdamW computes it (Loshchilov and Hutter 2019).
#pragma once

#include <vector>

#include "train/optimizer.h"

namespace lasnet {

class AdamW : public Optimizer {
 public:
  AdamW(const MaskedNet& net, const OptimizerOptions& options);

  void step(double lr) override;
  Weights state() const override;
  void set_state(const Weights& state) override;

 private:
  struct Slot {
    NamedTensor parameter;
    double lr_multiplier;
    torch::Tensor mean, square;  ///< of the gradients; undefined before the first step
  };

  OptimizerOptions options_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

}  // namespace lasnet
