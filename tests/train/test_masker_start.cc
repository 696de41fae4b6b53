// How maskers and heads begin, and how the budget is held: on networks with random weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "support/random_model.h"
#include "train/budget_control.h"
#include "train/head_fit.h"
#include "train/masker_fit.h"
#include "train/rate_allocation.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

constexpr MapSize kSize{64, 64};

Model network(const std::string& arch = "resnet18") {
  return test::random_model({.name = arch,
                             .width = 0.25,
                             .classes = 7,
                             .stem = StemKind::imagenet,
                             .granularity = parse_granularity("4-4-2-1")},
                            1);
}

/// Batches of noise whose brightness differs from patch to patch.
BatchStream images(int64_t count, int64_t batch = 8) {
  const auto make = [batch](int64_t index) {
    torch::manual_seed(100 + index);
    const torch::Tensor coarse = torch::rand({batch, 3, 8, 8}) * 3;
    return Batch{
        .images = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3) * torch::rand({batch, 3, 64, 64}),
        .labels = torch::arange(batch) % 7};
  };
  return {{.open = make}, 0, count / batch, 1};
}

const auto kGoOn = [] { return true; };

TEST(FitMaskers, FollowWhatPatchesDoAndKeepNearlyAll) {
  const Model model = network("resnet50");
  MaskedNet net(model.spec, model.weights, true);
  const NetworkCost cost = NetworkCost::macs(model.spec, kSize);
  const auto fits = fit_maskers(net, cost, images(64), 1, kGoOn);
  ASSERT_TRUE(fits);
  EXPECT_EQ(fits->images, 64);
  ASSERT_EQ(fits->correlations.size(), 16u);
  double kept = 0;
  for (double correlation : fits->correlations) EXPECT_GT(correlation, 0.2);
  const MaskedOutput output = net.forward(images(8).next()->images, {}, false);
  for (const BlockMasks& block : output.blocks) kept += block.patches.mean().item<double>() / 16;
  EXPECT_GT(kept, 0.9);
  EXPECT_LT(kept, 1);
}

TEST(FitMaskers, AreTheSameForTheSameSeed) {
  const Model model = network();
  const NetworkCost cost = NetworkCost::macs(model.spec, kSize);
  MaskedNet first(model.spec, model.weights, true), second(model.spec, model.weights, true);
  ASSERT_TRUE(fit_maskers(first, cost, images(16), 1, kGoOn));
  ASSERT_TRUE(fit_maskers(second, cost, images(16), 1, kGoOn));
  EXPECT_EQ(first.state(), second.state());
}

TEST(FitMaskers, StopWhenAsked) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights, true);
  const Weights before = net.state();
  EXPECT_FALSE(fit_maskers(net, NetworkCost::macs(model.spec, kSize), images(16), 1, [] { return false; }));
  EXPECT_EQ(net.state(), before);
}

TEST(TakeMaskerStatistics, StandardisesWhatMaskersSee) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights, true);
  const torch::Tensor x = images(8).next()->images;
  const MaskedOutput before = net.forward(x, {}, false);
  const auto macs = take_masker_statistics(net, NetworkCost::macs(model.spec, kSize), images(32), kGoOn);
  ASSERT_TRUE(macs);
  EXPECT_GT(*macs, 0.2);
  EXPECT_LT(*macs, 1);
  EXPECT_NEAR(net.wanted_rates()[5], before.blocks[5].patches.mean().item<double>(), 0.2);
  const MaskedOutput after = net.forward(x, {}, false);
  EXPECT_TRUE(
      torch::allclose(before.blocks[5].logit_difference, after.blocks[5].logit_difference, 1e-3, 1e-3));
  EXPECT_NE(net.state().at("layer3.1.masker.conv2.running_mean").data[0], 0);
}

TEST(HoldRates, BringEveryBlockToItsOwn) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights, true);
  const std::vector<double> wanted = {1, 0.75, 0.5, 0.25, 0.1, 0.5, 0.5, 0.75};
  net.set_wanted_rates(wanted);
  const torch::Tensor x = images(8).next()->images;
  const auto rates = [&] {
    torch::NoGradGuard no_gradient;
    return net.forward(x, {}, false);
  };
  const auto decisions = [&] {
    std::vector<torch::Tensor> perturbed;
    for (const BlockMasks& block : rates().blocks) perturbed.push_back(block.perturbed);
    return perturbed;
  };
  for (int step = 0; step < 80; ++step) hold_rates(net, decisions(), /*ramp=*/1);
  const MaskedOutput held = rates();
  for (size_t i = 0; i < wanted.size(); ++i)
    EXPECT_NEAR(held.blocks[i].patches.mean().item<double>(), wanted[i], 0.1) << i;
  for (int step = 0; step < 120; ++step) hold_rates(net, decisions(), /*ramp=*/0);
  for (const BlockMasks& block : rates().blocks) EXPECT_GT(block.patches.mean().item<double>(), 0.95);
}

TEST(AllocateRates, GiveUpToTheTargetAndLeaveTheMaskersAlone) {
  const Model model = network("resnet50");
  MaskedNet net(model.spec, model.weights, true);
  const NetworkCost cost = NetworkCost::macs(model.spec, kSize);
  ASSERT_TRUE(fit_maskers(net, cost, images(32), 1, kGoOn));
  const Weights before = net.weights();
  const auto rates = allocate_rates(net, cost, images(32), 0.5, /*mixed_precision=*/false, kGoOn);
  ASSERT_TRUE(rates);
  ASSERT_EQ(rates->size(), 16u);
  double macs = cost.fixed();
  for (size_t i = 0; i < rates->size(); ++i) {
    EXPECT_GE((*rates)[i], 0.1);
    EXPECT_LE((*rates)[i], 1);
    macs += cost.blocks()[i].at((*rates)[i], (*rates)[i]);
  }
  EXPECT_GT(*std::ranges::max_element(*rates), *std::ranges::min_element(*rates)) << "blocks differ";
  EXPECT_NEAR(macs, 0.5, 0.1) << "but for the halo";
  for (size_t i = 0; i < rates->size(); ++i) EXPECT_NEAR(net.wanted_rates()[i], (*rates)[i], 1e-6);
  const Weights after = net.weights();
  for (const auto& [name, tensor] : before)
    EXPECT_LE(test::relative_error(after.at(name), tensor), 1e-3) << name;
}

TEST(AllocateRates, BlocksThatDoNothingAreGivenUpFirst) {
  Model model = network("resnet50");
  // The last block of the first stage adds nothing.
  for (const char* part : {".weight", ".bias"})
    std::ranges::fill(model.weights.at(std::string("layer1.2.bn3") + part).data, 0.0f);
  MaskedNet net(model.spec, model.weights, true);
  const NetworkCost cost = NetworkCost::macs(model.spec, kSize);
  const auto rates = allocate_rates(net, cost, images(16), 0.9, /*mixed_precision=*/false, kGoOn);
  ASSERT_TRUE(rates);
  EXPECT_NEAR((*rates)[2], 0.1, 1e-6);
}

TEST(SettleBudget, MeetsTheTargetWithoutNoise) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights);
  const NetworkCost cost = NetworkCost::macs(model.spec, kSize);
  const auto settled = settle_budget(
      net, cost, [] { return images(64); }, 0.6, kGoOn);
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->images, 64);
  EXPECT_NEAR(settled->after, 0.6, 0.01);
  EXPECT_GT(std::abs(settled->before - 0.6), 0.01);
  double sum = 0;
  BatchStream stream = images(64);
  torch::NoGradGuard no_gradient;
  while (auto batch = stream.next())
    sum += CostAccount(cost).network_ratios(net.forward(batch->images, {}, false)).sum().item<double>();
  EXPECT_NEAR(sum / 64, settled->after, 1e-6);
}

TEST(NextShift, ConvergesWhereMasksDependOnEachOther) {
  // Ratios over the shift, with 0.51 at 0: masks that move 2.5 times as far as predicted, a sixth of
  // it, or another way at each place.
  const std::function<double(double)> ratios[] = {
      [](double shift) { return std::clamp(0.51 + 2.5 * shift, 0.0, 1.0); },
      [](double shift) { return 0.51 + shift / 6; },
      [](double shift) { return 0.51 + shift * shift * 4 + shift * 0.5; }};
  for (const auto& ratio : ratios) {
    std::vector<MeasuredShift> measured = {{.shift = 0, .ratio = ratio(0)}};
    while (std::abs(measured.back().ratio - 0.5) > 0.002 && measured.size() < 9) {
      const double shift = next_shift(measured, 0.5, 0.5 - measured.back().ratio);
      measured.push_back({.shift = shift, .ratio = ratio(shift)});
    }
    EXPECT_NEAR(measured.back().ratio, 0.5, 0.002) << measured.size();
  }
}

TEST(NextShift, LiesBetweenTheNearestOnBothSides) {
  const std::vector<MeasuredShift> measured = {{0, 0.52}, {-0.4, 0.3}, {-0.1, 0.48}, {0.2, 0.9}};
  EXPECT_NEAR(next_shift(measured, 0.5, -0.27), -0.07, 1e-9) << "as predicted";
  EXPECT_NEAR(next_shift(measured, 0.5, -1), -0.05, 1e-9) << "beyond what was measured";
  EXPECT_NEAR(next_shift({{0, 0.9}}, 0.5, -0.1), -0.1, 1e-9) << "as predicted";
  EXPECT_NEAR(next_shift({{0, 0.9}, {-0.1, 0.6}}, 0.5, -0.1), -0.3, 1e-9) << "one side: twice as far";
}

TEST(FitHead, SeparatesWhatTheFeaturesSeparate) {
  Model model = network();
  MaskedNet net(model.spec, model.weights);
  const auto top1 = fit_head(net, images(56), /*mixed_precision=*/false, kGoOn);
  ASSERT_TRUE(top1);
  // 56 images in 128 features: regression separates them.
  EXPECT_GT(*top1, 0.95);
  int64_t right = 0;
  BatchStream stream = images(56);
  torch::NoGradGuard no_gradient;
  while (auto batch = stream.next()) {
    const torch::Tensor logits = net.forward(batch->images, {.kind = MaskPolicy::Kind::dense}, false).logits;
    right += logits.argmax(1).eq(batch->labels).sum().item<int64_t>();
  }
  EXPECT_NEAR(static_cast<double>(right) / 56, *top1, 1e-9);
}

TEST(FitHead, OfFeaturesThatAreAllDeadIsFinite) {
  Model model = network();
  for (const char* conv : {"layer4.1.bn2", "layer4.0.bn2", "layer4.0.downsample.1"}) {
    std::ranges::fill(model.weights.at(std::string(conv) + ".weight").data, 0.0f);
    std::ranges::fill(model.weights.at(std::string(conv) + ".bias").data, 0.0f);
  }
  MaskedNet net(model.spec, model.weights);
  const auto top1 = fit_head(net, images(16), /*mixed_precision=*/false, kGoOn);
  ASSERT_TRUE(top1);
  EXPECT_LT(*top1, 0.5);
  for (const float weight : net.weights().at("fc.weight").data) ASSERT_TRUE(std::isfinite(weight));
}

}  // namespace
}  // namespace lasnet
