// Steps of a threshold against counting.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "tune/threshold_step.h"

namespace lasnet::test {
namespace {

int64_t active_at(const std::vector<float>& differences, float threshold) {
  return std::ranges::count_if(differences, [&](float difference) { return difference >= threshold; });
}

TEST(ThresholdStep, MovesTheShareOfPatches) {
  Random random(1);
  std::vector<float> differences;
  for (int i = 0; i < 1000; ++i) differences.push_back(static_cast<float>(random.normal()));
  std::ranges::sort(differences, std::greater<>());
  const int64_t before = active_at(differences, 0.2f);
  const auto fewer = next_threshold(differences, 0.2f, 0.1, TuneDirection::fewer),
             more = next_threshold(differences, 0.2f, 0.1, TuneDirection::more);
  EXPECT_EQ(active_at(differences, *fewer), before - 100);
  EXPECT_EQ(active_at(differences, *more), before + 100);
  EXPECT_GT(*fewer, 0.2f);
  EXPECT_LT(*more, 0.2f);
}

/// Of any differences, ties included: every step changes something, and the last one leaves nothing.
TEST(ThresholdStep, ReachesTheEnd) {
  Random random(2);
  for (const int values : {1, 2, 5, 300}) {
    std::vector<float> differences;
    for (int i = 0; i < 200; ++i)
      differences.push_back(static_cast<float>(random.below(static_cast<uint64_t>(values))) - 2.0f);
    std::ranges::sort(differences, std::greater<>());
    for (const TuneDirection direction : {TuneDirection::fewer, TuneDirection::more}) {
      const int64_t end = direction == TuneDirection::fewer ? 0 : 200;
      float threshold = 0;
      int64_t active = active_at(differences, threshold);
      while (const auto next = next_threshold(differences, threshold, 0.05, direction)) {
        const int64_t now = active_at(differences, *next);
        ASSERT_TRUE(direction == TuneDirection::fewer ? now < active : now > active) << values;
        threshold = *next, active = now;
      }
      EXPECT_EQ(active, end) << values;
      EXPECT_TRUE(std::isfinite(threshold));
    }
  }
}

TEST(ThresholdStep, SmallSharesMoveOnePatch) {
  const std::vector<float> differences = {3, 2, 1, -1};
  EXPECT_EQ(active_at(differences, *next_threshold(differences, 0, 0, TuneDirection::fewer)), 2);
  EXPECT_EQ(active_at(differences, *next_threshold(differences, 0, 0, TuneDirection::more)), 4);
}

/// Neighbouring floats have no number between them.
TEST(ThresholdStep, TellsNeighboursApart) {
  const std::vector<float> differences = {std::nextafter(1.0f, 2.0f), 1.0f};
  EXPECT_EQ(active_at(differences, *next_threshold(differences, 0, 0.5, TuneDirection::fewer)), 1);
}

/// A range that float32 does not hold, and differences beyond which it has no number.
TEST(ThresholdStep, StaysFinite) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const std::vector<float> wide = {0.9f * kLargest, -0.9f * kLargest};
  const auto none = next_threshold(wide, 0, 1, TuneDirection::fewer),
             all = next_threshold(wide, 0, 1, TuneDirection::more);
  EXPECT_TRUE(std::isfinite(*none) && std::isfinite(*all));
  EXPECT_EQ(active_at(wide, *none), 0);
  EXPECT_EQ(active_at(wide, *all), 2);
  const std::vector<float> largest = {kLargest, 0};
  EXPECT_EQ(next_threshold(largest, 1, 1, TuneDirection::fewer), kLargest);
}

/// Whatever the differences are: where a threshold cannot go on, a walk ends.
TEST(ThresholdStep, EndsWhereNoNumberIsLeft) {
  for (const float value : {std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()}) {
    for (const TuneDirection direction : {TuneDirection::fewer, TuneDirection::more}) {
      float threshold = 0;
      int steps = 0;
      while (const auto next = next_threshold({value, value}, threshold, 1, direction)) {
        threshold = *next;
        ASSERT_LE(++steps, 2) << value;
      }
      EXPECT_TRUE(std::isfinite(threshold)) << value;
    }
  }
}

}  // namespace
}  // namespace lasnet::test
