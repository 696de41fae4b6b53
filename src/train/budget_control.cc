#include "train/budget_control.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lasnet {
namespace {

/// Part of the way that one batch moves the biases: the mean of about ten batches decides.
constexpr double kHoldingGain = 0.1;
constexpr double kFarthestShift = 100, kFarthestStep = 10;
constexpr double kSettledWithin = 0.002;
constexpr size_t kMaxRounds = 8;

/// The logit differences of one block.
using Differences = std::vector<float>;

void append(const torch::Tensor& perturbed, Differences& differences) {
  const torch::Tensor values = perturbed.to(torch::kCPU, torch::kFloat32).contiguous();
  differences.insert(differences.end(), values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
}

double rate_at(const Differences& ascending, double shift) {
  const auto inactive = std::ranges::lower_bound(ascending, static_cast<float>(-shift)) - ascending.begin();
  return 1 - static_cast<double>(inactive) / static_cast<double>(ascending.size());
}

/// The shift after which the cost, now `ratio`, is the target: every patch that turns on or off brings its
/// share of the block's cost.
double shift_to(std::vector<Differences> blocks, const std::vector<double>& shares, double ratio,
                double target) {
  for (Differences& block : blocks) std::ranges::sort(block);
  const auto ratio_at = [&](double shift) {
    double sum = ratio;
    for (size_t i = 0; i < blocks.size(); ++i)
      sum += shares[i] * (rate_at(blocks[i], shift) - rate_at(blocks[i], 0));
    return sum;
  };
  double low = -kFarthestShift, high = kFarthestShift;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (ratio_at(middle) < target ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// The shift after which a share `rate` of the patches is active.
double shift_to_rate(Differences differences, double rate) {
  const auto inactive =
      static_cast<size_t>(std::lround((1 - rate) * static_cast<double>(differences.size())));
  if (inactive == 0) return std::max(0.0, -static_cast<double>(*std::ranges::min_element(differences)));
  if (inactive >= differences.size())
    return -static_cast<double>(*std::ranges::max_element(differences)) - 1e-3;
  std::ranges::nth_element(differences, differences.begin() + static_cast<std::ptrdiff_t>(inactive));
  return -static_cast<double>(differences[inactive]);
}

}  // namespace

void hold_rates(MaskedNet& net, const std::vector<torch::Tensor>& decisions, double ramp) {
  const std::vector<double> wanted = net.wanted_rates();
  for (size_t i = 0; i < wanted.size(); ++i) {
    Differences differences;
    append(decisions[i], differences);
    const double shift = shift_to_rate(std::move(differences), 1 - ramp * (1 - wanted[i]));
    net.shift_masker(i, kHoldingGain * std::clamp(shift, -kFarthestStep, kFarthestStep));
  }
}

double next_shift(const std::vector<MeasuredShift>& measured, double target, double predicted) {
  const MeasuredShift *below = nullptr, *above = nullptr;
  for (const MeasuredShift& point : measured) {
    if (point.ratio < target && (below == nullptr || point.ratio > below->ratio)) below = &point;
    if (point.ratio >= target && (above == nullptr || point.ratio < above->ratio)) above = &point;
  }
  const double last = measured.back().shift, wanted = last + predicted;
  if (below == nullptr || above == nullptr)
    return last + std::ldexp(predicted, static_cast<int>(measured.size()) - 1);
  const auto [low, high] = std::minmax(below->shift, above->shift);
  return low < wanted && wanted < high ? wanted : std::midpoint(low, high);
}

std::optional<SettledBudget> settle_budget(MaskedNet& net, const NetworkCost& cost,
                                           const std::function<BatchStream()>& batches, double target,
                                           const std::function<bool()>& proceed) {
  torch::NoGradGuard no_gradient;
  const auto distance = [&](const MeasuredShift& point) { return std::abs(point.ratio - target); };
  std::vector<MeasuredShift> measured;
  double shift = 0;
  const auto move_to = [&](double wanted) {
    for (size_t i = 0; i < cost.blocks().size(); ++i) net.shift_masker(i, wanted - shift);
    shift = wanted;
  };
  int64_t images = 0;
  while (true) {
    std::vector<Differences> blocks(cost.blocks().size());
    MaskMeans means;
    BatchStream stream = batches();
    while (std::optional<Batch> batch = stream.next()) {
      if (!proceed()) return std::nullopt;
      const MaskedOutput output = net.forward(batch->images, {.kind = MaskPolicy::Kind::decide}, false);
      for (size_t i = 0; i < blocks.size(); ++i) append(output.blocks[i].perturbed, blocks[i]);
      means.add(output);
    }
    images = means.images();
    measured.push_back({.shift = shift, .ratio = cost_ratio(cost, means)});
    if (distance(measured.back()) <= kSettledWithin || measured.size() > kMaxRounds) break;
    const CostAccount account(cost, means.rates());
    const double predicted =
        shift_to(std::move(blocks), account.masked_shares(), measured.back().ratio, target);
    move_to(next_shift(measured, target, predicted));
  }
  const MeasuredShift& best = *std::ranges::min_element(measured, {}, distance);
  move_to(best.shift);
  return SettledBudget{
      .before = measured.front().ratio, .after = best.ratio, .shift = best.shift, .images = images};
}

}  // namespace lasnet
