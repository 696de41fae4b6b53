#include "train/masker_fit.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/fail.h"
#include "train/masking.h"

namespace lasnet {
namespace {

constexpr int64_t kMaxPatches = 16384;  ///< of a block
constexpr int kDirections = 4;          ///< of the logits, per image
constexpr double kRidge = 0.03;         ///< of the samples, on a diagonal of ones
/// Of the fitted logits: their standard deviation, and in such deviations how far below the mean the
/// threshold is.
constexpr double kLogitDeviation = 5, kThreshold = 2;
/// Of a block whose masks save nothing.
constexpr double kLeastShare = 1e-6;

/// Their own copy, on the CPU.
torch::Tensor rows_of(const torch::Tensor& values) {
  return values.detach().to(torch::kCPU, values.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

/// What is known of the patches of one block: one row each.
struct Patches {
  std::vector<torch::Tensor> pooled, values;  ///< [patches, Cin]; importance or decision [patches]

  void add(const torch::Tensor& pooled_map, const torch::Tensor& value_map) {
    pooled.push_back(rows_of(pooled_map.permute({0, 2, 3, 1}).reshape({-1, pooled_map.size(1)})));
    values.push_back(rows_of(value_map.reshape({-1})));
  }
};

/// The square of the derivatives of the logits' differences with respect to each patch's mask, in random
/// directions of them, added to `sums`.
void add_importance(const MaskedOutput& output, Random& random, std::vector<torch::Tensor>& sums) {
  const int64_t classes = output.logits.size(1);
  for (int direction = 0; direction < kDirections; ++direction) {
    torch::Tensor signs = torch::empty(output.logits.sizes(), torch::kFloat32);
    for (int64_t i = 0; i < signs.numel(); ++i)
      signs.data_ptr<float>()[i] = random.uniform() < 0.5 ? -1.0f : 1.0f;
    signs = (signs - signs.mean(1, /*keepdim=*/true)).to(output.logits.device());
    std::vector<torch::Tensor> leaves;
    for (const BlockMasks& block : output.blocks) leaves.push_back(block.patches);
    const auto gradients = torch::autograd::grad({(output.logits * signs).sum() / std::sqrt(double(classes))},
                                                 leaves, {}, /*retain_graph=*/direction + 1 < kDirections);
    for (size_t i = 0; i < gradients.size(); ++i) {
      const torch::Tensor square = gradients[i].square();
      sums[i] = sums[i].defined() ? sums[i] + square : square;
    }
  }
}

torch::Tensor concatenated(const std::vector<torch::Tensor>& rows, const torch::Tensor& chosen) {
  return torch::cat(rows).index_select(0, chosen);
}

torch::Tensor some_of(int64_t count, Random& random) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  random.shuffle(order);
  order.resize(static_cast<size_t>(std::min(count, kMaxPatches)));
  return torch::tensor(order);
}

/// A masker whose logit difference estimates the logarithm of a patch's importance over its cost.
struct Fit {
  StandardisedMasker masker;
  torch::Tensor score;  ///< of the samples, without the bias
  double mean = 0;      ///< of the logarithm: the bias
  double correlation = 0;
};

Fit fit(const torch::Tensor& pooled, const torch::Tensor& importance, double cost) {
  const torch::Tensor mean = pooled.mean(0), variance = pooled.var(0, /*unbiased=*/false);
  const torch::Tensor x = (pooled - mean) / (variance + kNormEpsilon).sqrt();
  const torch::Tensor value = ((importance + 1e-3 * importance.mean()) / cost).log();
  const torch::Tensor y = value - value.mean();
  const auto samples = static_cast<double>(x.size(0));
  const torch::Tensor gram = x.t().mm(x) / samples + kRidge * torch::eye(x.size(1));
  const torch::Tensor w = std::get<0>(torch::linalg_solve_ex(gram, x.t().mv(y) / samples));
  const torch::Tensor score = x.mv(w);
  const torch::Tensor half = (w / 2).view({1, -1, 1, 1});
  return {.masker = {.weight = torch::cat({half, -half}), .bias = {}, .mean = mean, .variance = variance},
          .score = score,
          .mean = value.mean().item<double>(),
          .correlation =
              ((score * y).mean() / (score.std(0, false) * y.std(0, false)).clamp_min(1e-12)).item<double>()};
}

/// Scales all logits alike and puts the threshold where nearly all patches are active.
void place(std::vector<Fit>& fits) {
  std::vector<torch::Tensor> all;
  for (const Fit& fit : fits) all.push_back(fit.score + fit.mean);
  const torch::Tensor values = torch::cat(all);
  const auto mean = values.mean().item<double>();
  const double scale = kLogitDeviation / std::max(values.std(0, false).item<double>(), 1e-6);
  for (Fit& fit : fits) {
    const double bias = (scale * (fit.mean - mean) + kLogitDeviation * kThreshold) / 2;
    fit.masker.weight = fit.masker.weight * scale;
    fit.masker.bias = torch::tensor({bias, -bias}, torch::kFloat32);
  }
}

}  // namespace

std::optional<MaskerFits> fit_maskers(MaskedNet& net, const NetworkCost& cost, BatchStream images,
                                      uint64_t seed, const std::function<bool()>& proceed) {
  Random random(seed, "fit");
  std::vector<Patches> blocks;
  MaskerFits fits;
  while (std::optional<Batch> batch = images.next()) {
    if (!proceed()) return std::nullopt;
    const MaskedOutput output =
        net.forward(batch->images, {.kind = MaskPolicy::Kind::full}, /*training=*/false);
    blocks.resize(output.blocks.size());
    std::vector<torch::Tensor> sums(blocks.size());
    add_importance(output, random, sums);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i].add(output.blocks[i].pooled, sums[i]);
    fits.images += batch->size();
  }
  torch::NoGradGuard no_gradient;
  const CostAccount account(cost);
  std::vector<Fit> fitted;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const torch::Tensor importance = torch::cat(blocks[i].values);
    const torch::Tensor chosen = some_of(importance.size(0), random);
    const double patches = static_cast<double>(importance.size(0)) / static_cast<double>(fits.images);
    fitted.push_back(fit(concatenated(blocks[i].pooled, chosen), importance.index_select(0, chosen),
                         std::max(account.masked_shares()[i], kLeastShare) / patches));
    fits.correlations.push_back(fitted.back().correlation);
    blocks[i] = {};
  }
  place(fitted);
  for (size_t i = 0; i < fitted.size(); ++i) net.set_masker(i, fitted[i].masker);
  return fits;
}

std::string describe(const MaskerFits& fits) {
  return fmt::format("maskers fitted on {} images; correlation of their logits with what patches do: {:.2f}",
                     fits.images, fmt::join(fits.correlations, " "));
}

std::optional<double> take_masker_statistics(MaskedNet& net, const NetworkCost& cost, BatchStream images,
                                             const std::function<bool()>& proceed) {
  torch::NoGradGuard no_gradient;
  std::vector<Patches> blocks;
  MaskMeans means;
  while (std::optional<Batch> batch = images.next()) {
    if (!proceed()) return std::nullopt;
    const MaskedOutput output =
        net.forward(batch->images, {.kind = MaskPolicy::Kind::decide}, /*training=*/false);
    blocks.resize(output.blocks.size());
    for (size_t i = 0; i < blocks.size(); ++i)
      blocks[i].add(output.blocks[i].pooled, output.blocks[i].patches);
    means.add(output);
  }
  std::vector<double> rates;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const torch::Tensor pooled = torch::cat(blocks[i].pooled);
    net.set_masker_statistics(i, pooled.mean(0), pooled.var(0, /*unbiased=*/false));
    rates.push_back(torch::cat(blocks[i].values).mean().item<double>());
  }
  net.set_wanted_rates(rates);
  return cost_ratio(cost, means);
}

}  // namespace lasnet
