// Loss terms against values worked out by hand, and MAC accounting against lasnet/geometry.h.
#include <gtest/gtest.h>

#include <cmath>

#include "support/param_name.h"
#include "support/random_model.h"
#include "train/losses.h"

namespace lasnet {
namespace {

ArchConfig arch_config(const std::string& name, const std::string& granularity) {
  return {.name = name,
          .width = 0.25,
          .classes = 7,
          .stem = StemKind::imagenet,
          .granularity = parse_granularity(granularity)};
}

torch::Tensor run_input(int64_t images, MapSize size) {
  return torch::ones({images, 3, size.height, size.width});
}

/// MACs of image `n` by the integer definitions alone.
double counted_macs(const ModelSpec& spec, MapSize size, const MaskSet& masks, int64_t n) {
  NetworkGeometry geometry = network_geometry(spec, size);
  auto total = static_cast<double>(fixed_macs(spec, geometry));
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockGeometry& block = geometry.blocks[b];
    auto pixels = static_cast<size_t>(block.output.pixels());
    std::span<const uint8_t> mask(masks.at(spec.blocks[b].name).data.data() + static_cast<size_t>(n) * pixels,
                                  pixels);
    std::vector<uint8_t> dilated(static_cast<size_t>(block.middle.pixels()));
    dilate_mask(mask, block.output, block.dilation_stride, block.middle, dilated);
    total += block_macs(spec.blocks[b], block).dynamic_total(activation_rate(mask), activation_rate(dilated));
  }
  return total;
}

struct AccountCase {
  const char* arch;
  const char* granularity;
  MapSize size;
  SePool se_pool = SePool::active;
};

void PrintTo(const AccountCase& c, std::ostream* out) {
  *out << c.arch << " S " << c.granularity << ", " << c.size.height << "x" << c.size.width
       << (c.se_pool == SePool::dense ? ", dense pool" : "");
}

class CostAccountTest : public testing::TestWithParam<AccountCase> {};

TEST_P(CostAccountTest, AgreesWithTheCountOverMasks) {
  const AccountCase& c = GetParam();
  constexpr int64_t kImages = 2;
  ArchConfig arch = arch_config(c.arch, c.granularity);
  arch.se_pool = c.se_pool;
  Model model = test::random_model(arch, 1);
  MaskSet masks = test::make_masks(model.spec, kImages, c.size, test::MaskPattern::random, 2);
  ByteTensor& skipped = masks.at(model.spec.blocks.back().name);  // by the second image
  std::fill(skipped.data.begin() + skipped.size() / 2, skipped.data.end(), uint8_t{0});
  MaskedNet net(model.spec, model.weights);
  torch::NoGradGuard no_gradient;
  MaskedOutput output = net.forward(run_input(kImages, c.size), {.forced = &masks}, /*training=*/false);
  torch::Tensor ratios = CostAccount(NetworkCost::macs(model.spec, c.size)).network_ratios(output);
  for (int64_t n = 0; n < kImages; ++n) {
    double expected =
        counted_macs(model.spec, c.size, masks, n) / static_cast<double>(static_macs(model.spec, c.size));
    EXPECT_NEAR(ratios[n].item<double>(), expected, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, CostAccountTest,
                         testing::Values(AccountCase{"resnet18", "4-4-2-1", {64, 64}},
                                         AccountCase{"resnet18", "3-5-2-9", {97, 75}},
                                         AccountCase{"resnet50", "8-4-7-1", {64, 96}},
                                         AccountCase{"resnet50", "1-1-1-1", {33, 50}},
                                         AccountCase{"regnet_y_400mf", "4-4-2-1", {64, 64}},
                                         AccountCase{"regnet_y_400mf", "4-4-2-1", {97, 64}, SePool::dense}),
                         test::ParamName());

TEST(CostAccount, FullMasksCostTheStaticNetworkAndItsMaskers) {
  MapSize size{64, 64};
  Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  MaskSet full = test::make_masks(model.spec, 1, size, test::MaskPattern::full, 2);
  MaskedNet net(model.spec, model.weights);
  MaskedOutput output = net.forward(run_input(1, size), {.forced = &full}, /*training=*/false);
  NetworkGeometry geometry = network_geometry(model.spec, size);
  double maskers = 0;
  for (size_t b = 0; b < model.spec.blocks.size(); ++b) {
    maskers += static_cast<double>(block_macs(model.spec.blocks[b], geometry.blocks[b]).masker);
  }
  const CostAccount account(NetworkCost::macs(model.spec, size));
  EXPECT_GT(maskers, 0);
  EXPECT_NEAR(account.network_ratios(output).item<double>(),
              1 + maskers / static_cast<double>(static_macs(model.spec, size)), 1e-6);
  EXPECT_TRUE(torch::allclose(account.block_ratios(MaskShares(output)), torch::ones({8})));
}

TEST(CostAccount, StaticNetworkCostsOne) {
  ModelSpec spec = make_spec(arch_config("resnet18", "static"));
  MaskedNet net(spec, random_weights(spec, 1));
  MaskedOutput output = net.forward(run_input(2, {32, 32}), {}, /*training=*/false);
  torch::Tensor ratios = CostAccount(NetworkCost::macs(spec, {32, 32})).network_ratios(output);
  EXPECT_TRUE(torch::equal(ratios, torch::ones({2})));
}

/// Gradient of F with respect to every masker's bias.
std::vector<double> budget_gradients(bool straight_through_dilation) {
  Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  MaskedNet net(model.spec, model.weights);
  Random random(3);
  MaskedOutput output = net.forward(run_input(2, {64, 64}),
                                    {.kind = MaskPolicy::Kind::sample,
                                     .temperature = 1.0,
                                     .random = &random,
                                     .straight_through_dilation = straight_through_dilation},
                                    /*training=*/true);
  CostAccount(NetworkCost::macs(model.spec, {64, 64})).network_ratios(output).mean().backward();
  std::vector<double> gradients;
  for (const NamedTensor& parameter : net.parameters()) {
    if (net.is_masker(parameter.name) && parameter.name.ends_with(".bias")) {
      gradients.push_back(parameter.tensor.grad()[0].item<double>());
    }
  }
  return gradients;
}

TEST(CostAccount, EveryMaskerFeelsTheBudget) {
  std::vector<double> gradients = budget_gradients(false);
  ASSERT_EQ(gradients.size(), 8u);
  for (double gradient : gradients) EXPECT_GT(gradient, 0);
}

TEST(CostAccount, StraightThroughDilationAddsTheFirstConvolutionsGradient) {
  std::vector<double> without = budget_gradients(false), with = budget_gradients(true);
  for (size_t b = 0; b < without.size(); ++b) EXPECT_GT(with[b], without[b]);
}

TEST(NetworkCost, SharesOfBlocksAddUpToTheNetwork) {
  const ModelSpec spec = make_spec({.name = "resnet50", .granularity = {4, 4, 2, 1}});
  const NetworkCost cost = NetworkCost::macs(spec, {96, 96});
  double full = cost.fixed(), empty = cost.fixed();
  for (size_t block = 0; block < 16; ++block) {
    full += cost.blocks()[block].at(1, 1);
    empty += cost.blocks()[block].at(0, 0);
    EXPECT_GT(cost.blocks()[block].at(0.5, 0.7), cost.blocks()[block].at(0.5, 0.5));
  }
  EXPECT_NEAR(full, 1, 0.01) << "the static network, and the maskers";
  EXPECT_GT(full, 1);
  EXPECT_LT(empty, 0.3) << "stem, projections, maskers and head";
}

TEST(FlopsLoss, IsTheSquaredDistanceOfTheBatchMeanFromTheTarget) {
  EXPECT_NEAR(flops_loss(torch::tensor({0.9, 0.5}), 0.4).item<double>(), 0.09, 1e-6);
}

TEST(RatioBounds, OpenOverTheFirstThird) {
  Bounds start = ratio_bounds(0.4, 0);
  EXPECT_DOUBLE_EQ(start.low, 0.4);
  EXPECT_DOUBLE_EQ(start.up, 0.4);
  Bounds middle = ratio_bounds(0.4, 1.0 / 6);  // cos^2(pi / 4) = 1/2
  EXPECT_NEAR(middle.low, 0.2, 1e-12);
  EXPECT_NEAR(middle.up, 0.7, 1e-12);
  for (double progress : {1.0 / 3, 0.5, 1.0}) {
    EXPECT_NEAR(ratio_bounds(0.4, progress).low, 0, 1e-12);
    EXPECT_NEAR(ratio_bounds(0.4, progress).up, 1, 1e-12);
  }
}

TEST(RatioBounds, AShareOfThePinningMayStay) {
  for (double progress : {1.0 / 3, 1.0}) {
    EXPECT_NEAR(ratio_bounds(0.4, progress, 0.25).low, 0.1, 1e-12);
    EXPECT_NEAR(ratio_bounds(0.4, progress, 0.25).up, 0.85, 1e-12);
  }
  EXPECT_NEAR(ratio_bounds(0.4, 1.0 / 6, 0.25).low, 0.2, 1e-12) << "half of it, still";
}

TEST(NoiseScale, ReachesItsEndAfterFourFifths) {
  EXPECT_DOUBLE_EQ(noise_scale(1, 0, 0), 1);
  EXPECT_DOUBLE_EQ(noise_scale(1, 0, 0.4), 0.5);
  EXPECT_DOUBLE_EQ(noise_scale(1, 0, 0.8), 0);
  EXPECT_DOUBLE_EQ(noise_scale(1, 0.2, 1), 0.2);
  EXPECT_DOUBLE_EQ(noise_scale(1, 1, 0.5), 1);
  EXPECT_DOUBLE_EQ(noise_scale(0.5, 0, 0.4), 0.25);
  EXPECT_DOUBLE_EQ(noise_scale(0, 0, 0.4), 0);
}

TEST(FeatureLoss, IsTheRelativeSquareMeanOverMaps) {
  const torch::Tensor a = torch::full({1, 2, 3, 3}, 2.0f), b = torch::full({1, 4, 2, 2}, 5.0f);
  EXPECT_NEAR(feature_loss({a, b}, {a, b}, mean_squares({a, b})).item<double>(), 0, 1e-7);
  EXPECT_NEAR(feature_loss({a * 0, b}, {a, b}, mean_squares({a, b})).item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(feature_loss({a * 3, b * 2}, {a, b}, mean_squares({a, b})).item<double>(), (4.0 + 1.0) / 2,
              1e-6);
}

TEST(BoundsLoss, PunishesOnlyWhatIsOutside) {
  // (0.1^2 + 0 + 0.2^2) / 3
  EXPECT_NEAR(bounds_loss(torch::tensor({0.2, 0.5, 0.9}), {.low = 0.3, .up = 0.7}).item<double>(), 0.05 / 3,
              1e-6);
}

TEST(DistillationLoss, IsTheScaledDivergenceFromTheTeacher) {
  constexpr double kTemperature = 2;
  double teacher[] = {std::exp(0.5), std::exp(-0.5)};  // logits 1, -1 over the temperature
  double p = teacher[0] / (teacher[0] + teacher[1]);
  double expected = kTemperature * kTemperature * (p * std::log(p / 0.5) + (1 - p) * std::log((1 - p) / 0.5));
  torch::Tensor student = torch::tensor({{3.0, 3.0}});
  EXPECT_NEAR(distillation_loss(student, torch::tensor({{1.0, -1.0}}), kTemperature).item<double>(), expected,
              1e-6);
  EXPECT_NEAR(distillation_loss(student, student + 5, kTemperature).item<double>(), 0, 1e-6);
}

TEST(ClassificationLoss, SmoothingSpreadsTheTarget) {
  torch::Tensor logits = torch::tensor({{2.0, 0.0}});
  torch::Tensor label = torch::zeros({1}, torch::kInt64);
  double log_sum = std::log(std::exp(2.0) + 1);
  EXPECT_NEAR(classification_loss(logits, label, 0).item<double>(), log_sum - 2, 1e-6);
  // 0.2 smoothing over two classes: 0.9 on the label, 0.1 on the other.
  EXPECT_NEAR(classification_loss(logits, label, 0.2).item<double>(), 0.9 * (log_sum - 2) + 0.1 * log_sum,
              1e-6);
}

}  // namespace
}  // namespace lasnet
