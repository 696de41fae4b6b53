#include "train/rate_allocation.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "predict/largest_share.h"
#include "train/autocast.h"
#include "train/masking.h"

namespace lasnet {
namespace {

constexpr std::array kLevels = {1.0, 0.75, 0.5, 0.25, 0.0};
/// Rates that are allocated at the least, so that a block stays one that can learn.
constexpr double kMinRate = 0.1;
constexpr double kTemperature = 4;
/// Rates, and what is predicted to be saved by them, depend on each other.
constexpr int kRounds = 4;
/// Far beyond any logit: all patches, or none.
constexpr double kFar = 1e3;

/// By block and level.
using LevelTable = std::vector<std::array<double, kLevels.size()>>;

/// What is known of the blocks while all patches are active.
struct Untouched {
  std::vector<Batch> images;
  std::vector<torch::Tensor> logits;                    ///< of each batch
  std::vector<std::vector<torch::Tensor>> differences;  ///< of each block and batch, [N, 1, rows, cols]
};

std::optional<Untouched> run_untouched(const MaskedNet& net, BatchStream stream,
                                       const std::function<bool()>& proceed) {
  Untouched untouched;
  while (std::optional<Batch> batch = stream.next()) {
    if (!proceed()) return std::nullopt;
    const MaskedOutput output = net.forward(batch->images, {.kind = MaskPolicy::Kind::full}, false);
    untouched.differences.resize(output.blocks.size());
    for (size_t i = 0; i < output.blocks.size(); ++i)
      untouched.differences[i].push_back(output.blocks[i].logit_difference);
    untouched.logits.push_back(output.logits);
    untouched.images.push_back(*batch);
  }
  return untouched;
}

/// Shifts of the maskers' biases at which they have the rates kLevels.
LevelTable shifts_of_levels(const Untouched& untouched) {
  LevelTable shifts(untouched.differences.size());
  for (size_t block = 0; block < shifts.size(); ++block) {
    std::vector<torch::Tensor> flat;
    for (const torch::Tensor& part : untouched.differences[block]) flat.push_back(part.reshape({-1}));
    const torch::Tensor sorted = std::get<0>(torch::cat(flat).sort());
    for (size_t level = 0; level < kLevels.size(); ++level) {
      const auto inactive = static_cast<int64_t>((1 - kLevels[level]) * static_cast<double>(sorted.size(0)));
      const bool none = kLevels[level] == 0, all = kLevels[level] == 1;
      shifts[block][level] = none ? -kFar : all ? kFar : -sorted[inactive].item<double>();
    }
  }
  return shifts;
}

/// What a block's masks compute.
struct ComputedRates {
  double rate = 0, dilated = 0;
};
using RateTable = std::vector<std::array<ComputedRates, kLevels.size()>>;

/// Of these very masks, whose dilation is not that of any others of the same rates.
RateTable rates_of_levels(const MaskedNet& net, MapSize image, const Untouched& untouched,
                          const LevelTable& shifts) {
  const NetworkGeometry geometry = network_geometry(net.spec(), image);
  const auto batches = static_cast<double>(untouched.images.size());
  RateTable rates(shifts.size());
  size_t block = 0;
  for (size_t i = 0; i < net.spec().blocks.size(); ++i) {
    const BlockSpec& spec = net.spec().blocks[i];
    if (!spec.is_dynamic()) continue;
    for (size_t level = 0; level < kLevels.size(); ++level) {
      ComputedRates& computed = rates[block][level];
      for (const torch::Tensor& differences : untouched.differences[block]) {
        const torch::Tensor mask = expand_to_map(decide_patches(differences + shifts[block][level]),
                                                 spec.granularity, geometry.blocks[i].output);
        computed.rate += mask.mean().item<double>() / batches;
        computed.dilated +=
            dilate(mask, spec.convs[1].stride, geometry.blocks[i].middle).mean().item<double>() / batches;
      }
    }
    ++block;
  }
  return rates;
}

ComputedRates between(const ComputedRates& from, const ComputedRates& to, double part) {
  return {.rate = std::lerp(from.rate, to.rate, part), .dilated = std::lerp(from.dilated, to.dilated, part)};
}

double between(double from, double to, double part) { return std::lerp(from, to, part); }

/// With the last level at kMinRate.
template <typename Table>
Table down_to_least_rate(Table table) {
  constexpr size_t kNone = kLevels.size() - 1;
  for (auto& of_levels : table)
    of_levels[kNone] = between(of_levels[kNone], of_levels[kNone - 1], kMinRate / kLevels[kNone - 1]);
  return table;
}

/// KL divergence of the logits when one block alone gives up patches.
std::optional<LevelTable> damages_of_levels(MaskedNet& net, const Untouched& untouched,
                                            const LevelTable& shifts, const std::function<bool()>& proceed) {
  const size_t blocks = shifts.size();
  LevelTable damages(blocks);
  for (size_t i = 0; i < blocks; ++i) net.shift_masker(i, kFar);
  for (size_t block = 0; block < blocks; ++block) {
    for (size_t level = 1; level < kLevels.size(); ++level) {
      const double shift = shifts[block][level] - kFar;
      net.shift_masker(block, shift);
      double sum = 0;
      for (size_t k = 0; k < untouched.images.size(); ++k) {
        if (!proceed()) return std::nullopt;
        const MaskPolicy decide{.kind = MaskPolicy::Kind::decide};
        const torch::Tensor logits = net.forward(untouched.images[k].images, decide, false).logits;
        sum += distillation_loss(logits, untouched.logits[k], kTemperature).item<double>();
      }
      damages[block][level] = sum / static_cast<double>(untouched.images.size());
      net.shift_masker(block, -shift);
    }
  }
  for (size_t i = 0; i < blocks; ++i) net.shift_masker(i, -kFar);
  return damages;
}

/// Gives up what the logits lose least by for what it saves, until the target is met; the rates of the
/// blocks.
std::vector<double> give_up(const LevelTable& damages, const RateTable& computed, const NetworkCost& cost,
                            double target) {
  const auto cost_of = [&](size_t block, const ComputedRates& rates) {
    return cost.blocks()[block].at(rates.rate, rates.dilated);
  };
  const auto rate_of = [](size_t level) { return std::max(kLevels[level], kMinRate); };
  std::vector<size_t> level(damages.size(), 0);
  std::vector<double> rates(damages.size(), 1);
  double ratio = cost.fixed();
  for (size_t block = 0; block < computed.size(); ++block) ratio += cost_of(block, computed[block][0]);
  while (ratio > target) {
    size_t best = damages.size(), to = 0;
    double least = INFINITY;
    for (size_t block = 0; block < damages.size(); ++block) {
      const double now = cost_of(block, computed[block][level[block]]);
      for (size_t next = level[block] + 1; next < kLevels.size(); ++next) {
        const double saved = now - cost_of(block, computed[block][next]);
        const double price = (damages[block][next] - damages[block][level[block]]) / std::max(saved, 1e-9);
        if (saved > 0 && price < least) least = price, best = block, to = next;
      }
    }
    if (best == damages.size()) break;
    // As little of the step as meets the target, or all of it.
    const ComputedRates &before = computed[best][level[best]], &after = computed[best][to];
    const double others = ratio - cost_of(best, before);
    const auto keeping = [&](double kept) { return others + cost_of(best, between(after, before, kept)); };
    const double kept = keeping(0) >= target ? 0 : largest_share(target, keeping);
    rates[best] = std::lerp(rate_of(to), rate_of(level[best]), kept);
    ratio = keeping(kept);
    level[best] = to;
    if (kept > 0) break;
  }
  return rates;
}

}  // namespace

std::optional<std::vector<double>> allocate_rates(MaskedNet& net, const NetworkCost& cost, BatchStream images,
                                                  double target, bool mixed_precision,
                                                  const std::function<bool()>& proceed) {
  torch::NoGradGuard no_gradient;
  const AutocastScope precision(mixed_precision);
  const auto untouched = run_untouched(net, std::move(images), proceed);
  if (!untouched) return std::nullopt;
  const LevelTable shifts = shifts_of_levels(*untouched);
  const torch::Tensor& first = untouched->images.front().images;
  const RateTable computed =
      down_to_least_rate(rates_of_levels(net, {first.size(2), first.size(3)}, *untouched, shifts));
  const auto measured = damages_of_levels(net, *untouched, shifts, proceed);
  if (!measured) return std::nullopt;
  const LevelTable damages = down_to_least_rate(*measured);
  NetworkCost settled = cost;
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) {
    rates = give_up(damages, computed, settled, target);
    settled = settled.settled_at(rates);
  }
  net.set_wanted_rates(rates);
  return rates;
}

}  // namespace lasnet
