// Activity as a distribution, against brute force over masks.
#include <gmock/gmock.h>

#include "base/random.h"
#include "lasnet/latency.h"
#include "mask/activity.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

BlockGeometry geometry_of(MapSize middle, int stride, int granularity, int dilation = 1) {
  const MapSize output{(middle.height + stride - 1) / stride, (middle.width + stride - 1) / stride};
  return {.input = middle,
          .middle = middle,
          .output = output,
          .dilation_stride = stride,
          .dilation = dilation,
          .grid = {.map = output, .granularity = granularity}};
}

int64_t dilated_pixels(const BlockGeometry& geometry, const std::vector<uint8_t>& patches) {
  std::vector<uint8_t> mask(static_cast<size_t>(geometry.output.pixels()));
  std::vector<uint8_t> dilated(static_cast<size_t>(geometry.middle.pixels()));
  expand_patches(geometry.grid, patches, mask);
  dilate_mask(mask, geometry.output, geometry.dilation_stride, geometry.middle, dilated, geometry.dilation);
  return std::count(dilated.begin(), dilated.end(), uint8_t{1});
}

class EveryMask : public testing::TestWithParam<std::tuple<MapSize, int, int, int>> {};

/// All masks of a small grid, weighted by their probability: the expectation is exact.
TEST_P(EveryMask, HasTheExpectedDilation) {
  const auto [middle, stride, granularity, dilation] = GetParam();
  const BlockGeometry geometry = geometry_of(middle, stride, granularity, dilation);
  const auto count = static_cast<size_t>(geometry.grid.patches());
  ASSERT_LE(count, 12U);
  constexpr double kRate = 0.3;
  double expected = 0;
  std::vector<double> by_active(count + 1), masks(count + 1);
  for (uint32_t bits = 0; bits < (1U << count); ++bits) {
    std::vector<uint8_t> patches(count);
    for (size_t i = 0; i < count; ++i) patches[i] = (bits >> i) & 1;
    const auto active = static_cast<size_t>(std::count(patches.begin(), patches.end(), uint8_t{1}));
    const auto pixels = static_cast<double>(dilated_pixels(geometry, patches));
    expected += pixels * std::pow(kRate, active) * std::pow(1 - kRate, count - active);
    by_active[active] += pixels;
    masks[active] += 1;
  }
  const DilationHistogram histogram(geometry);
  EXPECT_NEAR(histogram.expected(kRate), expected, 1e-9);
  for (size_t k = 0; k <= count; ++k) {
    EXPECT_NEAR(histogram.expected(static_cast<int64_t>(k), static_cast<int64_t>(count)),
                by_active[k] / masks[k], 1e-9)
        << k;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Grids, EveryMask,
    testing::Values(std::tuple(MapSize{3, 3}, 1, 1, 1), std::tuple(MapSize{7, 5}, 1, 2, 1),
                    std::tuple(MapSize{7, 6}, 2, 1, 1), std::tuple(MapSize{8, 8}, 2, 2, 1),
                    std::tuple(MapSize{9, 4}, 1, 3, 1), std::tuple(MapSize{4, 4}, 1, 8, 1),
                    std::tuple(MapSize{3, 4}, 1, 1, 2), std::tuple(MapSize{7, 6}, 1, 2, 2),
                    std::tuple(MapSize{9, 8}, 1, 3, 4)));

TEST(IndependentActivity, ProbabilitiesAndMeansAreRight) {
  for (const int granularity : {1, 2, 7, 14}) {
    const BlockGeometry geometry = geometry_of({14, 14}, 1, granularity);
    for (const double rate : {0.0, 0.02, 0.3, 0.5, 0.97, 1.0}) {
      const BlockActivity activity = independent_activity(geometry, 3, rate);
      EXPECT_NEAR(activity.mean([](const ActiveCounts&) { return 1.0; }), 1, 1e-12);
      const double patches = activity.mean([](const ActiveCounts& c) { return c.patches; });
      EXPECT_NEAR(patches / static_cast<double>(3 * geometry.grid.patches()), rate, 0.01)
          << granularity << " " << rate;
    }
  }
}

TEST(IndependentActivity, ABlocksTimeAtItsMeanIsNotItsMeanTime) {
  // One patch per image: half of the runs compute everything, half nothing. A ceiling of tiles sees that.
  const BlockGeometry geometry = geometry_of({14, 14}, 1, 14);
  const BlockActivity activity = independent_activity(geometry, 1, 0.5);
  ASSERT_EQ(activity.scenarios.size(), 2U);
  const auto rounds = [](const ActiveCounts& c) { return std::ceil(c.active / 196); };
  EXPECT_DOUBLE_EQ(activity.mean(rounds), 0.5);
}

TEST(RecordedActivity, CountsWhatTheMaskSays) {
  const BlockGeometry geometry = geometry_of({28, 28}, 2, 4);
  Random random(7);
  std::vector<uint8_t> patches(static_cast<size_t>(2 * geometry.grid.patches()));
  for (uint8_t& patch : patches) patch = random.uniform() < 0.3;
  std::fill_n(patches.begin(), geometry.grid.patches(), uint8_t{0});
  const BlockActivity activity = recorded_activity(geometry, 2, patches);
  ASSERT_EQ(activity.scenarios.size(), 1U);
  EXPECT_EQ(activity.scenarios[0].images, 1);
  const std::vector<uint8_t> second(patches.begin() + geometry.grid.patches(), patches.end());
  EXPECT_DOUBLE_EQ(activity.scenarios[0].dilated, static_cast<double>(dilated_pixels(geometry, second)));
  EXPECT_ERROR(recorded_activity(geometry, 3, patches), testing::HasSubstr("patches"));
}

TEST(ExpectedMacs, MeetTheMeanOverRandomMasks) {
  ArchConfig arch;
  arch.name = "resnet18";
  arch.granularity = {4, 4, 2, 1};
  const ModelSpec spec = make_spec(arch);
  EXPECT_GT(expected_macs_ratio(spec, {224, 224}, 1), 1) << "the maskers come on top";
  const double rate = rate_for_macs_ratio(spec, {224, 224}, 0.5);
  EXPECT_NEAR(expected_macs_ratio(spec, {224, 224}, rate), 0.5, 1e-6);
  EXPECT_ERROR(rate_for_macs_ratio(spec, {224, 224}, 0.01), testing::HasSubstr("0.01"));
}

}  // namespace
}  // namespace lasnet::test
