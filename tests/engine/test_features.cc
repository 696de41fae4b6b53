// Maps that runs return: the fast engine against the reference, and what they share with the logits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lasnet/engine.h"
#include "lasnet/error.h"
#include "network_case.h"
#include "support/expect_error.h"
#include "support/param_name.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using test::MaskPattern;
using test::narrow_arch;
using testing::HasSubstr;

const double kTolerance = test::logits_tolerance(Precision::fp32);

std::vector<std::string> feature_names(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (const FeatureSpec& feature : feature_specs(spec)) names.push_back(feature.name);
  return names;
}

RunOptions with_features(const ModelSpec& spec, MapLayout layout = MapLayout::nchw) {
  return {.features = feature_names(spec), .feature_layout = layout};
}

int64_t divided(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

class Features : public testing::TestWithParam<NetworkCase> {};

TEST_P(Features, AreThoseOfTheMaskedDenseNetwork) {
  const NetworkCase& c = GetParam();
  const Model model = test::random_model(narrow_arch(c.architecture, c.granularity), 1);
  const Tensor x = test::random_input(c.images, c.size, 2);
  RunOptions options = with_features(model.spec);
  const Result expected = Session(model, {.backend = Backend::reference}).run(x, options);
  const MaskSet masks = test::masks_of(expected.trace);
  options.force_masks = &masks;
  for (const Isa isa : available_isas()) {
    const Result got = Session(model, {.isa = isa, .threads = c.threads}).run(x, options);
    ASSERT_EQ(got.features.size(), expected.features.size());
    for (const FeatureSpec& feature : feature_specs(model.spec)) {
      const Tensor &map = got.features.at(feature.name), &wanted = expected.features.at(feature.name);
      EXPECT_EQ(map.shape, (Shape{c.images, feature.channels, divided(c.size.height, feature.stride),
                                  divided(c.size.width, feature.stride)}));
      EXPECT_EQ(map.shape, wanted.shape);
      EXPECT_LE(test::relative_error(map, wanted), kTolerance) << feature.name << " " << to_string(isa);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Features,
                         testing::Values(NetworkCase{"resnet18", "4-4-2-1", {64, 64}, 1, 1},
                                         NetworkCase{"resnet18", "3-5-2-9", {97, 133}, 3, 2},
                                         NetworkCase{"resnet50", "1-1-1-1", {64, 96}, 2, 3},
                                         NetworkCase{"resnet50", "8-4-7-1", {97, 67}, 3, 2},
                                         NetworkCase{"resnet34", "static", {33, 47}, 2, 1},
                                         NetworkCase{"regnet_y_400mf", "4-4-2-1", {97, 133}, 3, 2},
                                         NetworkCase{"regnet_y_400mf:dense", "3-5-2-9", {97, 67}, 2, 3},
                                         NetworkCase{"resnext50_32x4d", "4-4-2-1", {64, 48}, 2, 2}),
                         test::ParamName());

class FeaturesOfMasks : public testing::TestWithParam<MaskPattern> {};

TEST_P(FeaturesOfMasks, AgreeWithTheReference) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf"}) {
    const Model model = test::random_model(narrow_arch(name, "4-3-2-1"), 3);
    const MapSize size{65, 96};
    const Tensor x = test::random_input(2, size, 4);
    const MaskSet masks = test::make_masks(model.spec, 2, size, GetParam(), 5);
    RunOptions options = with_features(model.spec);
    options.force_masks = &masks;
    const Result expected = Session(model, {.backend = Backend::reference}).run(x, options);
    for (const char* schedule : {"", "scatter=separate", "traversal=row_bands"}) {
      const Result got = Session(model, {.schedule = parse_block_schedule(schedule)}).run(x, options);
      for (const auto& [map, values] : got.features)
        EXPECT_LE(test::relative_error(values, expected.features.at(map)), kTolerance) << name << " " << map;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, FeaturesOfMasks,
                         testing::Values(MaskPattern::empty, MaskPattern::full, MaskPattern::single,
                                         MaskPattern::border, MaskPattern::random));

TEST(FeatureMaps, OfAFullMaskAreTheStaticNetworksBitForBit) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf"}) {
    const Model model = test::random_model(narrow_arch(name, "3-5-2-9"), 6);
    const Tensor x = test::random_input(2, {65, 96}, 7);
    const MaskSet full = test::make_masks(model.spec, 2, {65, 96}, MaskPattern::full, 8);
    RunOptions options = with_features(model.spec);
    for (const Isa isa : available_isas()) {
      Session session(model, {.isa = isa});
      options.force_masks = &full;
      const Result masked = session.run(x, options);
      options.force_masks = nullptr;
      options.dense = true;
      EXPECT_EQ(masked.features, session.run(x, options).features) << name << " " << to_string(isa);
      options.dense = false;
    }
  }
}

TEST(FeatureMaps, ChangeNeitherLogitsNorTrace) {
  const Model model = test::random_model(narrow_arch("resnet50", "4-4-2-1"), 9);
  const Tensor x = test::random_input(2, {64, 80}, 10);
  for (const Backend backend : {Backend::cpu, Backend::reference}) {
    Session session(model, {.backend = backend});
    const Result plain = session.run(x), with = session.run(x, with_features(model.spec));
    EXPECT_EQ(with.logits, plain.logits);
    EXPECT_EQ(with.trace.image_macs, plain.trace.image_macs);
    EXPECT_TRUE(plain.features.empty());
  }
}

TEST(FeatureMaps, HaveTheSameValuesInBothLayouts) {
  const Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 11);
  const Tensor x = test::random_input(3, {49, 70}, 12);
  for (const Backend backend : {Backend::cpu, Backend::reference}) {
    Session session(model, {.backend = backend, .threads = 2});
    const FeatureMaps planes = session.run(x, with_features(model.spec)).features;
    const FeatureMaps pixels = session.run(x, with_features(model.spec, MapLayout::nhwc)).features;
    for (const auto& [name, map] : planes) {
      const Tensor& other = pixels.at(name);
      const int64_t channels = map.shape[1], height = map.shape[2], width = map.shape[3];
      ASSERT_EQ(other.shape, (Shape{3, height, width, channels}));
      for (int64_t i = 0; i < map.size(); ++i) {
        const int64_t n = i / (channels * height * width), c = i / (height * width) % channels;
        const int64_t pixel = i % (height * width);
        ASSERT_EQ(map.data[i], other.data[(n * height * width + pixel) * channels + c]) << name;
      }
    }
  }
}

TEST(FeatureMaps, DoNotDependOnThreadsBatchOrCompany) {
  const Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 13);
  const Tensor x = test::random_input(3, {64, 64}, 14);
  const FeatureMaps all = Session(model).run(x, with_features(model.spec)).features;
  EXPECT_EQ(Session(model, {.threads = 3}).run(x, with_features(model.spec)).features, all);
  Session session(model);
  Result result;  // its memory is used again, and maps that are not wanted any more leave it
  for (const std::string& name : feature_names(model.spec)) {
    session.run(x, {.features = {name}}, result);
    EXPECT_THAT(result.features, testing::ElementsAre(testing::Pair(name, all.at(name))));
  }
  const int64_t values = x.size() / 3;
  const Tensor& map = all.at("layer3");
  for (int64_t n = 0; n < 3; ++n) {
    Tensor image({1, 3, 64, 64});
    std::copy_n(x.data.begin() + n * values, values, image.data.begin());
    const Tensor one = session.run(image, {.features = {"layer3"}}).features.at("layer3");
    EXPECT_TRUE(std::equal(one.data.begin(), one.data.end(), map.data.begin() + n * one.size()));
  }
}

TEST(FeatureMaps, UnknownNamesAreRefusedWithThoseThatThereAre) {
  const Tensor x = test::random_input(1, {32, 32}, 15);
  Session resnet(test::random_model(narrow_arch("resnet18", "4-4-2-1"), 16));
  EXPECT_ERROR(
      resnet.run(x, {.features = {"layer1", "layer5"}}),
      HasSubstr("feature 'layer5': the network has no map of this name; it has stem, layer1, layer2, "
                "layer3, layer4"));
  Session regnet(test::random_model(narrow_arch("regnet_y_400mf", "4-4-2-1"), 17));
  EXPECT_ERROR(regnet.run(x, {.features = {"layer1"}}), HasSubstr("it has stem, block1, block2"));
  EXPECT_EQ(regnet.run(x, {.features = {"block2"}}).features.size(), 1u);  // it can be used again
}

ArchConfig dilated_arch(const std::string& name, const std::string& granularity, int stages) {
  ArchConfig arch = narrow_arch(name, granularity);
  arch.dilated_stages = stages;
  return arch;
}

/// torchvision's replace_stride_with_dilation, against plain loops: every instruction set, schedule and mask.
TEST(DilatedStages, AgreeWithTheReference) {
  for (const auto& [name, granularity, stages] :
       {std::tuple("resnet50", "4-4-2-1", 2), std::tuple("resnet50", "3-5-2-9", 1),
        std::tuple("resnext50_32x4d", "1-1-1-3", 3)}) {
    const Model model = test::random_model(dilated_arch(name, granularity, stages), 20);
    const MapSize size{65, 83};
    const Tensor x = test::random_input(2, size, 21);
    for (const MaskPattern pattern : {MaskPattern::random, MaskPattern::single, MaskPattern::border}) {
      const MaskSet masks = test::make_masks(model.spec, 2, size, pattern, 22);
      RunOptions options = with_features(model.spec);
      options.force_masks = &masks;
      const Result expected = Session(model, {.backend = Backend::reference}).run(x, options);
      const auto expect_same = [&](Session session) {
        const Result got = session.run(x, options);
        EXPECT_LE(test::relative_error(got.logits, expected.logits), kTolerance);
        for (const auto& [map, values] : got.features)
          EXPECT_LE(test::relative_error(values, expected.features.at(map)), kTolerance) << map;
        for (size_t b = 0; b < got.trace.blocks.size(); ++b)
          EXPECT_NEAR(got.trace.blocks[b].dilated_rate, expected.trace.blocks[b].dilated_rate, 1e-12);
      };
      for (const Isa isa : available_isas()) expect_same(Session(model, {.isa = isa, .threads = 2}));
      for (const char* schedule : {"masker=with_conv1", "gather=copied", "scatter=separate",
                                   "traversal=row_bands", "whole_map_above=0.3"})
        expect_same(Session(model, {.schedule = parse_block_schedule(schedule)}));
    }
  }
}

TEST(DilatedStages, DecideAndMaskAsTheReferenceDoes) {
  const Model model = test::random_model(dilated_arch("resnet50", "4-4-2-1", 2), 23);
  const Tensor x = test::random_input(2, {97, 67}, 24);
  const Result expected = Session(model, {.backend = Backend::reference}).run(x);
  const MaskSet full = test::make_masks(model.spec, 2, {97, 67}, MaskPattern::full, 25);
  for (const char* masker : {"masker=separate", "masker=incremental", "masker=with_conv1"}) {
    Session session(model, {.schedule = parse_block_schedule(masker)});
    EXPECT_EQ(test::count_wrong_decisions(session.run(x).trace, expected.trace, 1e-4), 0) << masker;
    EXPECT_EQ(session.run(x, {.force_masks = &full}).logits, session.run(x, {.dense = true}).logits);
  }
}

TEST(DilatedStages, NamesThePlaceOfAValueThatIsNotFinite) {
  Model model = test::random_model(dilated_arch("resnet50", "4-4-2-1", 2), 26);
  const ConvSpec& conv = model.spec.blocks[15].convs[0];  // its map has a border of four pixels
  model.weights.at(conv.norm_name + ".bias").data[3] = 3e38f;
  model.weights.at(conv.norm_name + ".running_mean").data[3] = -3e38f;
  const Tensor x = test::random_input(1, {48, 48}, 27);
  EXPECT_ERROR(Session(model).run(x, {.dense = true, .check_finite = true}),
               HasSubstr(conv.name + ": its output is infinite at image 0, channel 3, row 0, column 0"));
}

/// A network without a classifier computes the same maps, and no logits.
TEST(Backbone, HasTheMapsOfItsClassifier) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf"}) {
    const Model model = test::random_model(narrow_arch(name, "4-4-2-1"), 18);
    Model backbone = model;
    backbone.spec.arch.classes = 0;
    backbone.spec = make_spec(backbone.spec.arch);
    std::erase_if(backbone.weights, [](const auto& entry) { return entry.first.starts_with("fc."); });
    const Tensor x = test::random_input(2, {64, 48}, 19);
    for (const Backend backend : {Backend::cpu, Backend::reference}) {
      Session session(backbone, {.backend = backend});
      const Result got = session.run(x, with_features(model.spec));
      EXPECT_EQ(got.logits, Tensor({2, 0}));
      EXPECT_EQ(got.features,
                Session(model, {.backend = backend}).run(x, with_features(model.spec)).features);
      EXPECT_LT(got.trace.macs_ratio(), 1);
    }
  }
}

}  // namespace
}  // namespace lasnet
