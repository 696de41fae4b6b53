#include "train/losses.h"

namespace lasnet {

namespace {

std::vector<BlockCost::Terms> overall_terms(const NetworkCost& cost) {
  std::vector<BlockCost::Terms> terms;
  for (const BlockCost& block : cost.blocks()) terms.push_back(block.overall());
  return terms;
}

std::vector<BlockCost::Terms> terms_near(const NetworkCost& cost, const std::vector<double>& rates) {
  std::vector<BlockCost::Terms> terms;
  for (size_t i = 0; i < rates.size(); ++i) terms.push_back(cost.blocks()[i].near(rates[i]));
  return terms;
}

torch::Tensor to_row(const std::vector<double>& values, torch::Device device) {
  return torch::tensor(values, torch::kFloat32).to(device);
}

}  // namespace

MaskShares::MaskShares(const MaskedOutput& output)
    : nonempty(output.rates.detach().gt(0).to(torch::kFloat32)),
      dilated(output.dilated_rates),
      active(output.rates) {}

MaskShares::MaskShares(const torch::Tensor& means)
    : nonempty(means.narrow(0, 0, 1)), dilated(means.narrow(0, 1, 1)), active(means.narrow(0, 2, 1)) {}

torch::Tensor MaskShares::means() const {
  return torch::stack({nonempty.mean(0), dilated.mean(0), active.mean(0)});
}

std::vector<double> MaskShares::rates() const {
  const torch::Tensor mean = active.detach().mean(0).to(torch::kCPU, torch::kFloat64).contiguous();
  return {mean.data_ptr<double>(), mean.data_ptr<double>() + mean.numel()};
}

void MaskMeans::add(const MaskedOutput& output) {
  const torch::NoGradGuard no_gradient;
  const int64_t images = output.logits.size(0);
  const torch::Tensor sum = MaskShares(output).means().to(torch::kCPU, torch::kFloat64) * images;
  sum_ = sum_.defined() ? sum_ + sum : sum;
  images_ += images;
}

MaskShares MaskMeans::shares() const { return MaskShares((sum_ / images_).to(torch::kFloat32)); }

std::vector<double> MaskMeans::rates() const { return shares().rates(); }

CostAccount::CostAccount(const NetworkCost& cost, torch::Device device)
    : CostAccount(cost, overall_terms(cost), device) {}

CostAccount::CostAccount(const NetworkCost& cost, const std::vector<double>& rates, torch::Device device)
    : CostAccount(cost, terms_near(cost, rates), device) {}

CostAccount::CostAccount(const NetworkCost& cost, const std::vector<BlockCost::Terms>& blocks,
                         torch::Device device)
    : fixed_(cost.fixed()) {
  std::vector<double> always, nonempty, dilated, active, full;
  for (const BlockCost::Terms& terms : blocks) {
    always.push_back(terms.always);
    nonempty.push_back(terms.nonempty);
    dilated.push_back(terms.dilated);
    active.push_back(terms.active);
    masked_shares_.push_back(terms.nonempty + terms.dilated + terms.active);
  }
  for (const BlockCost& block : cost.blocks()) full.push_back(block.at(1, 1));
  always_ = to_row(always, device);
  nonempty_ = to_row(nonempty, device);
  dilated_ = to_row(dilated, device);
  active_ = to_row(active, device);
  full_ = to_row(full, device);
}

torch::Tensor CostAccount::block_costs(const MaskShares& masks) const {
  return always_ + nonempty_ * masks.nonempty + dilated_ * masks.dilated + active_ * masks.active;
}

torch::Tensor CostAccount::network_ratios(const MaskShares& masks) const {
  return block_costs(masks).sum(1) + fixed_;
}

torch::Tensor CostAccount::network_ratios(const MaskedOutput& output) const {
  if (!output.rates.defined()) return torch::ones({output.logits.size(0)}, output.logits.device());
  return network_ratios(MaskShares(output));
}

torch::Tensor CostAccount::block_ratios(const MaskShares& masks) const {
  return block_costs(masks).mean(0) / full_;
}

double cost_ratio(const NetworkCost& cost, const MaskMeans& masks) {
  const std::vector<double> rates = masks.rates();
  return CostAccount(cost.settled_at(rates), rates).network_ratios(masks.shares()).item<double>();
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
  torch::Tensor sum = torch::zeros({}, mean_squares.device());
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
