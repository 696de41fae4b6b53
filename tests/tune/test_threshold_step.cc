// Steps of a threshold against counting.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

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

}  // namespace
}  // namespace lasnet::test
