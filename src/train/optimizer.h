// What updates the parameters. Its buffers are plain named tensors, which checkpoints need and libtorch's own
// optimisers hide behind version-dependent keys.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "train/masked_net.h"
#include "train/train.h"

namespace lasnet {

struct OptimizerOptions {
  double momentum = 0.9;  ///< of AdamW: of the gradients' mean (beta1)
  double weight_decay = 0;
  double masker_lr_multiplier = 1;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Updates parameters that have a gradient, then clears the gradients.
  virtual void step(double lr) = 0;

  /// All that it remembers from step to step, by name.
  virtual Weights state() const = 0;
  /// Throws Error on unknown names or wrong shapes.
  virtual void set_state(const Weights& state) = 0;
};

std::unique_ptr<Optimizer> make_optimizer(TrainOptimizer kind, const MaskedNet& net,
                                          const OptimizerOptions& options);

/// Scales all gradients so that their norm together is at most `max_norm`, as torch.nn.utils.clip_grad_norm_
/// does. Returns the norm before.
double clip_gradients(const std::vector<NamedTensor>& parameters, double max_norm);

}  // namespace lasnet
