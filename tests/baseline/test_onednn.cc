// The oneDNN baseline against the engine's dense runs: both must compute the same network.
#include <gmock/gmock.h>

#include "baseline/baseline.h"
#include "support/expect_error.h"
#include "support/quantized_model.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;

constexpr double kTolerance = 1e-4;

/// Every variant's logits against the engine's, two inputs one after the other.
void expect_the_engines_logits(const ArchConfig& arch, const BaselineShape& shape, int threads) {
  const Model model = random_model(arch, 11);
  Session session(model);
  const auto variants = make_onednn_baselines(model, shape, threads);
  ASSERT_GE(variants.size(), 2u);
  for (const auto& variant : variants) {
    for (uint64_t seed : {1, 2}) {
      const Tensor input = random_input(shape.batch, shape.image, seed);
      const BaselineRun run = variant->run(input);
      EXPECT_LE(relative_error(run.logits, session.run(input, {.dense = true}).logits), kTolerance)
          << variant->note();
      EXPECT_GT(run.seconds, 0);
    }
  }
}

class OnednnNetworks : public testing::TestWithParam<std::string> {};

TEST_P(OnednnNetworks, GiveTheEnginesLogitsAtOddSizes) {
  expect_the_engines_logits({.name = GetParam(), .width = 0.25, .classes = 37}, {2, {97, 131}}, 1);
}

TEST_P(OnednnNetworks, GiveTheEnginesLogitsWithTheSmallStem) {
  expect_the_engines_logits({.name = GetParam(), .width = 0.125, .classes = 10, .stem = StemKind::small},
                            {3, {45, 33}}, 2);
}

INSTANTIATE_TEST_SUITE_P(Architectures, OnednnNetworks, testing::ValuesIn(architecture_names()),
                         [](const auto& param) { return param.param; });

TEST(Onednn, RunsTheFullWidthNetwork) {
  expect_the_engines_logits({.name = "resnet50", .granularity = {4, 4, 2, 1}}, {2, {97, 131}}, 2);
}

/// Of a network whose maps keep to their range: bytes of two engines differ by a step here and there.
void expect_the_engines_int8_logits(const ArchConfig& arch, const BaselineShape& shape, int threads) {
  constexpr double kInt8Tolerance = 0.05;
  const Model model = quantized_model(arch, 11, shape.image);
  Session session(model, {.precision = Precision::int8});
  const auto variants = make_onednn_baselines(model, shape, threads, Precision::int8);
  ASSERT_EQ(variants.size(), 1u);
  for (uint64_t seed : {1, 2}) {
    const Tensor input = random_input(shape.batch, shape.image, seed);
    EXPECT_LE(relative_error(variants[0]->run(input).logits, session.run(input, {.dense = true}).logits),
              kInt8Tolerance)
        << variants[0]->note();
  }
}

TEST(OnednnInt8, GivesTheEnginesLogits) {
  expect_the_engines_int8_logits({.name = "resnet18", .width = 0.25, .classes = 37}, {2, {97, 131}}, 1);
  expect_the_engines_int8_logits(
      {.name = "resnet50", .width = 0.25, .classes = 37, .granularity = {4, 4, 2, 1}}, {2, {97, 131}}, 2);
  expect_the_engines_int8_logits({.name = "resnext50_32x4d", .classes = 10}, {1, {64, 64}}, 1);
  expect_the_engines_int8_logits({.name = "resnet18", .width = 0.25, .classes = 5, .stem = StemKind::small},
                                 {3, {45, 33}}, 1);
}

TEST(OnednnInt8, RefusesWhatItDoesNotRun) {
  const BaselineShape shape{1, {64, 64}};
  const Model excited = quantized_model({.name = "regnet_y_400mf", .width = 0.25, .classes = 3}, 1);
  EXPECT_ERROR(make_onednn_baselines(excited, shape, 1, Precision::int8),
               HasSubstr("Squeeze-and-Excitation"));
  const Model model = random_model({.name = "resnet18", .width = 0.125, .classes = 3}, 1);
  EXPECT_ERROR(make_onednn_baselines(model, shape, 1, Precision::int8), HasSubstr("quantize"));
}

TEST(Onednn, NamesItsVersionLayoutAndThreads) {
  const Model model = random_model({.name = "resnet18", .width = 0.125, .classes = 3}, 1);
  const auto variants = make_onednn_baselines(model, {1, {64, 64}}, 2);
  EXPECT_EQ(variants[0]->name(), "oneDNN");
  EXPECT_THAT(variants[0]->version(), testing::StartsWith("2."));
  EXPECT_THAT(variants[0]->note(), HasSubstr("nhwc activations"));
  EXPECT_THAT(variants[1]->note(), HasSubstr("blocked activations"));
  EXPECT_THAT(variants[0]->note(), HasSubstr("2 OpenMP threads"));
}

TEST(Onednn, RefusesAnotherShape) {
  const Model model = random_model({.name = "resnet18", .width = 0.125, .classes = 3}, 1);
  const auto variants = make_onednn_baselines(model, {1, {64, 64}}, 1);
  EXPECT_ERROR(variants[0]->run(random_input(2, {64, 64}, 1)), HasSubstr("[2, 3, 64, 64]"));
}

}  // namespace
}  // namespace lasnet::test
