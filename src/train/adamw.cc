#include "train/adamw.h"

#include <cmath>

#include "base/fail.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

constexpr double kBeta2 = 0.999, kEpsilon = 1e-8;
constexpr const char* kSteps = "adamw.steps";

std::string mean_name(const std::string& parameter) { return parameter + "/mean"; }
std::string square_name(const std::string& parameter) { return parameter + "/square"; }

}  // namespace

AdamW::AdamW(const MaskedNet& net, const OptimizerOptions& options) : options_(options) {
  for (const NamedTensor& parameter : net.parameters()) {
    const double multiplier = net.is_masker(parameter.name) ? options.masker_lr_multiplier : 1.0;
    slots_.push_back({.parameter = parameter, .lr_multiplier = multiplier, .mean = {}, .square = {}});
  }
}

void AdamW::step(double lr) {
  const torch::NoGradGuard no_gradient;
  ++steps_;
  const auto steps = static_cast<double>(steps_);
  const double of_mean = 1 - std::pow(options_.momentum, steps);
  const double of_square = std::sqrt(1 - std::pow(kBeta2, steps));
  for (Slot& slot : slots_) {
    torch::Tensor& parameter = slot.parameter.tensor;
    const torch::Tensor gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (!slot.mean.defined()) {
      slot.mean = torch::zeros_like(parameter);
      slot.square = torch::zeros_like(parameter);
    }
    const double rate = lr * slot.lr_multiplier;
    parameter.mul_(1 - rate * options_.weight_decay);
    slot.mean.mul_(options_.momentum).add_(gradient, 1 - options_.momentum);
    slot.square.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
    parameter.addcdiv_(slot.mean, (slot.square.sqrt() / of_square).add_(kEpsilon), -rate / of_mean);
    parameter.mutable_grad().reset();
  }
}

Weights AdamW::state() const {
  Weights state;
  if (steps_ == 0) return state;
  state[kSteps] = Tensor({1}, static_cast<float>(steps_));
  for (const Slot& slot : slots_) {
    if (!slot.mean.defined()) continue;
    state[mean_name(slot.parameter.name)] = from_torch(slot.mean);
    state[square_name(slot.parameter.name)] = from_torch(slot.square);
  }
  return state;
}

void AdamW::set_state(const Weights& state) {
  if (state.empty()) return;
  Weights left = state;
  const auto take = [&](const std::string& name, const torch::Tensor& like) -> torch::Tensor {
    const auto found = left.find(name);
    if (found == left.end()) return {};
    const Tensor values = std::move(found->second);
    left.erase(found);
    if (torch::IntArrayRef(values.shape) != like.sizes())
      fail("{}: expected the parameter's shape, got {}", name, to_string(values.shape));
    return torch::empty_like(like.detach()).copy_(to_torch(values));
  };
  const torch::Tensor steps = take(kSteps, torch::empty({1}));
  if (!steps.defined()) fail("the optimiser's state has no {}", kSteps);
  steps_ = std::llround(steps.item<double>());
  for (Slot& slot : slots_) {
    slot.mean = take(mean_name(slot.parameter.name), slot.parameter.tensor);
    slot.square = take(square_name(slot.parameter.name), slot.parameter.tensor);
    if (slot.mean.defined() != slot.square.defined())
      fail("the optimiser's state of {} is incomplete", slot.parameter.name);
  }
  if (!left.empty()) fail("the optimiser's state has the unknown tensor {}", left.begin()->first);
}

}  // namespace lasnet
