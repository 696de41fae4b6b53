#include "train/losses.h"

#include <cmath>
#include <numbers>

namespace lasnet {

MacAccount::MacAccount(const ModelSpec& spec, MapSize image) {
  NetworkGeometry geometry = network_geometry(spec, image);
  auto total = static_cast<double>(static_macs(spec, image));
  auto fixed = static_cast<double>(fixed_macs(spec, geometry));
  std::vector<double> always, first_conv, later_convs, full;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    BlockMacs macs = block_macs(spec.blocks[i], geometry.blocks[i]);
    if (!spec.blocks[i].is_dynamic()) {
      fixed += static_cast<double>(macs.static_total());
      continue;
    }
    // The cost is affine in the two rates; its coefficients follow from three evaluations.
    double none = macs.dynamic_total(0, 0);
    always.push_back(none / total);
    first_conv.push_back((macs.dynamic_total(0, 1) - none) / total);
    later_convs.push_back((macs.dynamic_total(1, 0) - none) / total);
    full.push_back(static_cast<double>(macs.dense_total()) / total);
  }
  fixed_ = fixed / total;
  always_ = torch::tensor(always, torch::kFloat32);
  first_conv_ = torch::tensor(first_conv, torch::kFloat32);
  later_convs_ = torch::tensor(later_convs, torch::kFloat32);
  full_ = torch::tensor(full, torch::kFloat32);
}

torch::Tensor MacAccount::network_ratios(const MaskedOutput& output) const {
  if (!output.rates.defined()) return torch::ones({output.logits.size(0)});
  torch::Tensor blocks = always_ + first_conv_ * output.dilated_rates + later_convs_ * output.rates;
  return blocks.sum(1) + fixed_;
}

torch::Tensor MacAccount::block_ratios(const MaskedOutput& output) const {
  return (always_ + first_conv_ * output.dilated_rates.mean(0) + later_convs_ * output.rates.mean(0)) / full_;
}

torch::Tensor flops_loss(const torch::Tensor& network_ratios, double target) {
  return (network_ratios.mean() - target).square();
}

Bounds ratio_bounds(double target, double progress) {
  double pinned = std::cos(std::min(progress * 3.0, 1.0) * std::numbers::pi / 2);
  pinned *= pinned;
  return {.low = pinned * target, .up = 1 - pinned * (1 - target)};
}

torch::Tensor bounds_loss(const torch::Tensor& block_ratios, Bounds bounds) {
  torch::Tensor above = torch::relu(block_ratios - bounds.up);
  torch::Tensor below = torch::relu(bounds.low - block_ratios);
  return (above.square() + below.square()).mean();
}

torch::Tensor distillation_loss(const torch::Tensor& student, const torch::Tensor& teacher,
                                double temperature) {
  torch::Tensor log_student = torch::log_softmax(student / temperature, 1);
  torch::Tensor log_teacher = torch::log_softmax(teacher / temperature, 1);
  torch::Tensor divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1).mean();
  return divergence * (temperature * temperature);
}

torch::Tensor classification_loss(const torch::Tensor& logits, const torch::Tensor& labels,
                                  double smoothing) {
  return torch::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Mean, /*ignore_index=*/-100,
                                   smoothing);
}

}  // namespace lasnet
