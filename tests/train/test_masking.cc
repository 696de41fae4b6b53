// Differentiable masks against the definitions in lasnet/mask.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "lasnet/mask.h"
#include "support/param_name.h"
#include "train/masking.h"

namespace lasnet {
namespace {

struct GridCase {
  int granularity;
  int stride;
  MapSize input;

  MapSize output() const {
    return {(input.height + stride - 1) / stride, (input.width + stride - 1) / stride};
  }
  PatchGrid grid() const { return {output(), granularity}; }
};

void PrintTo(const GridCase& c, std::ostream* out) {
  *out << "S " << c.granularity << ", stride " << c.stride << ", " << c.input.height << "x" << c.input.width;
}

torch::Tensor random_tensor(torch::IntArrayRef shape, uint64_t seed) {
  Random random(seed);
  torch::Tensor tensor = torch::empty(shape);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data_ptr<float>()[i] = static_cast<float>(random.normal());
  return tensor;
}

std::vector<uint8_t> random_patches(const PatchGrid& grid, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> patches(static_cast<size_t>(grid.patches()));
  for (uint8_t& patch : patches) patch = random.uniform() < 0.4;
  return patches;
}

torch::Tensor to_map(const std::vector<uint8_t>& values, int64_t rows, int64_t cols) {
  torch::Tensor map = torch::empty({1, 1, rows, cols});
  std::copy(values.begin(), values.end(), map.data_ptr<float>());
  return map;
}

std::vector<uint8_t> from_map(const torch::Tensor& map) {
  torch::Tensor flat = map.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

class MaskingTest : public testing::TestWithParam<GridCase> {};

TEST_P(MaskingTest, LogitsAreMeansOverTheClippedWindowTimesTheWeights) {
  const GridCase& c = GetParam();
  constexpr int64_t kChannels = 5;
  torch::Tensor x = random_tensor({2, kChannels, c.input.height, c.input.width}, 1);
  torch::Tensor weight = random_tensor({2, kChannels, 1, 1}, 2);
  torch::Tensor bias = random_tensor({2}, 3);
  torch::Tensor difference =
      patch_logit_difference(pool_under_patches(x, c.granularity, c.stride), weight, bias);
  PatchGrid grid = c.grid();
  ASSERT_THAT(difference.sizes().vec(), testing::ElementsAre(2, 1, grid.rows(), grid.cols()));
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (int64_t col = 0; col < grid.cols(); ++col) {
        PixelRect window = patch_window(grid, row, col, c.stride, c.input);
        torch::Tensor mean =
            x[n].slice(1, window.top, window.bottom).slice(2, window.left, window.right).mean({1, 2});
        torch::Tensor logits = weight.view({2, kChannels}).mv(mean) + bias;
        EXPECT_NEAR(difference[n][0][row][col].item<float>(), (logits[0] - logits[1]).item<float>(), 1e-5);
      }
    }
  }
}

TEST_P(MaskingTest, ExpansionRepeatsPatchesOverTheirPixels) {
  const GridCase& c = GetParam();
  PatchGrid grid = c.grid();
  std::vector<uint8_t> patches = random_patches(grid, 4);
  std::vector<uint8_t> expected(static_cast<size_t>(grid.map.pixels()));
  expand_patches(grid, patches, expected);
  torch::Tensor mask = expand_to_map(to_map(patches, grid.rows(), grid.cols()), c.granularity, grid.map);
  EXPECT_THAT(mask.sizes().vec(), testing::ElementsAre(1, 1, grid.map.height, grid.map.width));
  EXPECT_EQ(from_map(mask), expected);
}

TEST_P(MaskingTest, DilationIsThatOfTheDefinition) {
  const GridCase& c = GetParam();
  PatchGrid grid = c.grid();
  std::vector<uint8_t> mask(static_cast<size_t>(grid.map.pixels()));
  expand_patches(grid, random_patches(grid, 5), mask);
  std::vector<uint8_t> expected(static_cast<size_t>(c.input.pixels()));
  dilate_mask(mask, grid.map, c.stride, c.input, expected);
  torch::Tensor dilated = dilate(to_map(mask, grid.map.height, grid.map.width), c.stride, c.input);
  EXPECT_EQ(from_map(dilated), expected);
}

/// What each mask pixel gets of the sum over D: of every 3x3 window, an equal share of those of its pixels
/// that are as large as the largest.
std::vector<double> shared_gradient(const std::vector<uint8_t>& mask, MapSize map, int stride,
                                    MapSize input) {
  std::vector<double> gradient(mask.size());
  for (int64_t y = 0; y < input.height; ++y) {
    for (int64_t x = 0; x < input.width; ++x) {
      std::vector<size_t> window, largest;
      for (int64_t row = 0; row < map.height; ++row) {
        for (int64_t col = 0; col < map.width; ++col) {
          if (std::abs(row * stride - y) <= 1 && std::abs(col * stride - x) <= 1)
            window.push_back(static_cast<size_t>(row * map.width + col));
        }
      }
      const bool active = std::any_of(window.begin(), window.end(), [&](size_t i) { return mask[i] == 1; });
      for (size_t i : window) {
        if (mask[i] == (active ? 1 : 0)) largest.push_back(i);
      }
      for (size_t i : largest) gradient[i] += 1.0 / static_cast<double>(largest.size());
    }
  }
  return gradient;
}

TEST_P(MaskingTest, EqualMaximaOfTheDilationShareTheGradient) {
  const GridCase& c = GetParam();
  const PatchGrid grid = c.grid();
  std::vector<uint8_t> mask(static_cast<size_t>(grid.map.pixels()));
  expand_patches(grid, random_patches(grid, 6), mask);
  torch::Tensor values = to_map(mask, grid.map.height, grid.map.width).requires_grad_();
  torch::Tensor dilated = dilate(values, c.stride, c.input);
  EXPECT_EQ(from_map(dilated.detach()), from_map(dilate(values.detach(), c.stride, c.input)));
  dilated.sum().backward();
  const torch::Tensor gradient = values.grad().contiguous();
  const std::vector<double> expected = shared_gradient(mask, grid.map, c.stride, c.input);
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(gradient.data_ptr<float>()[i], expected[i], 1e-5) << i;
}

TEST(Dilation, OfAFullMaskGivesEveryPixelTheAverageGradient) {
  torch::Tensor mask = torch::ones({1, 1, 7, 7}).requires_grad_();
  dilate(mask, 1, {7, 7}).sum().backward();
  // A window of the interior has nine pixels, one at an edge six, one in a corner four.
  constexpr double kCorner = 1.0 / 4 + 2.0 / 6 + 1.0 / 9, kInterior = 1;
  for (const auto& [row, col] : {std::pair{0, 0}, {0, 6}, {6, 0}, {6, 6}})
    EXPECT_NEAR(mask.grad()[0][0][row][col].item<double>(), kCorner, 1e-6);
  EXPECT_NEAR(mask.grad()[0][0][3][3].item<double>(), kInterior, 1e-6);
  EXPECT_NEAR(mask.grad().sum().item<double>(), 49, 1e-4);
  EXPECT_TRUE(torch::allclose(mask.grad(), mask.grad().flip({2, 3}), 1e-6));
}

INSTANTIATE_TEST_SUITE_P(Grids, MaskingTest,
                         testing::Values(GridCase{1, 1, {7, 5}}, GridCase{1, 2, {9, 8}},
                                         GridCase{4, 1, {8, 8}}, GridCase{4, 2, {17, 31}},
                                         GridCase{3, 1, {10, 8}}, GridCase{5, 2, {16, 7}},
                                         GridCase{9, 1, {4, 4}}, GridCase{9, 2, {7, 25}},
                                         GridCase{kWholeMapGranularity, 2, {6, 5}}, GridCase{2, 1, {1, 1}}),
                         test::ParamName());

TEST(SamplePatches, ActiveWithTheProbabilityOfTheSoftmaxAtAnyTemperature) {
  constexpr int64_t kSamples = 20000;
  for (double difference : {-2.0, 0.0, 0.7, 3.0}) {
    for (double temperature : {0.1, 5.0}) {
      Random random(7);
      torch::Tensor logits = torch::full({kSamples}, difference);
      torch::Tensor mask = sample_patches(logits, logistic_noise({kSamples}, random), temperature);
      double expected = 1 / (1 + std::exp(-difference));
      double deviation = std::sqrt(expected * (1 - expected) / kSamples);
      EXPECT_NEAR(mask.mean().item<double>(), expected, 4 * deviation);
    }
  }
}

TEST(SamplePatches, ValuesAreExactlyZeroOrOne) {
  Random random(8);
  torch::Tensor logits = random_tensor({1000}, 9).requires_grad_();
  torch::Tensor mask = sample_patches(logits, logistic_noise({1000}, random), 0.3);
  EXPECT_TRUE((mask.eq(0) | mask.eq(1)).all().item<bool>());
  EXPECT_GT(mask.sum().item<double>(), 0);
  EXPECT_LT(mask.sum().item<double>(), 1000);
}

TEST(SamplePatches, GradientIsTheSigmoidsWhateverTheHardValue) {
  constexpr double kTemperature = 2.0;
  torch::Tensor logits = torch::tensor({-1.0, 0.5, 4.0}).requires_grad_();
  torch::Tensor noise = torch::tensor({0.2, -1.0, 0.0});
  sample_patches(logits, noise, kTemperature).sum().backward();
  for (int64_t i = 0; i < 3; ++i) {
    double z = (logits[i].item<double>() + noise[i].item<double>()) / kTemperature;
    double s = 1 / (1 + std::exp(-z));
    EXPECT_NEAR(logits.grad()[i].item<double>(), s * (1 - s) / kTemperature, 1e-6);
  }
}

TEST(DecidePatches, TiesAreActive) {
  EXPECT_EQ(from_map(decide_patches(torch::tensor({-1e-30f, 0.0f, -0.0f, 1e-30f}))),
            (std::vector<uint8_t>{0, 1, 1, 1}));
}

TEST(LogisticNoise, HasTheMomentsOfTheLogisticDistribution) {
  Random random(10);
  torch::Tensor noise = logistic_noise({100000}, random);
  EXPECT_TRUE(noise.isfinite().all().item<bool>());
  EXPECT_NEAR(noise.mean().item<double>(), 0, 0.03);
  EXPECT_NEAR(noise.var().item<double>(), M_PI * M_PI / 3, 0.1);
}

}  // namespace
}  // namespace lasnet
