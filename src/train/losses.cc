#include "train/losses.h"

namespace lasnet {

MacAccount::MacAccount(const ModelSpec& spec, MapSize image) {
  NetworkGeometry geometry = network_geometry(spec, image);
  auto total = static_cast<double>(static_macs(spec, image));
  auto fixed = static_cast<double>(fixed_macs(spec, geometry));
  std::vector<double> always, nonempty, dilated, active, full;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    BlockMacs macs = block_macs(spec.blocks[i], geometry.blocks[i]);
    if (!spec.blocks[i].is_dynamic()) {
      fixed += static_cast<double>(macs.static_total());
      continue;
    }
    BlockMacs::Terms terms = macs.terms();
    always.push_back(terms.always / total);
    nonempty.push_back(terms.nonempty / total);
    dilated.push_back(terms.dilated / total);
    active.push_back(terms.active / total);
    masked_shares_.push_back((terms.nonempty + terms.dilated + terms.active) / total);
    full.push_back(static_cast<double>(macs.dense_total()) / total);
  }
  fixed_ = fixed / total;
  always_ = torch::tensor(always, torch::kFloat32);
  nonempty_ = torch::tensor(nonempty, torch::kFloat32);
  dilated_ = torch::tensor(dilated, torch::kFloat32);
  active_ = torch::tensor(active, torch::kFloat32);
  full_ = torch::tensor(full, torch::kFloat32);
}

double MacAccount::block_share(size_t block, double rate, double dilated_rate) const {
  const auto at = static_cast<int64_t>(block);
  const auto value = [at](const torch::Tensor& shares) { return shares[at].item<double>(); };
  return value(always_) + (rate > 0 ? value(nonempty_) : 0) + value(dilated_) * dilated_rate +
         value(active_) * rate;
}

torch::Tensor MacAccount::block_costs(const MaskedOutput& output) const {
  torch::Tensor any = output.rates.detach().gt(0).to(torch::kFloat32);
  return always_ + nonempty_ * any + dilated_ * output.dilated_rates + active_ * output.rates;
}

torch::Tensor MacAccount::network_ratios(const MaskedOutput& output) const {
  if (!output.rates.defined()) return torch::ones({output.logits.size(0)});
  return block_costs(output).sum(1) + fixed_;
}

torch::Tensor MacAccount::block_ratios(const MaskedOutput& output) const {
  return block_costs(output).mean(0) / full_;
}

torch::Tensor flops_loss(const torch::Tensor& network_ratios, double target) {
  return (network_ratios.mean() - target).square();
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

torch::Tensor mean_squares(const std::vector<torch::Tensor>& maps) {
  std::vector<torch::Tensor> means;
  for (const torch::Tensor& map : maps) means.push_back(map.to(torch::kFloat32).square().mean());
  return torch::stack(means);
}

torch::Tensor feature_loss(const std::vector<torch::Tensor>& student,
                           const std::vector<torch::Tensor>& teacher, const torch::Tensor& mean_squares) {
  torch::Tensor sum = torch::zeros({});
  for (size_t i = 0; i < student.size(); ++i) {
    const torch::Tensor wanted = teacher[i].to(torch::kFloat32);
    sum = sum + torch::mse_loss(student[i].to(torch::kFloat32), wanted) /
                    mean_squares[static_cast<int64_t>(i)].clamp_min(1e-12);
  }
  return sum / static_cast<double>(student.size());
}

torch::Tensor classification_loss(const torch::Tensor& logits, const torch::Tensor& labels,
                                  double smoothing) {
  return torch::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Mean, /*ignore_index=*/-100,
                                   smoothing);
}

}  // namespace lasnet
