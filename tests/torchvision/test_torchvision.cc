// Static networks, and dynamic ones whose masks are full, against logits and maps of torchvision's own
// implementation (data/, made by make_fixtures.py).
#include <gtest/gtest.h>

#include "formats/npy.h"
#include "torchvision/networks.h"

namespace lasnet {
namespace {

class Torchvision : public testing::TestWithParam<const char*> {};

TEST_P(Torchvision, StaticNetworkGivesTheSameLogits) {
  Model model = test::torchvision_model(GetParam());
  Session session(model, {.threads = 2});
  for (MapSize size : test::kTorchvisionSizes) {
    Tensor expected =
        load_npy_f32(std::string(TORCHVISION_DATA) + "/" + test::torchvision_case(GetParam(), size) + ".npy");
    EXPECT_LE(test::relative_error(session.run(test::torchvision_input(size)).logits, expected), 1e-4);
  }
}

/// Maps differ in scale: each is held to its own largest value.
void expect_maps(const ModelSpec& spec, const FeatureMaps& maps, const Tensor& expected) {
  auto next = expected.data.begin();
  for (const FeatureSpec& feature : feature_specs(spec)) {
    const Tensor& map = maps.at(feature.name);
    Tensor got({(map.size() + test::kKeptMapValues - 1) / test::kKeptMapValues}), wanted(got.shape);
    ASSERT_GE(expected.data.end() - next, got.size());
    std::copy_n(next, got.size(), wanted.data.begin());
    next += got.size();
    for (int64_t i = 0; i < got.size(); ++i) got.data[i] = map.data[i * test::kKeptMapValues];
    EXPECT_LE(test::relative_error(got, wanted), 1e-4) << feature.name;
  }
  EXPECT_EQ(next, expected.data.end());
}

TEST_P(Torchvision, StaticAndFullyMaskedNetworksGiveTheSameMaps) {
  const Model static_model = test::torchvision_model(GetParam()),
              dynamic_model = test::torchvision_model(GetParam(), {4, 4, 2, 1});
  RunOptions options;
  for (const FeatureSpec& feature : feature_specs(static_model.spec))
    options.features.push_back(feature.name);
  for (const MapSize size : test::kTorchvisionSizes) {
    const Tensor expected = load_npy_f32(std::string(TORCHVISION_DATA) + "/" +
                                         test::torchvision_case(GetParam(), size) + "_maps.npy");
    const Tensor x = test::torchvision_input(size);
    const MaskSet full =
        test::make_masks(dynamic_model.spec, x.shape[0], size, test::MaskPattern::full, /*seed=*/1);
    for (const Model* model : {&static_model, &dynamic_model}) {
      options.force_masks = model->spec.arch.is_dynamic() ? &full : nullptr;
      const Result result = Session(*model, {.threads = 2}).run(x, options);
      expect_maps(model->spec, result.features, expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Torchvision, testing::ValuesIn(test::kTorchvisionNetworks),
                         [](const auto& param) { return std::string(param.param); });

INSTANTIATE_TEST_SUITE_P(Dilated, Torchvision, testing::Values(test::kDilatedNetwork),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace lasnet
