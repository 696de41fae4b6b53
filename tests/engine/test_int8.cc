// Sessions in int8: every instruction set against the integer reference, bit for bit, and the invariants of
// dynamic networks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "backends/cpu/int8/executable.h"
#include "backends/cpu/int8/kernels.h"
#include "engine/int8_network.h"
#include "lasnet/error.h"
#include "lasnet/geometry.h"
#include "network_case.h"
#include "support/expect_error.h"
#include "support/param_name.h"
#include "support/quantized_model.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using test::MaskPattern;
using test::narrow_arch;
using test::quantized_model;
using testing::HasSubstr;

Session session_of(const Model& model, const Int8Kernels& kernels, int threads = 1) {
  return {std::make_shared<Int8Executable>(model, kernels, uniform_schedule(model.spec)), threads};
}

std::vector<std::string> map_names(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (const FeatureSpec& feature : feature_specs(spec)) names.push_back(feature.name);
  return names;
}

class Int8AgainstReference : public testing::TestWithParam<NetworkCase> {};

TEST_P(Int8AgainstReference, SameBits) {
  const NetworkCase& c = GetParam();
  const Model model = quantized_model(narrow_arch(c.architecture, c.granularity), 1);
  const Tensor x = test::random_input(c.images, c.size, 2);
  const RunOptions options{.features = map_names(model.spec)};
  const Result expected =
      Session(model, {.backend = Backend::reference, .precision = Precision::int8}).run(x, options);
  for (const Int8Kernels* kernels : available_int8_kernels()) {
    SCOPED_TRACE(kernels->name);
    Session session = session_of(model, *kernels, c.threads);
    const Result got = session.run(x, options);
    EXPECT_EQ(got.logits, expected.logits);
    EXPECT_EQ(got.features, expected.features);
    EXPECT_DOUBLE_EQ(got.trace.macs, expected.trace.macs);
    for (size_t b = 0; b < got.trace.blocks.size(); ++b) {
      EXPECT_EQ(got.trace.blocks[b].mask, expected.trace.blocks[b].mask);
      EXPECT_EQ(got.trace.blocks[b].logit_difference, expected.trace.blocks[b].logit_difference);
      EXPECT_DOUBLE_EQ(got.trace.blocks[b].dilated_rate, expected.trace.blocks[b].dilated_rate);
    }
    EXPECT_EQ(session.run(x, options).logits, expected.logits) << "the second run";
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Int8AgainstReference,
                         testing::Values(NetworkCase{"resnet18", "4-4-2-1", {64, 64}, 1, 1},
                                         NetworkCase{"resnet18", "3-5-2-9", {97, 131}, 3, 2},
                                         NetworkCase{"resnet50", "1-1-1-1", {64, 96}, 2, 3},
                                         NetworkCase{"resnet50", "8-4-7-1", {97, 67}, 1, 2},
                                         NetworkCase{"resnet34", "static", {33, 47}, 2, 1},
                                         NetworkCase{"regnet_y_400mf", "4-4-2-1", {64, 96}, 3, 2},
                                         NetworkCase{"regnet_y_400mf:dense", "3-5-2-9", {97, 67}, 3, 3},
                                         NetworkCase{"regnet_y_800mf", "1-1-1-1", {64, 64}, 1, 2},
                                         NetworkCase{"regnet_y_400mf", "layer", {64, 96}, 4, 2},
                                         NetworkCase{"resnext50_32x4d", "4-4-2-1", {64, 48}, 2, 2},
                                         NetworkCase{"resnet50", "layer", {97, 67}, 5, 2},
                                         NetworkCase{"resnet18", "4-layer-2-layer", {64, 96}, 3, 1}),
                         test::ParamName());

TEST(Int8, SubnormalLogitDifferencesAreZeroEverywhere) {
  Model model = quantized_model(narrow_arch("resnet18", "4-4-2-1"), 4);
  for (auto& [name, tensor] : model.weights) {
    if (name.find("masker") == std::string::npos) continue;
    std::ranges::fill(tensor.data, 0.0f);
    if (name.ends_with(".bias")) tensor.data[0] = -1e-40f;  // b0 - b1
  }
  const Tensor x = test::random_input(1, {64, 64}, 5);
  for (const Backend backend : {Backend::cpu, Backend::reference}) {
    const Result result = Session(model, {.backend = backend, .precision = Precision::int8}).run(x);
    for (const BlockTrace& block : result.trace.blocks) EXPECT_EQ(block.rate, 1) << block.name;
  }
}

TEST(Int8, ForcedMasksGiveTheReferencesBits) {
  const Model model = quantized_model(narrow_arch("resnet50", "4-4-2-1"), 4);
  const Tensor x = test::random_input(2, {64, 96}, 5);
  Session reference(model, {.backend = Backend::reference, .precision = Precision::int8});
  for (const MaskPattern pattern : {MaskPattern::empty, MaskPattern::full, MaskPattern::single,
                                    MaskPattern::border, MaskPattern::random}) {
    const MaskSet masks = test::make_masks(model.spec, 2, {64, 96}, pattern, 6);
    const Result expected = reference.run(x, {.force_masks = &masks});
    for (const Int8Kernels* kernels : available_int8_kernels()) {
      const Result got = session_of(model, *kernels).run(x, {.force_masks = &masks});
      EXPECT_EQ(got.logits, expected.logits) << kernels->name;
    }
  }
}

TEST(Int8, DilatedStagesGiveTheReferencesBits) {
  ArchConfig arch = narrow_arch("resnet50", "4-4-2-1");
  arch.dilated_stages = 2;
  const Model model = quantized_model(arch, 7);
  const Tensor x = test::random_input(1, {64, 96}, 8);
  const Result expected =
      Session(model, {.backend = Backend::reference, .precision = Precision::int8}).run(x);
  for (const Int8Kernels* kernels : available_int8_kernels())
    EXPECT_EQ(session_of(model, *kernels).run(x).logits, expected.logits) << kernels->name;
}

TEST(Int8, FullMaskIsTheStaticNetwork) {
  const Model model = quantized_model(narrow_arch("resnet50", "3-5-2-9"), 3);
  const Tensor x = test::random_input(2, {65, 96}, 4);
  const MaskSet full = test::make_masks(model.spec, 2, {65, 96}, MaskPattern::full, 5);
  Session session(model, {.precision = Precision::int8});
  EXPECT_EQ(session.run(x, {.force_masks = &full}).logits, session.run(x, {.dense = true}).logits);
}

TEST(Int8, EmptyMaskLeavesTheMapAlone) {
  const Model model = quantized_model(narrow_arch("resnet18", "4-4-2-1"), 3);
  const Tensor x = test::random_input(1, {64, 64}, 4);
  const MaskSet empty = test::make_masks(model.spec, 1, {64, 64}, MaskPattern::empty, 5);
  Session session(model, {.precision = Precision::int8});
  // The first stage of this network has identity blocks alone.
  const Result result = session.run(x, {.force_masks = &empty, .features = {"stem", "layer1"}});
  EXPECT_EQ(result.features.at("stem"), result.features.at("layer1"));
}

TEST(Int8, ABatchIsItsImages) {
  const Model model = quantized_model(narrow_arch("resnet50", "4-4-2-1"), 9);
  const Tensor x = test::random_input(3, {64, 64}, 10);
  Session session(model, {.threads = 2, .precision = Precision::int8});
  const Tensor all = session.run(x).logits;
  const int64_t image = x.size() / 3, classes = all.shape[1];
  for (int64_t n = 0; n < 3; ++n) {
    Tensor one({1, 3, 64, 64});
    std::copy_n(x.data.begin() + n * image, image, one.data.begin());
    const Tensor logits = session.run(one).logits;
    EXPECT_TRUE(std::equal(logits.data.begin(), logits.data.end(), all.data.begin() + n * classes));
  }
}

TEST(Int8, ThresholdsDecide) {
  const Model model = quantized_model(narrow_arch("resnet50", "4-4-2-1"), 9);
  const Tensor x = test::random_input(1, {64, 64}, 10);
  Session session(model, {.precision = Precision::int8});
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(session.run(x, {.thresholds = {-infinity}}).logits, session.run(x, {.dense = true}).logits);
  for (const BlockTrace& block : session.run(x, {.thresholds = {infinity}}).trace.blocks)
    EXPECT_EQ(block.rate, 0);
}

/// Not far from fp32: the scales are those of the maps that they are used for.
TEST(Int8, IsNearFp32) {
  for (const char* name : {"resnet18", "resnet50", "resnext50_32x4d", "regnet_y_400mf"}) {
    const Model model = test::random_model(narrow_arch(name, "4-4-2-1"), 1);
    for (const QuantizationMethod method :
         {QuantizationMethod::minmax, QuantizationMethod::percentile, QuantizationMethod::mse}) {
      const Model quantized = quantize(model, test::random_images(4, {96, 96}, 50), {.method = method});
      const Tensor x = test::random_input(2, {96, 96}, 2);
      const Result expected = Session(model).run(x);
      const MaskSet masks = test::masks_of(expected.trace);
      const Result got = Session(quantized, {.precision = Precision::int8}).run(x, {.force_masks = &masks});
      EXPECT_LE(test::relative_error(got.logits, expected.logits), test::logits_tolerance(Precision::int8))
          << name << " " << to_string(method);
      const Result dequantized = Session(quantized).run(x, {.force_masks = &masks});
      EXPECT_LE(test::relative_error(dequantized.logits, expected.logits), 0.08) << name;
    }
  }
}

/// Whether AVX2 may multiply every layer's bytes without saturating.
TEST(Int8, QuantizationKeepsPairsOfWeightsToTheirLimit) {
  for (const char* name : {"resnet18", "resnet50", "resnext50_32x4d", "regnet_y_400mf"}) {
    for (const QuantizationMethod method :
         {QuantizationMethod::minmax, QuantizationMethod::percentile, QuantizationMethod::mse}) {
      const Int8Network network =
          make_int8_network(quantized_model(narrow_arch(name, "4-4-2-1"), 1, {64, 64}, method));
      EXPECT_TRUE(fit_pairs(network.stem));
      EXPECT_TRUE(fit_pairs(*network.head));
      for (const Int8Block& block : network.blocks) {
        for (const Int8Layer& layer : block.convs) EXPECT_TRUE(fit_pairs(layer)) << layer.spec.name;
        EXPECT_TRUE(!block.projection || fit_pairs(*block.projection)) << block.convs[0].spec.name;
      }
    }
  }
}

TEST(Int8, RefusesByName) {
  const Model plain = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  const Model model = quantized_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  EXPECT_ERROR(Session(plain, {.precision = Precision::int8}),
               HasSubstr("precision int8: the model has no int8 weights"));
  EXPECT_ERROR(Session(model, {.backend = Backend::cuda, .precision = Precision::int8}),
               HasSubstr("use the cpu backend"));
  EXPECT_ERROR(
      Session(model, {.precision = Precision::int8, .schedule = parse_block_schedule("gather=copied")}),
      HasSubstr("int8 runs masker=incremental"));
  EXPECT_ERROR(Session(model, {.precision = Precision::fp16}), HasSubstr("computes in fp32 or int8"));
  EXPECT_ERROR(quantize(model, test::random_images(1, {64, 64}, 1)), HasSubstr("quantized already"));
  EXPECT_ERROR(quantize(plain, {}), HasSubstr("none of the 0 images"));
}

TEST(Int8, RefusesWindowsThatItCannotSum) {
  const Model model = quantized_model(narrow_arch("resnet18", "layer", 0.05), 1);
  Session session(model, {.precision = Precision::int8});
  EXPECT_ERROR(session.check_memory({8224, 8224}, 1), HasSubstr("a patch averages"));
}

}  // namespace
}  // namespace lasnet
