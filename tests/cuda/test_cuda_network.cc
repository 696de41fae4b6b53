// Whole networks of the cuda backend against the CPU backend: every mask pattern, schedule and precision.
// Built twice: over the emulated device, and over a real one, where these tests are skipped if there is none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "lasnet/engine.h"
#include "lasnet/error.h"
#include "support/expect_error.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using test::logits_tolerance;
using test::MaskPattern;

/// Narrower than elsewhere: the emulated device is slow.
ArchConfig config(const std::string& name, const std::string& granularity) {
  return test::narrow_arch(name, granularity, 0.125);
}

/// Named by the build: EmulatedNetwork or GpuNetwork.
class LASNET_TEST_SUITE : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_devices().empty()) GTEST_SKIP() << "no CUDA device: " << cuda_unavailable_reason();
  }
};

// TEST_F after the suite's name is expanded.
#define DEVICE_TEST_OF(suite, name) TEST_F(suite, name)
#define DEVICE_TEST(name) DEVICE_TEST_OF(LASNET_TEST_SUITE, name)

struct NetworkCase {
  const char* architecture;
  const char* granularity;
  MapSize size;
  int64_t images;
  Precision precision = Precision::fp32;
};

void expect_same_as_cpu(const NetworkCase& c) {
  SCOPED_TRACE(std::string(c.architecture) + " " + c.granularity + " " + to_string(c.precision));
  Model model = test::random_model(config(c.architecture, c.granularity), 1);
  Tensor x = test::random_input(c.images, c.size, 2);
  Session cpu(model), session(model, {.backend = Backend::cuda, .precision = c.precision});
  EXPECT_EQ(session.precision(), c.precision);
  Result expected = cpu.run(x);
  MaskSet masks = test::masks_of(expected.trace);
  Result got = session.run(x, {.force_masks = &masks});
  EXPECT_LE(test::relative_error(got.logits, expected.logits), logits_tolerance(c.precision));
  EXPECT_EQ(test::count_wrong_decisions(got.trace, expected.trace, logits_tolerance(c.precision)), 0);
  EXPECT_EQ(got.trace.image_macs, expected.trace.image_macs);
  for (size_t b = 0; b < got.trace.blocks.size(); ++b) {
    EXPECT_EQ(got.trace.blocks[b].mask, expected.trace.blocks[b].mask);
    EXPECT_EQ(got.trace.blocks[b].dilated_rate, expected.trace.blocks[b].dilated_rate);
  }
  Result dense = session.run(x, {.dense = true});
  EXPECT_LE(test::relative_error(dense.logits, cpu.run(x, {.dense = true}).logits),
            logits_tolerance(c.precision));
  EXPECT_DOUBLE_EQ(dense.trace.macs_ratio(), 1.0);
}

DEVICE_TEST(SameMasksAndLogitsAsTheCpu) {
  expect_same_as_cpu({"resnet18", "4-4-2-1", {64, 64}, 1});
  expect_same_as_cpu({"resnet18", "3-5-2-9", {65, 47}, 3});
  expect_same_as_cpu({"resnet50", "1-1-1-1", {32, 64}, 2});
  expect_same_as_cpu({"resnet50", "8-4-7-1", {49, 67}, 1});
  expect_same_as_cpu({"resnet34", "static", {33, 47}, 2});
  expect_same_as_cpu({"regnet_y_400mf", "4-4-2-1", {64, 32}, 3});
  expect_same_as_cpu({"regnet_y_400mf:dense", "3-5-2-9", {49, 67}, 3});
  expect_same_as_cpu({"resnext50_32x4d", "4-4-2-1", {64, 48}, 2});
  expect_same_as_cpu({"resnet50", "4-layer-2-layer", {49, 67}, 3});
  expect_same_as_cpu({"resnet18", "layer", {65, 47}, 4});
}

DEVICE_TEST(TensorCorePrecisionsAgreeWithinTheirRounding) {
  for (Precision precision : {Precision::tf32, Precision::fp16, Precision::bf16}) {
    expect_same_as_cpu({"resnet50", "4-4-2-1", {49, 67}, 2, precision});
    expect_same_as_cpu({"resnet18", "4-4-2-1", {64, 48}, 2, precision});
    expect_same_as_cpu({"regnet_y_400mf", "4-4-2-1", {64, 48}, 2, precision});
  }
}

DEVICE_TEST(EveryMaskPatternAgreesWithTheCpu) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(config(name, "4-3-2-1"), 9);
    MapSize size{48, 64};
    Tensor x = test::random_input(2, size, 10);
    Session session(model, {.backend = Backend::cuda}), cpu(model);
    for (MaskPattern pattern : {MaskPattern::empty, MaskPattern::full, MaskPattern::single,
                                MaskPattern::border, MaskPattern::random}) {
      MaskSet masks = test::make_masks(model.spec, 2, size, pattern, 11);
      RunOptions options{.force_masks = &masks};
      EXPECT_LE(test::relative_error(session.run(x, options).logits, cpu.run(x, options).logits),
                logits_tolerance(Precision::fp32))
          << name << " " << static_cast<int>(pattern);
    }
  }
}

DEVICE_TEST(SchedulesAreChoicesOfSpeedNotOfResult) {
  const BlockSchedule plans[] = {{.masker = MaskerSchedule::with_conv1},
                                 {.gather = GatherSchedule::copied},
                                 {.scatter = ScatterSchedule::separate},
                                 {.masker = MaskerSchedule::with_conv1,
                                  .gather = GatherSchedule::copied,
                                  .scatter = ScatterSchedule::separate},
                                 {.traversal = Traversal::row_bands, .whole_map_above = 0.0},
                                 {.masker = MaskerSchedule::separate, .whole_map_above = 0.5}};
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    for (Precision precision : {Precision::fp32, Precision::fp16}) {
      Model model = test::random_model(config(name, "4-3-2-1"), 24);
      Tensor x = test::random_input(2, {48, 64}, 25);
      MaskSet masks = test::make_masks(model.spec, 2, {48, 64}, MaskPattern::random, 26);
      RunOptions options{.force_masks = &masks};
      Result expected = Session(model, {.backend = Backend::cuda, .precision = precision}).run(x, options);
      for (const BlockSchedule& plan : plans) {
        auto executable = make_executable(model, Backend::cuda, std::nullopt,
                                          uniform_schedule(model.spec, plan), precision);
        Result got = Session(executable, 1).run(x, options);
        // Only the unfused addition rounds once more.
        double bound = plan.scatter == ScatterSchedule::in_place ? 0.0 : logits_tolerance(precision);
        EXPECT_LE(test::relative_error(got.logits, expected.logits), bound)
            << name << " " << to_string(precision);
        EXPECT_EQ(test::count_wrong_decisions(got.trace, expected.trace, logits_tolerance(precision)), 0);
      }
    }
  }
}

void expect_same_decisions(const Trace& got, const Trace& expected) {
  for (size_t b = 0; b < expected.blocks.size(); ++b) {
    EXPECT_EQ(got.blocks[b].mask, expected.blocks[b].mask) << expected.blocks[b].name;
    EXPECT_EQ(got.blocks[b].logit_difference, expected.blocks[b].logit_difference) << expected.blocks[b].name;
  }
}

DEVICE_TEST(MaskersOfOneMapDecideAsEachAlone) {
  struct Case {
    const char *name, *granularity;
    MapSize size;
    Precision precision;
  };
  const Case cases[] = {{"resnet50", "4-4-2-1", {64, 96}, Precision::fp32},
                        {"resnet50", "8-4-7-1", {49, 67}, Precision::fp16},
                        {"resnet18", "2-1-3-1", {65, 47}, Precision::bf16},
                        {"resnet18", "layer", {65, 47}, Precision::fp32},
                        {"regnet_y_400mf", "4-4-2-1", {64, 64}, Precision::tf32},
                        {"regnet_y_400mf:dense", "4-3-2-1", {48, 64}, Precision::fp32}};
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.name) + " " + c.granularity);
    Model model = test::random_model(config(c.name, c.granularity), 30);
    auto session = [&](MaskerSchedule masker, ScatterSchedule scatter) {
      NetworkSchedule plan = uniform_schedule(model.spec, {.masker = masker, .scatter = scatter});
      return Session(make_executable(model, Backend::cuda, std::nullopt, plan, c.precision), 1);
    };
    for (ScatterSchedule scatter : {ScatterSchedule::in_place, ScatterSchedule::separate}) {
      Session pooled = session(MaskerSchedule::incremental, scatter);
      Session separate = session(MaskerSchedule::separate, scatter);
      for (int repeat = 0; repeat < 2; ++repeat) {  // what the run before decided is forgotten
        Tensor x = test::random_input(2, c.size, 31 + repeat);
        MaskSet masks = test::make_masks(model.spec, 2, c.size,
                                         repeat == 0 ? MaskPattern::random : MaskPattern::border, 32);
        for (const RunOptions& options : {RunOptions{}, RunOptions{.force_masks = &masks}}) {
          Result got = pooled.run(x, options), expected = separate.run(x, options);
          EXPECT_EQ(got.logits, expected.logits);
          expect_same_decisions(got.trace, expected.trace);
        }
      }
    }
  }
}

/// One session, so one recorded graph: what it decides follows the thresholds of each run.
DEVICE_TEST(ThresholdsDecideAsTheMasksOfTheirDifferences) {
  for (Precision precision : {Precision::fp32, Precision::fp16}) {
    for (MaskerSchedule masker :
         {MaskerSchedule::separate, MaskerSchedule::incremental, MaskerSchedule::with_conv1}) {
      Model model = test::random_model(config("resnet50", "4-3-2-1"), 33);
      Tensor x = test::random_input(2, {48, 64}, 34);
      const NetworkSchedule plan =
          uniform_schedule(model.spec, {.masker = masker, .scatter = ScatterSchedule::in_place});
      Session session(make_executable(model, Backend::cuda, std::nullopt, plan, precision), 1);
      const Result usual = session.run(x);
      for (const double rate : {0.3, 0.8}) {
        const std::vector<float> thresholds = test::thresholds_for(usual.trace, rate);
        const Result decided = session.run(x, {.thresholds = thresholds});
        const MaskSet masks = test::masks_from(decided.trace, thresholds);
        EXPECT_EQ(test::masks_of(decided.trace), masks);
        EXPECT_NE(masks, test::masks_of(usual.trace));
        EXPECT_EQ(decided.logits, session.run(x, {.force_masks = &masks}).logits);
        EXPECT_EQ(decided.logits, session.run(x, {.thresholds = thresholds, .time_blocks = true}).logits);
      }
      EXPECT_EQ(session.run(x, {.thresholds = {-INFINITY}}).logits, session.run(x, {.dense = true}).logits);
      const Trace nothing = session.run(x, {.thresholds = {INFINITY}}).trace;
      for (const BlockTrace& block : nothing.blocks) EXPECT_EQ(block.rate, 0) << block.name;
      EXPECT_EQ(session.run(x).logits, usual.logits);
    }
  }
}

DEVICE_TEST(FullMaskIsTheStaticNetworkBitForBit) {
  for (Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16}) {
    for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
      Model model = test::random_model(config(name, "3-5-2-9"), 3);
      Tensor x = test::random_input(2, {49, 64}, 4);
      MaskSet full = test::make_masks(model.spec, 2, {49, 64}, MaskPattern::full, 5);
      Session session(model, {.backend = Backend::cuda, .precision = precision});
      EXPECT_EQ(session.run(x, {.force_masks = &full}).logits, session.run(x, {.dense = true}).logits)
          << name;
    }
  }
}

void expect_same_alone_and_in_a_batch(const char* name, Precision precision) {
  SCOPED_TRACE(std::string(name) + " " + to_string(precision));
  Model model = test::random_model(config(name, "4-4-2-1"), 12);
  Tensor x = test::random_input(3, {49, 64}, 13);
  Session session(model, {.backend = Backend::cuda, .precision = precision});
  Result whole = session.run(x);
  int64_t values = x.size() / 3;
  for (int64_t n = 0; n < 3; ++n) {
    Tensor image({1, 3, 49, 64}), expected({1, 10});
    std::copy_n(x.data.begin() + n * values, values, image.data.begin());
    std::copy_n(whole.logits.data.begin() + n * 10, 10, expected.data.begin());
    Result one = session.run(image);
    if (precision == Precision::fp32) {
      EXPECT_EQ(one.logits, expected);
      EXPECT_DOUBLE_EQ(one.trace.macs, whole.trace.image_macs[n]);
    } else {  // small batches may sum in another order
      EXPECT_LE(test::relative_error(one.logits, expected), logits_tolerance(precision));
    }
  }
}

DEVICE_TEST(ResultsDoNotDependOnTheBatch) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf"}) {
    expect_same_alone_and_in_a_batch(name, Precision::fp32);
    expect_same_alone_and_in_a_batch(name, Precision::fp16);
  }
}

DEVICE_TEST(IsReusableAcrossSizesModesAndMasks) {
  Model model = test::random_model(config("resnet18", "4-4-2-1"), 16);
  Session session(model, {.backend = Backend::cuda});
  for (MapSize size : {MapSize{64, 64}, {32, 96}, {64, 64}, {47, 61}, {96, 32}, {33, 33}, {64, 64}}) {
    Tensor x = test::random_input(2, size, 17);
    MaskSet empty = test::make_masks(model.spec, 2, size, MaskPattern::empty, 18);
    const RunOptions modes[] = {{}, {.dense = true}, {.force_masks = &empty}, {.time_blocks = true}};
    std::vector<Tensor> fresh;
    for (const RunOptions& options : modes) {
      fresh.push_back(Session(model, {.backend = Backend::cuda}).run(x, options).logits);
    }
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (size_t mode = 0; mode < std::size(modes); ++mode) {
        EXPECT_EQ(session.run(x, modes[mode]).logits, fresh[mode]);
      }
    }
  }
}

DEVICE_TEST(SessionsShareAnExecutable) {
  Model model = test::random_model(config("resnet50", "4-4-2-1"), 18);
  // Kernels of half precision ask for memory by the size of the work: sessions must not limit each other's.
  for (Precision precision : {Precision::fp32, Precision::fp16}) {
    auto executable = make_executable(model, Backend::cuda, std::nullopt, std::nullopt, precision);
    const Tensor inputs[] = {test::random_input(1, {48, 48}, 19), test::random_input(2, {64, 40}, 20)};
    std::vector<Tensor> expected;
    for (const Tensor& x : inputs) expected.push_back(Session(executable, 1).run(x).logits);
    std::vector<int> equal(2);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] {
        Session session(executable, 1);
        for (size_t repeat = 0; repeat < 4; ++repeat) {
          size_t which = (i + repeat / 2) % 2;
          equal[i] += session.run(inputs[which], {.time_blocks = repeat % 2 == 1}).logits == expected[which];
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(equal, testing::Each(4)) << to_string(precision);
  }
}

DEVICE_TEST(NamesTheLayerThatLeavesTheFiniteNumbers) {
  for (const char* name : {"resnet50", "regnet_y_400mf"}) {
    Model model = test::random_model(config(name, "4-4-2-1"), 20);
    const ConvSpec& conv = model.spec.blocks[2].convs[1];
    model.weights.at(conv.norm_name + ".bias").data[3] = 3e38f;
    model.weights.at(conv.norm_name + ".running_mean").data[3] = -3e38f;
    Tensor x = test::random_input(1, {48, 48}, 21);
    auto message = [&](Backend backend) -> std::string {
      return test::error_of(
          [&] { Session(model, {.backend = backend}).run(x, {.dense = true, .check_finite = true}); });
    };
    EXPECT_THAT(message(Backend::cuda),
                testing::StartsWith(conv.name + ": its output is infinite at image 0, channel 3"));
    EXPECT_EQ(message(Backend::cuda), message(Backend::cpu));
  }
}

void expect_features_of_the_cpu(const NetworkCase& c) {
  SCOPED_TRACE(std::string(c.architecture) + " " + to_string(c.precision));
  const Model model = test::random_model(config(c.architecture, c.granularity), 36);
  const Tensor x = test::random_input(c.images, c.size, 37);
  Session cpu(model), session(model, {.backend = Backend::cuda, .precision = c.precision});
  const MaskSet masks = test::masks_of(cpu.run(x).trace);
  RunOptions options{.force_masks = &masks};
  const Tensor logits = session.run(x, options).logits;
  std::vector<std::string> all;
  for (const FeatureSpec& feature : feature_specs(model.spec)) all.push_back(feature.name);
  for (const MapLayout layout : {MapLayout::nchw, MapLayout::nhwc}) {
    for (const bool dense : {false, true}) {
      options.features = all;
      options.feature_layout = layout;
      options.dense = dense;
      const FeatureMaps expected = cpu.run(x, options).features;
      for (const bool time_blocks : {false, true}) {  // as a graph, and kernel by kernel
        options.time_blocks = time_blocks;
        const FeatureMaps got = session.run(x, options).features;
        ASSERT_EQ(got.size(), all.size());
        for (const auto& [name, map] : got) {
          EXPECT_EQ(map.shape, expected.at(name).shape);
          EXPECT_LE(test::relative_error(map, expected.at(name)), logits_tolerance(c.precision)) << name;
        }
        options.features = {all[2], all[4]};
        const FeatureMaps two = session.run(x, options).features;
        EXPECT_THAT(two, testing::ElementsAre(testing::Pair(all[2], got.at(all[2])),
                                              testing::Pair(all[4], got.at(all[4]))));
        options.features = all;
      }
    }
  }
  EXPECT_EQ(session.run(x, {.force_masks = &masks}).logits, logits);
}

DEVICE_TEST(FeaturesAreThoseOfTheCpu) {
  expect_features_of_the_cpu({"resnet18", "3-5-2-9", {49, 67}, 3});
  expect_features_of_the_cpu({"regnet_y_400mf", "4-3-2-1", {33, 48}, 2, Precision::bf16});
  expect_features_of_the_cpu({"resnet18", "4-4-2-1", {33, 64}, 2, Precision::fp16});
}

DEVICE_TEST(ABackboneHasMapsAndNoLogits) {
  ArchConfig arch = config("resnet18", "4-4-2-1");
  arch.classes = 0;
  const Model model = test::random_model(arch, 38);
  const Tensor x = test::random_input(2, {48, 64}, 39);
  const RunOptions options{.features = {"layer4"}};
  const Result expected = Session(model).run(x, options);
  const Result got = Session(model, {.backend = Backend::cuda}).run(x, options);
  EXPECT_EQ(got.logits, Tensor({2, 0}));
  EXPECT_LE(test::relative_error(got.features.at("layer4"), expected.features.at("layer4")),
            logits_tolerance(Precision::fp32));
}

/// Small enough for tools that slow every instruction down a hundred times.
DEVICE_TEST(SmallestNetworkUnderEverySchedule) {
  const BlockSchedule plans[] = {{.masker = MaskerSchedule::separate},
                                 {.masker = MaskerSchedule::incremental},
                                 {.masker = MaskerSchedule::with_conv1},
                                 {.masker = MaskerSchedule::separate,
                                  .gather = GatherSchedule::copied,
                                  .scatter = ScatterSchedule::separate}};
  Model model = test::random_model(config("resnet50", "4-2-1-1"), 33);
  Tensor x = test::random_input(2, {32, 32}, 34);
  MaskSet masks = test::make_masks(model.spec, 2, {32, 32}, MaskPattern::random, 35);
  Tensor expected = Session(model, {}).run(x, {.force_masks = &masks}).logits;
  for (Precision precision : {Precision::fp32, Precision::fp16}) {
    for (const BlockSchedule& plan : plans) {
      NetworkSchedule uniform = uniform_schedule(model.spec, plan);
      Session session(make_executable(model, Backend::cuda, std::nullopt, uniform, precision), 1);
      for (bool time_blocks : {false, true}) {
        Result got = session.run(x, {.force_masks = &masks, .time_blocks = time_blocks});
        EXPECT_LE(test::relative_error(got.logits, expected), logits_tolerance(precision));
      }
    }
  }
}

DEVICE_TEST(RefusesDilatedStages) {
  ArchConfig arch = config("resnet50", "4-4-2-1");
  arch.dilated_stages = 2;
  const Model model = test::random_model(arch, 40);
  EXPECT_THAT([&] { Session(model, {.backend = Backend::cuda}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("2 dilated stages")));
}

DEVICE_TEST(RefusesAnInstructionSet) {
  Model model = test::random_model(config("resnet18", "4-4-2-1"), 22);
  EXPECT_THROW(Session(model, {.backend = Backend::cuda, .isa = Isa::scalar}), Error);
}

}  // namespace
}  // namespace lasnet
