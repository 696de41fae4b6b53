#include "train/weight_average.h"

#include "base/fail.h"
#include "train/torch_tensor.h"

namespace lasnet {

WeightAverage::WeightAverage(const MaskedNet& net, double decay) : net_(net), decay_(decay) {
  for (const torch::Tensor& tensor : net.tensors()) average_.push_back(tensor.detach().clone());
}

void WeightAverage::update() {
  const torch::NoGradGuard no_gradient;
  const std::vector<torch::Tensor> now = net_.tensors();
  for (size_t i = 0; i < now.size(); ++i) average_[i].mul_(decay_).add_(now[i], 1 - decay_);
}

void WeightAverage::swap() {
  const torch::NoGradGuard no_gradient;
  std::vector<torch::Tensor> now = net_.tensors();
  for (size_t i = 0; i < now.size(); ++i) {
    const torch::Tensor kept = now[i].clone();
    now[i].copy_(average_[i]);
    average_[i].copy_(kept);
  }
}

Weights WeightAverage::state() const {
  Weights state;
  const std::vector<std::string> names = net_.tensor_names();
  for (size_t i = 0; i < names.size(); ++i) state[names[i]] = from_torch(average_[i]);
  return state;
}

void WeightAverage::set_state(const Weights& state) {
  const std::vector<std::string> names = net_.tensor_names();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto found = state.find(names[i]);
    if (found == state.end() || torch::IntArrayRef(found->second.shape) != average_[i].sizes())
      fail("the weights' average: {} is missing or has another shape than the network's", names[i]);
    average_[i].copy_(to_torch(found->second));
  }
}

}  // namespace lasnet
