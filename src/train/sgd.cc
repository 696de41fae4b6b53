#include "train/sgd.h"

#include <algorithm>

#include "base/fail.h"
#include "train/torch_tensor.h"

namespace lasnet {

Sgd::Sgd(const MaskedNet& net, const OptimizerOptions& options) : options_(options) {
  for (const NamedTensor& parameter : net.parameters()) {
    double multiplier = net.is_masker(parameter.name) ? options.masker_lr_multiplier : 1.0;
    slots_.push_back({.parameter = parameter, .lr_multiplier = multiplier, .momentum = {}});
  }
}

void Sgd::step(double lr) {
  torch::NoGradGuard no_gradient;
  for (Slot& slot : slots_) {
    torch::Tensor& parameter = slot.parameter.tensor;
    if (!parameter.grad().defined()) continue;
    torch::Tensor gradient = parameter.grad().add_(parameter, options_.weight_decay);
    if (slot.momentum.defined()) {
      slot.momentum.mul_(options_.momentum).add_(gradient);
    } else {
      slot.momentum = gradient.clone();
    }
    parameter.add_(gradient.add_(slot.momentum, options_.momentum), -lr * slot.lr_multiplier);
    parameter.mutable_grad().reset();
  }
}

Weights Sgd::state() const {
  Weights buffers;
  for (const Slot& slot : slots_) {
    if (slot.momentum.defined()) buffers[slot.parameter.name] = from_torch(slot.momentum);
  }
  return buffers;
}

void Sgd::set_state(const Weights& momentum) {
  for (const auto& [name, buffer] : momentum) {
    auto slot = std::ranges::find(slots_, name, [](const Slot& s) { return s.parameter.name; });
    if (slot == slots_.end()) fail("momentum of unknown parameter {}", name);
    if (slot->parameter.tensor.sizes() != torch::IntArrayRef(buffer.shape)) {
      fail("momentum of {}: expected the parameter's shape, got {}", name, to_string(buffer.shape));
    }
    slot->momentum = to_torch(buffer).to(slot->parameter.tensor.device());
  }
}

}  // namespace lasnet
