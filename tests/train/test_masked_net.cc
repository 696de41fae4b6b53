// The training graph, on running statistics with hard masks, against the engine; and what training adds to
// it.
#include <gtest/gtest.h>

#include <map>

#include "lasnet/error.h"
#include "support/param_name.h"
#include "support/random_model.h"
#include "train/autocast.h"
#include "train/masked_net.h"
#include "train/norm_adaptation.h"
#include "train/oracle.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

ArchConfig arch_config(const std::string& name, const std::string& granularity,
                       StemKind stem = StemKind::imagenet) {
  return {
      .name = name, .width = 0.25, .classes = 7, .stem = stem, .granularity = parse_granularity(granularity)};
}

struct OracleCase {
  const char* arch;
  const char* granularity;
  MapSize size;
  int64_t images;
  StemKind stem = StemKind::imagenet;
  SePool se_pool = SePool::active;

  ArchConfig architecture() const {
    ArchConfig config = arch_config(arch, granularity, stem);
    config.se_pool = se_pool;
    return config;
  }
};

void PrintTo(const OracleCase& c, std::ostream* out) {
  *out << c.arch << " S " << c.granularity << ", " << c.images << " of " << c.size.height << "x"
       << c.size.width << (c.stem == StemKind::small ? ", small stem" : "")
       << (c.se_pool == SePool::dense ? ", dense pool" : "");
}

class OracleTest : public testing::TestWithParam<OracleCase> {};

MaskSet masks_of(const OracleResult& oracle) {
  MaskSet masks;
  for (const OracleBlock& block : oracle.blocks) masks[block.name] = block.mask;
  return masks;
}

TEST_P(OracleTest, EngineComputesTheSameFunction) {
  const OracleCase& c = GetParam();
  Model model = test::random_model(c.architecture(), 1);
  Tensor x = test::random_input(c.images, c.size, 2);
  OracleResult oracle = masked_dense_forward(model, x);
  MaskSet masks = masks_of(oracle);
  for (Backend backend : {Backend::reference, Backend::cpu}) {
    Result got =
        Session(model, {.backend = backend, .isa = {}, .threads = 2}).run(x, {.force_masks = &masks});
    EXPECT_LE(test::relative_error(got.logits, oracle.logits), 1e-4);
    auto image = oracle.macs_ratios.begin();
    for (double macs : got.trace.image_macs) {
      EXPECT_NEAR(macs / static_cast<double>(got.trace.static_macs), *image++, 1e-5);
    }
    auto block = oracle.blocks.begin();
    for (const BlockTrace& trace : got.trace.blocks) {
      EXPECT_EQ(trace.name, block->name);
      EXPECT_LE(test::relative_error(trace.logit_difference, block->logit_difference), 1e-4) << trace.name;
      ++block;
    }
  }
}

TEST_P(OracleTest, EngineComputesTheSameStaticNetwork) {
  const OracleCase& c = GetParam();
  Model model = test::random_model(c.architecture(), 3);
  Tensor x = test::random_input(c.images, c.size, 4);
  OracleResult oracle = masked_dense_forward(model, x, {.dense = true});
  EXPECT_TRUE(oracle.blocks.empty());
  Result got = Session(model).run(x, {.dense = true});
  EXPECT_LE(test::relative_error(got.logits, oracle.logits), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, OracleTest,
    testing::Values(
        OracleCase{"resnet18", "4-4-2-1", {64, 64}, 3}, OracleCase{"resnet18", "3-5-2-9", {97, 75}, 1},
        OracleCase{"resnet18", "1-1-1-1", {48, 32}, 2, StemKind::small},
        OracleCase{"resnet50", "8-4-7-1", {80, 64}, 3}, OracleCase{"resnet50", "3-5-2-9", {97, 131}, 1},
        OracleCase{"resnet101", "4-4-2-1", {64, 40}, 1}, OracleCase{"regnet_y_400mf", "4-4-2-1", {64, 97}, 3},
        OracleCase{"regnet_y_400mf", "3-5-2-9", {96, 64}, 3, StemKind::imagenet, SePool::dense},
        OracleCase{"regnet_y_800mf", "1-1-1-1", {48, 32}, 2, StemKind::small},
        OracleCase{"resnext50_32x4d", "4-4-2-1", {64, 64}, 2},
        OracleCase{"resnet50", "4-layer-2-layer", {97, 75}, 4},
        OracleCase{"regnet_y_400mf", "layer", {64, 96}, 3}),
    test::ParamName());

TEST(Oracle, MaskIsTheSignOfTheLogitDifference) {
  Model model = test::random_model(arch_config("resnet18", "1-1-1-1"), 1);
  OracleResult oracle = masked_dense_forward(model, test::random_input(2, {64, 64}, 2));
  ASSERT_EQ(oracle.blocks.size(), 8u);
  for (const OracleBlock& block : oracle.blocks) {
    ASSERT_EQ(block.mask.shape, block.logit_difference.shape) << "a patch is a pixel when S = 1";
    for (size_t i = 0; i < block.mask.data.size(); ++i) {
      EXPECT_EQ(block.mask.data[i], block.logit_difference.data[i] >= 0);
    }
  }
}

TEST(Oracle, RefusesBadInputAndMasks) {
  Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  EXPECT_THROW(masked_dense_forward(model, Tensor({1, 4, 64, 64})), Error);
  EXPECT_THROW(masked_dense_forward(model, Tensor({1, 3, 16, 64})), Error);
  MaskSet unknown = {{"layer9.0", ByteTensor({1, 16, 16})}};
  EXPECT_THROW(masked_dense_forward(model, Tensor({1, 3, 64, 64}), {.force_masks = &unknown}), Error);
  MaskSet small = {{"layer1.0", ByteTensor({1, 8, 16})}};
  EXPECT_THROW(masked_dense_forward(model, Tensor({1, 3, 64, 64}), {.force_masks = &small}), Error);
}

TEST(MaskedNet, WeightsPassThroughUnchanged) {
  Model model = test::random_model(arch_config("resnet50", "4-4-2-1"), 1);
  MaskedNet net(model.spec, model.weights);
  EXPECT_EQ(net.weights(), model.weights);
  Weights others = random_weights(model.spec, 9);
  net.load(others);
  EXPECT_EQ(net.weights(), others);
  others.erase("fc.bias");
  EXPECT_THROW(net.load(others), Error);
}

/// A network whose maskers have seen statistics, and so compute something else than their bare weights.
MaskedNet standardised_net(const Model& model, const torch::Tensor& x) {
  MaskedNet net(model.spec, model.weights, /*standardise_maskers=*/true);
  net.forward(x, {}, /*training=*/true);
  return net;
}

TEST(StandardisedMaskers, AtFirstChangeNothing) {
  const Model model = test::random_model(arch_config("resnet50", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  const MaskedNet plain(model.spec, model.weights), standardised(model.spec, model.weights, true);
  EXPECT_TRUE(torch::allclose(plain.forward(x, {}, false).logits, standardised.forward(x, {}, false).logits));
  EXPECT_EQ(standardised.state().size(), model.weights.size() + 2 * 16 + 1)
      << "mean and variance of 16 maskers, and their rates";
}

TEST(StandardisedMaskers, AreFoldedIntoTheModelsWeights) {
  const Model model = test::random_model(arch_config("resnet50", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  const MaskedNet net = standardised_net(model, x);
  const MaskedNet folded(model.spec, net.weights());
  EXPECT_NE(net.weights().at("layer2.1.masker.conv2.weight"),
            model.weights.at("layer2.1.masker.conv2.weight"));
  const MaskedOutput expected = net.forward(x, {}, false), got = folded.forward(x, {}, false);
  for (size_t i = 0; i < got.blocks.size(); ++i)
    EXPECT_TRUE(
        torch::allclose(got.blocks[i].logit_difference, expected.blocks[i].logit_difference, 1e-3, 1e-3))
        << i;
}

TEST(StandardisedMaskers, KeepWhatTheyComputeWhenStatisticsAreSet) {
  const Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  MaskedNet net = standardised_net(model, x);
  const MaskedOutput before = net.forward(x, {}, false);
  const int64_t channels = model.spec.blocks[3].in_channels;
  net.set_masker_statistics(3, torch::rand({channels}), torch::rand({channels}) + 0.5);
  const MaskedOutput after = net.forward(x, {}, false);
  EXPECT_TRUE(
      torch::allclose(after.blocks[3].logit_difference, before.blocks[3].logit_difference, 1e-3, 1e-4));
}

TEST(StandardisedMaskers, AreLoadedAsTheyWere) {
  const Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  const MaskedNet net = standardised_net(model, x);
  MaskedNet again(model.spec, model.weights, true);
  again.load(net.state());
  EXPECT_EQ(again.state(), net.state());
  MaskedNet plain(model.spec, model.weights);
  EXPECT_THROW(again.load(plain.state()), Error) << "its statistics are missing";
}

TEST(StandardisedMaskers, DoNotTeachTheFeatures) {
  const Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  const auto gradients = [&](bool standardise) {
    MaskedNet net(model.spec, model.weights, standardise);
    Random random(4);
    net.forward(x, {.kind = MaskPolicy::Kind::sample, .random = &random}, /*training=*/true)
        .rates.sum()
        .backward();
    std::map<std::string, bool> any;
    for (const NamedTensor& parameter : net.parameters()) {
      const torch::Tensor gradient = parameter.tensor.grad();
      any[parameter.name] = gradient.defined() && gradient.abs().max().item<double>() > 0;
    }
    return any;
  };
  EXPECT_TRUE(gradients(false).at("layer1.0.conv1.weight"));
  EXPECT_FALSE(gradients(true).at("layer1.0.conv1.weight"));
  EXPECT_TRUE(gradients(true).at("layer2.1.masker.conv2.weight"));
}

/// Training batches of [0, 1) noise.
BatchStream batches_of(const std::vector<torch::Tensor>& images) {
  const auto open = [images](int64_t index) {
    const torch::Tensor& x = images[static_cast<size_t>(index)];
    return Batch{.images = x, .labels = torch::zeros({x.size(0)}, torch::kLong)};
  };
  return {{.open = open}, 0, static_cast<int64_t>(images.size()), 1};
}

class AdaptNorms : public testing::Test {
 protected:
  static constexpr auto kGoOn = [] { return true; };
  const MaskPolicy dense_{.kind = MaskPolicy::Kind::dense};
  const Model model_ = test::random_model(arch_config("resnet50", "4-4-2-1"), 1);
  const torch::Tensor a_ = torch::rand({4, 3, 64, 64}) * 2 + 1, b_ = torch::rand({4, 3, 64, 64}) * 3;
  MaskedNet net_{model_.spec, model_.weights};

  double change_by_training() {
    net_.set_norm_momentum(0);  // the running statistics stay
    const torch::Tensor deployed = net_.forward(a_, dense_, false).logits;
    return (net_.forward(a_, dense_, true).logits - deployed).norm().item<double>() /
           deployed.norm().item<double>();
  }
};

TEST_F(AdaptNorms, KeepsTheFunction) {
  const MaskedOutput before = net_.forward(a_, {}, false);
  ASSERT_TRUE(adapt_norms(net_, dense_.kind, batches_of({a_, b_}), 8, /*mixed_precision=*/false, kGoOn));
  const MaskedOutput after = net_.forward(a_, {}, false);
  EXPECT_LE((after.logits - before.logits).norm().item<double>(), 1e-4 * before.logits.norm().item<double>());
  for (size_t i = 0; i < before.blocks.size(); ++i)
    EXPECT_TRUE(torch::equal(after.blocks[i].mask, before.blocks[i].mask)) << i;
}

TEST_F(AdaptNorms, TrainingBeginsWithTheFunction) {
  EXPECT_GT(change_by_training(), 0.2) << "statistics of other data";
  ASSERT_TRUE(adapt_norms(net_, dense_.kind, batches_of({a_}), 4, /*mixed_precision=*/false, kGoOn));
  EXPECT_LT(change_by_training(), 0.02);
}

TEST_F(AdaptNorms, TakesTheMeanOfAsManyImagesAsItIsGiven) {
  const auto mean_after = [&](const std::vector<torch::Tensor>& batches, int64_t images) {
    MaskedNet net(model_.spec, model_.weights);
    EXPECT_TRUE(adapt_norms(net, dense_.kind, batches_of(batches), images, /*mixed_precision=*/false, kGoOn));
    return to_torch(net.weights().at("bn1.running_mean"));
  };
  const torch::Tensor of_a = mean_after({a_, b_}, 4), of_b = mean_after({b_}, 4),
                      both = mean_after({a_, b_}, 8);
  EXPECT_FALSE(torch::allclose(of_a, of_b, 1e-2, 1e-2));
  EXPECT_TRUE(torch::allclose(both, (of_a + of_b) / 2, 1e-4, 1e-5));
  // The stem's convolution of these images, by libtorch itself.
  const torch::Tensor stem = torch::conv2d(a_, to_torch(model_.weights.at("conv1.weight")), {}, 2, 3);
  EXPECT_TRUE(torch::allclose(of_a, stem.mean({0, 2, 3}), 1e-4, 1e-5));
}

TEST_F(AdaptNorms, KeepsTheFunctionUnderMasks) {
  ASSERT_TRUE(
      adapt_norms(net_, MaskPolicy::Kind::decide, batches_of({a_}), 4, /*mixed_precision=*/false, kGoOn));
  const Tensor masked = net_.weights().at("layer2.1.bn1.running_mean");
  MaskedNet other(model_.spec, model_.weights);
  const MaskedOutput before = other.forward(a_, {}, false), after = net_.forward(a_, {}, false);
  EXPECT_LE((after.logits - before.logits).norm().item<double>(), 1e-4 * before.logits.norm().item<double>());
  ASSERT_TRUE(adapt_norms(other, dense_.kind, batches_of({a_}), 4, /*mixed_precision=*/false, kGoOn));
  EXPECT_NE(other.weights().at("layer2.1.bn1.running_mean"), masked);
}

TEST_F(AdaptNorms, StopsWhenAskedWithTheFunctionAsItWas) {
  const torch::Tensor before = net_.forward(a_, dense_, false).logits;
  EXPECT_FALSE(
      adapt_norms(net_, dense_.kind, batches_of({a_}), 4, /*mixed_precision=*/false, [] { return false; }));
  EXPECT_TRUE(torch::allclose(net_.forward(a_, dense_, false).logits, before, 1e-3, 1e-3));
}

TEST(MaskedNet, ShiftsMoveTheLogitsOfOneBlock) {
  const Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({1, 3, 64, 64});
  MaskedNet net(model.spec, model.weights);
  const MaskedOutput before = net.forward(x, {}, false);
  net.shift_masker(0, 1.5);
  const MaskedOutput after = net.forward(x, {}, false);
  EXPECT_TRUE(torch::allclose(after.blocks[0].logit_difference, before.blocks[0].logit_difference + 1.5));
  EXPECT_THROW(net.shift_masker(8, 1), Error);
}

TEST(MaskedNet, FullMasksAreTheStaticNetworkAndSayWhatPatchesDo) {
  const Model model = test::random_model(arch_config("resnet50", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  const MaskedNet net(model.spec, model.weights);
  const MaskedOutput full = net.forward(x, {.kind = MaskPolicy::Kind::full}, false);
  EXPECT_TRUE(torch::allclose(full.logits, net.forward(x, {.kind = MaskPolicy::Kind::dense}, false).logits));
  full.logits.sum().backward();
  for (const BlockMasks& block : full.blocks) {
    ASSERT_TRUE(block.patches.grad().defined());
    EXPECT_GT(block.patches.grad().abs().max().item<double>(), 0);
  }
}

TEST(MaskedNet, InMixedPrecisionDecidesInFullPrecision) {
  if (!computes_bf16(torch::kCPU)) GTEST_SKIP() << "this processor computes no bfloat16";
  const Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  const torch::Tensor x = torch::rand({2, 3, 64, 64});
  const MaskedNet net(model.spec, model.weights);
  const MaskedOutput exact = net.forward(x, {.kind = MaskPolicy::Kind::dense}, false);
  const AutocastScope bf16(true);
  const MaskedOutput mixed = net.forward(x, {}, false);
  EXPECT_EQ(mixed.stages.front().scalar_type(), torch::kBFloat16);
  EXPECT_EQ(mixed.logits.scalar_type(), torch::kFloat32);
  for (const BlockMasks& block : mixed.blocks)
    EXPECT_EQ(block.logit_difference.scalar_type(), torch::kFloat32);
  const torch::Tensor dense = net.forward(x, {.kind = MaskPolicy::Kind::dense}, false).logits;
  EXPECT_TRUE(torch::allclose(dense, exact.logits, 0.05, 0.05));
  EXPECT_FALSE(torch::equal(dense, exact.logits));
}

TEST(MaskedNet, StatisticsOfSeveralBatchesAreTheirMean) {
  const Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  const auto statistics = [&](const std::vector<torch::Tensor>& batches) {
    MaskedNet net(model.spec, model.weights);
    for (size_t i = 0; i < batches.size(); ++i) {
      net.set_norm_momentum(1.0 / static_cast<double>(i + 1));
      net.forward(batches[i], {.kind = MaskPolicy::Kind::dense}, /*training=*/true);
    }
    return to_torch(net.weights().at("bn1.running_mean"));
  };
  const torch::Tensor a = torch::rand({2, 3, 64, 64}), b = torch::rand({2, 3, 64, 64});
  EXPECT_TRUE(torch::allclose(statistics({a, b}), (statistics({a}) + statistics({b})) / 2, 1e-4, 1e-6));
}

TEST(MaskedNet, NormStatisticsComeFromAllPixels) {
  // With empty masks the first block's body changes no output, yet its statistics are those of full masks.
  Model model = test::random_model(arch_config("resnet18", "4-4-2-1"), 1);
  torch::Tensor x = torch::rand({2, 3, 64, 64});
  auto statistics = [&](test::MaskPattern pattern) {
    MaskedNet net(model.spec, model.weights);
    MaskSet masks = test::make_masks(model.spec, 2, {64, 64}, pattern, 3);
    net.forward(x, {.forced = &masks}, /*training=*/true);
    return net.weights().at("layer1.0.bn2.running_mean");
  };
  Tensor empty = statistics(test::MaskPattern::empty);
  EXPECT_EQ(empty, statistics(test::MaskPattern::full));
  EXPECT_NE(empty, model.weights.at("layer1.0.bn2.running_mean"));
}

TEST(MaskedNet, ClassificationReachesEveryParameter) {
  torch::manual_seed(4);  // of itself the generator is not: one input in fifty selects no patch of a block
  for (const char* name : {"resnet18", "regnet_y_400mf"}) {
    Model model = test::random_model(arch_config(name, "4-4-2-1"), 1);
    MaskedNet net(model.spec, model.weights);
    Random random(4);
    MaskedOutput output =
        net.forward(torch::rand({4, 3, 64, 64}),
                    {.kind = MaskPolicy::Kind::sample, .temperature = 1, .random = &random}, true);
    output.logits.square().sum().backward();
    for (const NamedTensor& parameter : net.parameters()) {
      ASSERT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
      EXPECT_GT(parameter.tensor.grad().abs().max().item<double>(), 0) << parameter.name;
    }
  }
}

/// Projections of 8 channels on large maps: what oneDNN does of them by itself destroys the heap.
TEST(MaskedNet, NarrowNetworksHaveGradientsOnLargeMaps) {
  ArchConfig config = arch_config("resnet18", "4-4-2-1");
  config.width = 0.125;
  const Model model = test::random_model(config, 20);
  const torch::Tensor x = to_torch(test::random_input(4, {192, 192}, 21));
  const auto gradient = [&] {
    const MaskedNet net(model.spec, model.weights);
    net.forward(x, {.kind = MaskPolicy::Kind::dense}, true).logits.square().sum().backward();
    std::vector<torch::Tensor> gradients;
    for (const NamedTensor& parameter : net.parameters()) {
      if (!net.is_masker(parameter.name)) gradients.push_back(parameter.tensor.grad().flatten());
    }
    return torch::cat(gradients);
  };
  const torch::Tensor first = gradient();
  EXPECT_TRUE(first.isfinite().all().item<bool>());
  EXPECT_GT(first.abs().sum().item<float>(), 0);
  EXPECT_TRUE(first.equal(gradient()));
}

TEST(MaskedNet, SampledMasksFollowTheNoiseAlone) {
  Model model = test::random_model(arch_config("resnet18", "1-1-1-1"), 1);
  MaskedNet net(model.spec, model.weights);
  torch::NoGradGuard no_gradient;
  torch::Tensor x = torch::rand({2, 3, 64, 64});
  auto sample = [&](uint64_t seed) {
    Random random(seed);
    MaskPolicy policy{.kind = MaskPolicy::Kind::sample, .temperature = 1, .random = &random};
    return net.forward(x, policy, /*training=*/false).blocks.front().mask;
  };
  EXPECT_TRUE(torch::equal(sample(1), sample(1)));
  EXPECT_FALSE(torch::equal(sample(1), sample(2)));
}

}  // namespace
}  // namespace lasnet
