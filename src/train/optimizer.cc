#include "train/optimizer.h"

#include "train/adamw.h"
#include "train/sgd.h"

namespace lasnet {

std::unique_ptr<Optimizer> make_optimizer(TrainOptimizer kind, const MaskedNet& net,
                                          const OptimizerOptions& options) {
  if (kind == TrainOptimizer::adamw) return std::make_unique<AdamW>(net, options);
  return std::make_unique<Sgd>(net, options);
}

double clip_gradients(const std::vector<NamedTensor>& parameters, double max_norm) {
  const torch::NoGradGuard no_gradient;
  std::vector<torch::Tensor> norms;
  for (const NamedTensor& parameter : parameters)
    if (parameter.tensor.grad().defined()) norms.push_back(parameter.tensor.grad().norm());
  if (norms.empty()) return 0;
  const auto norm = torch::stack(norms).norm().item<double>();
  const double scale = max_norm / (norm + 1e-6);
  if (scale >= 1) return norm;
  for (const NamedTensor& parameter : parameters) {
    torch::Tensor gradient = parameter.tensor.grad();
    if (gradient.defined()) gradient.mul_(scale);
  }
  return norm;
}

}  // namespace lasnet
