// Architectures and their accounting against published figures and hand-computed cases.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lasnet/error.h"
#include "lasnet/geometry.h"
#include "support/expect_error.h"

namespace lasnet {
namespace {

ModelSpec spec_of(const std::string& name, const std::string& granularity = "") {
  ArchConfig arch;
  arch.name = name;
  arch.granularity = parse_granularity(granularity);
  return make_spec(arch);
}

int64_t trainable_parameters(const ModelSpec& spec) {
  int64_t count = 0;
  for (const TensorSpec& tensor : required_tensors(spec)) {
    if (tensor.name.find("running_") == std::string::npos) count += element_count(tensor.shape);
  }
  return count;
}

struct Published {
  const char* name;
  int64_t parameters;
  double giga_macs;  ///< at 224 px
};

void PrintTo(const Published& p, std::ostream* out) { *out << p.name; }

class TorchvisionFigures : public testing::TestWithParam<Published> {};

/// "num_params" and "_ops" of torchvision's model pages.
TEST_P(TorchvisionFigures, ParametersAndMacs) {
  ModelSpec spec = spec_of(GetParam().name);
  EXPECT_EQ(trainable_parameters(spec), GetParam().parameters);
  EXPECT_NEAR(static_cast<double>(static_macs(spec, {224, 224})) / 1e9, GetParam().giga_macs, 6e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, TorchvisionFigures,
    testing::Values(Published{"resnet18", 11689512, 1.814}, Published{"resnet34", 21797672, 3.664},
                    Published{"resnet50", 25557032, 4.089}, Published{"resnet101", 44549160, 7.801},
                    Published{"resnet152", 60192808, 11.514}, Published{"resnext50_32x4d", 25028904, 4.230},
                    Published{"resnext101_32x8d", 88791336, 16.414},
                    Published{"wide_resnet50_2", 68883240, 11.398},
                    Published{"wide_resnet101_2", 126886696, 22.753},
                    Published{"regnet_y_400mf", 4344144, 0.402}, Published{"regnet_y_800mf", 6432512, 0.834},
                    Published{"regnet_y_1_6gf", 11202430, 1.612}),
    [](const auto& param) { return param.param.name; });

TEST(Architecture, BlockNamesAndStrides) {
  ModelSpec spec = spec_of("resnet50", "4-4-2-1");
  ASSERT_EQ(spec.blocks.size(), 16u);
  const BlockSpec& first = spec.blocks[3];
  EXPECT_EQ(first.name, "layer2.0");
  EXPECT_EQ(first.stride, 2);
  EXPECT_EQ(first.convs[0].stride, 1);
  EXPECT_EQ(first.convs[1].stride, 2);  // v1.5: on the 3x3
  EXPECT_EQ(first.projection->name, "layer2.0.downsample.0");
  EXPECT_EQ(first.masker_name(), "layer2.0.masker.conv2");
  EXPECT_EQ(spec.blocks[15].granularity, 1);
  EXPECT_FALSE(spec.blocks[15].projection);
}

TEST(Architecture, RegNetBlocksSqueezeAndExcite) {
  ModelSpec spec = spec_of("regnet_y_400mf", "4-4-2-1");
  ASSERT_EQ(spec.blocks.size(), 16u);
  EXPECT_EQ(spec.stem.name, "stem.0");
  EXPECT_FALSE(spec.stem_pool);
  const BlockSpec& first = spec.blocks[1];
  EXPECT_EQ(first.name, "trunk_output.block2.block2-0");
  EXPECT_EQ(first.projection->name, "trunk_output.block2.block2-0.proj.0");
  EXPECT_EQ(first.convs[1].norm_name, "trunk_output.block2.block2-0.f.b.1");
  EXPECT_EQ(first.convs[1].groups, 104 / 8);
  ASSERT_TRUE(first.squeeze_excite);
  EXPECT_EQ(first.squeeze_excite->name, "trunk_output.block2.block2-0.f.se");
  EXPECT_EQ(first.squeeze_excite->squeeze_channels, 48 / 4);  // of the block's input
  EXPECT_EQ(spec.blocks[2].squeeze_excite->squeeze_channels, 104 / 4);
  EXPECT_EQ(first.granularity, 4);
  EXPECT_EQ(fresh_masker_bias(spec.arch), 10.0f);
  EXPECT_EQ(fresh_masker_bias(spec_of("resnet50").arch), 5.0f);
}

TEST(Architecture, RegNetWidthsStayMultiplesOfTheirGroups) {
  for (double width : {0.05, 0.3, 1.7}) {
    ModelSpec spec = make_spec({.name = "regnet_y_1_6gf", .width = width});
    for (const BlockSpec& block : spec.blocks) {
      EXPECT_EQ(block.convs[1].in_channels, block.convs[1].groups * 24);
      EXPECT_GT(block.squeeze_excite->squeeze_channels, 0);
    }
  }
}

TEST(Architecture, GranularityPerBlock) {
  ModelSpec spec = spec_of("resnet18", "8-7-6-5-4-3-2-1");
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(spec.blocks[i].granularity, 8 - static_cast<int>(i));
}

TEST(Architecture, LayerIsAGranularityOfItsOwn) {
  constexpr int kLayer = kWholeMapGranularity;
  EXPECT_THAT(parse_granularity("layer"), testing::ElementsAre(kLayer, kLayer, kLayer, kLayer));
  EXPECT_THAT(parse_granularity("4-4-layer-1"), testing::ElementsAre(4, 4, kLayer, 1));
  EXPECT_EQ(granularity_to_string({4, 4, kLayer, 1}), "4-4-layer-1");
  EXPECT_EQ(granularity_to_string(parse_granularity("layer")), "layer-layer-layer-layer");
  EXPECT_EQ(parse_patch_side("layer"), kLayer);
  EXPECT_EQ(parse_patch_side("7"), 7);
  EXPECT_EQ(patch_side_to_string(7), "7");
  EXPECT_EQ(patch_side_to_string(kLayer), "layer");
  EXPECT_TRUE(spec_of("resnet18", "4-4-layer-1").blocks[4].skips_whole_maps());
  EXPECT_FALSE(spec_of("resnet18", "4-4-layer-1").blocks[3].skips_whole_maps());
  EXPECT_EQ(spec_of("resnet18", "layer-1-1-1-1-1-1-layer").blocks[7].granularity, kLayer);
}

TEST(Architecture, WidthRoundsToMultiplesOfEight) {
  ArchConfig arch;
  arch.width = 0.3;
  ModelSpec spec = make_spec(arch);
  EXPECT_EQ(spec.stem.out_channels, 16);  // 19.2
  EXPECT_EQ(spec.features, 152);          // 153.6
}

TEST(Architecture, BadConfigurationsNameTheProblem) {
  EXPECT_THAT(test::error_of([] { spec_of("resnet5O"); }), testing::HasSubstr("did you mean 'resnet50'"));
  EXPECT_THAT(test::error_of([] { spec_of("resnet18", "4-4-2"); }),
              testing::HasSubstr("has 3 entries; expected 4"));
  EXPECT_THAT(test::error_of([] { parse_granularity("4-0-2-1"); }),
              testing::HasSubstr("'0' is not an integer >= 1"));
  EXPECT_THAT(test::error_of([] { parse_granularity("4--2-1"); }), testing::HasSubstr("''"));
  EXPECT_THAT(test::error_of([] { parse_granularity("4-4-2-"); }), testing::HasSubstr("''"));
  EXPECT_THAT(test::error_of([] { parse_granularity("4x4"); }), testing::HasSubstr("'4x4'"));
  EXPECT_THAT(test::error_of([] { parse_granularity("4-Layer-2-1"); }), testing::HasSubstr("'Layer'"));
  EXPECT_THAT(test::error_of([] {
                parse_granularity("layer-layer");
                spec_of("resnet18", "layer-layer");
              }),
              testing::HasSubstr("layer-layer has 2 entries"));
  EXPECT_THAT(test::error_of([] { parse_patch_side("4-4"); }), testing::HasSubstr("'4-4'"));
  EXPECT_THAT(test::error_of([] { spec_of("resnet18", "4-4-2-1048577"); }),
              testing::HasSubstr("granularity 1048577"));
  EXPECT_THAT(test::error_of([] { make_spec({.name = "resnet18", .width = -1}); }),
              testing::HasSubstr("width multiplier -1"));
  EXPECT_THAT(test::error_of([] { make_spec({.name = "resnet18", .classes = -1}); }),
              testing::HasSubstr("-1 classes; expected 1 to 1048576, or 0 for a backbone"));
  EXPECT_THAT(test::error_of([] {
                make_spec({.name = "resnet18", .granularity = {4, 4, 0, 1}});
              }),
              testing::HasSubstr("granularity 0"));
}

TEST(FeatureSpecs, AreTheStemAndTheStagesByTorchvisionsNames) {
  EXPECT_THAT(feature_specs(spec_of("resnet50")),
              testing::ElementsAre(FeatureSpec{"stem", 64, 4, 0}, FeatureSpec{"layer1", 256, 4, 3},
                                   FeatureSpec{"layer2", 512, 8, 7}, FeatureSpec{"layer3", 1024, 16, 13},
                                   FeatureSpec{"layer4", 2048, 32, 16}));
  EXPECT_THAT(feature_specs(spec_of("regnet_y_400mf")),
              testing::ElementsAre(FeatureSpec{"stem", 32, 2, 0}, FeatureSpec{"block1", 48, 4, 1},
                                   FeatureSpec{"block2", 104, 8, 4}, FeatureSpec{"block3", 208, 16, 10},
                                   FeatureSpec{"block4", 440, 32, 16}));
  const ModelSpec small = make_spec({.name = "resnet18", .stem = StemKind::small});
  EXPECT_EQ(feature_specs(small).front(), (FeatureSpec{"stem", 64, 2, 0}));
  EXPECT_EQ(feature_specs(small).back(), (FeatureSpec{"layer4", 512, 16, 8}));
}

/// As torchvision: the first block of a dilated stage keeps the dilation of the stage before.
TEST(DilatedStages, ReplaceStrides) {
  const ModelSpec spec = make_spec({.name = "resnet50", .dilated_stages = 2});
  const auto second = [&](size_t block) { return spec.blocks[block].convs[1]; };
  EXPECT_EQ(second(3).stride, 2);  // layer2.0
  EXPECT_EQ(second(3).dilation, 1);
  EXPECT_EQ(second(7).stride, 1);  // layer3.0
  EXPECT_EQ(second(7).dilation, 1);
  EXPECT_EQ(second(8).dilation, 2);
  EXPECT_EQ(second(13).dilation, 2);  // layer4.0
  EXPECT_EQ(second(15).dilation, 4);
  EXPECT_EQ(second(15).padding(), 4);
  EXPECT_EQ(spec.blocks[7].projection->stride, 1);
  EXPECT_EQ(feature_specs(spec).back(), (FeatureSpec{"layer4", 2048, 8, 16}));
  const NetworkGeometry geometry = network_geometry(spec, {97, 131});
  EXPECT_EQ(geometry.blocks.back().output, (MapSize{13, 17}));
  EXPECT_EQ(geometry.blocks.back().dilation, 4);
  EXPECT_EQ(make_spec({.name = "resnet50", .dilated_stages = 3}).blocks[3].convs[1].stride, 1);
  EXPECT_EQ(make_spec({.name = "resnet50", .dilated_stages = 1}).blocks[14].convs[1].dilation, 2);
}

TEST(DilatedStages, AreRefusedWhereTorchvisionHasNone) {
  EXPECT_THROW(make_spec({.name = "resnet18", .dilated_stages = 1}), Error);
  EXPECT_THROW(make_spec({.name = "regnet_y_400mf", .dilated_stages = 1}), Error);
  EXPECT_THROW(make_spec({.name = "resnet50", .dilated_stages = 4}), Error);
  EXPECT_THROW(make_spec({.name = "resnet50", .dilated_stages = -1}), Error);
}

/// Neither tensors nor MACs of a classifier; the rest is that of the network with one.
TEST(Backbone, IsTheNetworkWithoutItsClassifier) {
  const ModelSpec network = make_spec({.name = "resnet50", .classes = 10}),
                  backbone = make_spec({.name = "resnet50", .classes = 0});
  EXPECT_FALSE(backbone.has_head());
  std::vector<std::string> names, expected;
  for (const TensorSpec& tensor : required_tensors(backbone)) names.push_back(tensor.name);
  for (const TensorSpec& tensor : required_tensors(network)) {
    if (!tensor.name.starts_with("fc.")) expected.push_back(tensor.name);
  }
  EXPECT_EQ(names, expected);
  EXPECT_EQ(static_macs(network, {64, 64}) - static_macs(backbone, {64, 64}), 2048 * 10);
  EXPECT_FALSE(random_weights(backbone, 1).contains("fc.weight"));
}

TEST(Geometry, OddAndNonSquareInputs) {
  ModelSpec spec = spec_of("resnet18", "3-5-2-9");
  NetworkGeometry geometry = network_geometry(spec, {97, 131});
  EXPECT_EQ(geometry.stem, (MapSize{49, 66}));
  EXPECT_EQ(geometry.trunk, (MapSize{25, 33}));
  EXPECT_EQ(geometry.blocks[2].output, (MapSize{13, 17}));
  EXPECT_EQ(geometry.blocks[2].middle, (MapSize{13, 17}));  // BasicBlock: the stride is on conv1
  EXPECT_EQ(geometry.blocks[2].dilation_stride, 1);
  EXPECT_EQ(geometry.blocks[7].output, (MapSize{4, 5}));
  EXPECT_EQ(geometry.blocks[7].grid.patches(), 1);  // S = 9 exceeds the map
  EXPECT_THROW(network_geometry(spec, {31, 200}), Error);
}

TEST(Geometry, LayerIsOnePatchAtEverySize) {
  const ModelSpec spec = spec_of("resnet50", "layer");
  for (const MapSize image : {MapSize{32, 32}, MapSize{97, 131}, MapSize{1333, 800}}) {
    const NetworkGeometry geometry = network_geometry(spec, image);
    for (size_t i = 0; i < spec.blocks.size(); ++i) {
      const PatchGrid& grid = geometry.blocks[i].grid;
      EXPECT_EQ(grid.patches(), 1);
      EXPECT_EQ(grid.granularity, std::max(grid.map.height, grid.map.width));
      EXPECT_EQ(patch_pixels(grid, 0, 0).pixels(), grid.map.pixels());
      EXPECT_EQ(block_macs(spec.blocks[i], geometry.blocks[i]).masker, 2 * spec.blocks[i].in_channels);
    }
  }
}

TEST(Geometry, BottleneckDilatesOnTheInputMap) {
  NetworkGeometry geometry = network_geometry(spec_of("resnet50", "4-4-2-1"), {224, 224});
  EXPECT_EQ(geometry.blocks[3].middle, (MapSize{56, 56}));
  EXPECT_EQ(geometry.blocks[3].output, (MapSize{28, 28}));
  EXPECT_EQ(geometry.blocks[3].dilation_stride, 2);
}

/// method.md section 4: masker + conv1 * mean(D) + (conv2 + conv3) * mean(M) + projection.
TEST(Macs, HandComputedBlock) {
  ModelSpec spec = spec_of("resnet50", "4-4-2-1");
  NetworkGeometry geometry = network_geometry(spec, {224, 224});
  BlockMacs macs = block_macs(spec.blocks[0], geometry.blocks[0]);
  EXPECT_EQ(macs.masker, 2 * 64 * 14 * 14);
  EXPECT_EQ(macs.projection, 64LL * 256 * 56 * 56);
  EXPECT_THAT(macs.convs, testing::ElementsAre(64LL * 64 * 3136, 9LL * 64 * 64 * 3136, 64LL * 256 * 3136));
  EXPECT_DOUBLE_EQ(macs.dynamic_total(0.5, 0.75),
                   25088.0 + 51380224 + 12845056 * 0.75 + (115605504 + 51380224) * 0.5);
  EXPECT_EQ(macs.static_total(), 51380224 + 12845056 + 115605504 + 51380224);
}

TEST(Macs, SqueezeExciteCostsWhatItsPoolNeeds) {
  ArchConfig arch{.name = "regnet_y_400mf", .granularity = {4, 4, 2, 1}};
  for (SePool pool : {SePool::active, SePool::dense}) {
    arch.se_pool = pool;
    ModelSpec spec = make_spec(arch);
    NetworkGeometry geometry = network_geometry(spec, {224, 224});
    BlockMacs macs = block_macs(spec.blocks[0], geometry.blocks[0]);
    double a = 32.0 * 48 * 112 * 112, b = 9.0 * 8 * 48 * 56 * 56, c = 48.0 * 48 * 56 * 56, se = 2.0 * 48 * 8;
    double always = 2.0 * 32 * 14 * 14 + 32.0 * 48 * 56 * 56;
    EXPECT_DOUBLE_EQ(macs.dynamic_total(0.5, 0.75),
                     always + se + (pool == SePool::dense ? a + b + 0.5 * c : 0.75 * a + 0.5 * (b + c)));
    EXPECT_DOUBLE_EQ(macs.dynamic_total(0, 0), always) << "nothing active: the body is skipped";
    EXPECT_DOUBLE_EQ(macs.dynamic_total(1, 1), static_cast<double>(macs.dense_total()));
  }
}

/// torchvision's, as its documentation lists them.
TEST(Weights, ParametersAreAsManyAsTorchvisionPublishes) {
  const std::map<std::string, int64_t> published = {
      {"resnet18", 11'689'512},         {"resnet34", 21'797'672},        {"resnet50", 25'557'032},
      {"resnet101", 44'549'160},        {"resnet152", 60'192'808},       {"resnext50_32x4d", 25'028'904},
      {"resnext101_32x8d", 88'791'336}, {"wide_resnet50_2", 68'883'240}, {"wide_resnet101_2", 126'886'696},
      {"regnet_y_400mf", 4'344'144},    {"regnet_y_800mf", 6'432'512},   {"regnet_y_1_6gf", 11'202'430}};
  for (const std::string& name : architecture_names()) {
    const ModelSpec spec = spec_of(name), dynamic = spec_of(name, "4-4-2-1");
    ASSERT_TRUE(published.contains(name)) << name;
    EXPECT_EQ(count_parameters(required_tensors(spec)).network, published.at(name)) << name;
    EXPECT_EQ(count_parameters(required_tensors(spec)).maskers, 0) << name;
    int64_t maskers = 0;
    for (const BlockSpec& block : dynamic.blocks) maskers += 2 * block.in_channels + 2;
    EXPECT_EQ(count_parameters(required_tensors(dynamic)).network, published.at(name)) << name;
    EXPECT_EQ(count_parameters(required_tensors(dynamic)).maskers, maskers) << name;
  }
}

TEST(Weights, ProblemsAreListedTogether) {
  ModelSpec spec = spec_of("resnet18", "4-4-2-1");
  Weights weights = random_weights(spec, 1);
  EXPECT_NO_THROW(check_weights(spec, weights, "w"));
  weights["layer1.0.conv1.weigth"] = weights["layer1.0.conv1.weight"];
  weights.erase("layer1.0.conv1.weight");
  weights["fc.bias"] = Tensor({7});
  weights["bn1.running_var"].data[3] = NAN;
  weights["bn1.num_batches_tracked"] = Tensor({1});  // PyTorch's, ignored
  EXPECT_ERROR(check_weights(spec, weights, "w.safetensors"),
               testing::AllOf(testing::HasSubstr("w.safetensors: 4 tensors"),
                              testing::HasSubstr("the file has 'layer1.0.conv1.weigth'"),
                              testing::HasSubstr("fc.bias: expected [1000], got [7]"),
                              testing::HasSubstr("bn1.running_var: holds NaN"),
                              testing::HasSubstr("unexpected layer1.0.conv1.weigth")));
}

TEST(Weights, RandomOnesBeyondTheMemoryAreRefused) {
  const ModelSpec spec = make_spec({.name = "resnet101", .width = 30});
  EXPECT_THAT([&] { random_weights(spec, 1); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("resnet101 of width 30 needs")));
}

TEST(Weights, FreshMaskersStartActive) {
  ModelSpec spec = spec_of("resnet18", "4-4-2-1");
  Weights weights = random_weights(spec, 1);
  Weights again = weights;
  init_maskers(spec, 9, 10.0f, again);
  EXPECT_EQ(again.at("layer3.0.masker.conv2.bias").data, (std::vector<float>{10, 0}));
  EXPECT_NE(again.at("layer3.0.masker.conv2.weight"), weights.at("layer3.0.masker.conv2.weight"));
  EXPECT_EQ(again.at("conv1.weight"), weights.at("conv1.weight"));
}

}  // namespace
}  // namespace lasnet
