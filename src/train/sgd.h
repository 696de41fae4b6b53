// Stochastic gradient descent with Nesterov momentum, as torch.optim.SGD computes it. Its momentum buffers
// are plain named tensors, which checkpoints need and libtorch's own optimiser hides behind version-dependent
// keys.
#pragma once

#include <vector>

#include "train/curves.h"
#include "train/masked_net.h"

namespace lasnet {

struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 0;
  double masker_lr_multiplier = 1;
};

class Sgd {
 public:
  Sgd(const MaskedNet& net, const SgdOptions& options);

  /// Updates parameters that have a gradient, then clears the gradients.
  void step(double lr);

  /// Momentum by parameter name; parameters not yet updated have none.
  Weights momentum() const;
  /// Throws Error on unknown names or wrong shapes.
  void set_momentum(const Weights& momentum);

 private:
  struct Slot {
    NamedTensor parameter;
    double lr_multiplier;
    torch::Tensor momentum;  ///< undefined before the first step
  };

  SgdOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace lasnet
