// How maskers and heads begin, and how the budget is held: on networks with random weights.
#include <gtest/gtest.h>

#include <cmath>

#include "support/random_model.h"
#include "train/budget_control.h"
#include "train/head_fit.h"
#include "train/masker_fit.h"
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
  return {make, 0, count / batch, 1};
}

const auto kGoOn = [] { return true; };

TEST(FitMaskers, FollowWhatPatchesDoAndKeepNearlyAll) {
  const Model model = network("resnet50");
  MaskedNet net(model.spec, model.weights, true);
  const MacAccount account(model.spec, kSize);
  const auto fits = fit_maskers(net, account, images(64), 1, kGoOn);
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
  const MacAccount account(model.spec, kSize);
  MaskedNet first(model.spec, model.weights, true), second(model.spec, model.weights, true);
  ASSERT_TRUE(fit_maskers(first, account, images(16), 1, kGoOn));
  ASSERT_TRUE(fit_maskers(second, account, images(16), 1, kGoOn));
  EXPECT_EQ(first.state(), second.state());
}

TEST(FitMaskers, StopWhenAsked) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights, true);
  const Weights before = net.state();
  EXPECT_FALSE(fit_maskers(net, MacAccount(model.spec, kSize), images(16), 1, [] { return false; }));
  EXPECT_EQ(net.state(), before);
}

TEST(TakeMaskerStatistics, StandardisesWhatMaskersSee) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights, true);
  const torch::Tensor x = images(8).next()->images;
  const MaskedOutput before = net.forward(x, {}, false);
  ASSERT_TRUE(take_masker_statistics(net, images(32), kGoOn));
  const MaskedOutput after = net.forward(x, {}, false);
  EXPECT_TRUE(
      torch::allclose(before.blocks[5].logit_difference, after.blocks[5].logit_difference, 1e-3, 1e-3));
  EXPECT_NE(net.state().at("layer3.1.masker.conv2.running_mean").data[0], 0);
}

TEST(HoldBudget, ComesToTheTargetOfABatch) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights);
  const MacAccount account(model.spec, kSize);
  const torch::Tensor x = images(8).next()->images;
  const auto ratio = [&] {
    torch::NoGradGuard no_gradient;
    return account.network_ratios(net.forward(x, {}, false)).mean().item<double>();
  };
  for (double target : {0.4, 0.8}) {
    for (int step = 0; step < 60; ++step) {
      torch::NoGradGuard no_gradient;
      hold_budget(net, account, net.forward(x, {}, false), target);
    }
    EXPECT_NEAR(ratio(), target, 0.03);
  }
}

TEST(SettleBudget, MeetsTheTargetWithoutNoise) {
  const Model model = network();
  MaskedNet net(model.spec, model.weights);
  const MacAccount account(model.spec, kSize);
  const auto settled = settle_budget(
      net, account, [] { return images(64); }, 0.6, kGoOn);
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->images, 64);
  EXPECT_NEAR(settled->after, 0.6, 0.01);
  EXPECT_GT(std::abs(settled->before - 0.6), 0.01);
  double sum = 0;
  BatchStream stream = images(64);
  torch::NoGradGuard no_gradient;
  while (auto batch = stream.next())
    sum += account.network_ratios(net.forward(batch->images, {}, false)).sum().item<double>();
  EXPECT_NEAR(sum / 64, settled->after, 1e-6);
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

}  // namespace
}  // namespace lasnet
