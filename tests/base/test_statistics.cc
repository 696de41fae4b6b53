// Summaries of samples.
#include <gmock/gmock.h>

#include "base/statistics.h"

namespace lasnet {
namespace {

using testing::ElementsAre;

TEST(Statistics, QuartilesInterpolateBetweenOrderStatistics) {
  const Quartiles five = quartiles({50, 10, 40, 20, 30});
  EXPECT_DOUBLE_EQ(five.min, 10);
  EXPECT_DOUBLE_EQ(five.q1, 20);
  EXPECT_DOUBLE_EQ(five.median, 30);
  EXPECT_DOUBLE_EQ(five.q3, 40);
  const Quartiles four = quartiles({4, 3, 2, 1});  // numpy.percentile([1, 2, 3, 4], [25, 50, 75])
  EXPECT_DOUBLE_EQ(four.q1, 1.75);
  EXPECT_DOUBLE_EQ(four.median, 2.5);
  EXPECT_DOUBLE_EQ(four.q3, 3.25);
}

TEST(Statistics, OneValueIsEveryQuartile) {
  const Quartiles one = quartiles({7});
  EXPECT_EQ(one.min, 7);
  EXPECT_EQ(one.q1, 7);
  EXPECT_EQ(one.median, 7);
  EXPECT_EQ(one.q3, 7);
}

TEST(Statistics, AnEmptySampleGivesZeros) {
  EXPECT_EQ(quartiles({}).median, 0);
  EXPECT_EQ(mean({}), 0);
  EXPECT_EQ(deviation({}), 0);
  EXPECT_EQ(median({}), 0);
}

TEST(Statistics, MeanAndDeviation) {
  EXPECT_DOUBLE_EQ(mean({1, 2, 6}), 3);
  EXPECT_DOUBLE_EQ(deviation({2, 4, 4, 4, 5, 5, 7, 9}), 2);
}

TEST(Statistics, MedianOfOddAndEvenSamples) {
  EXPECT_DOUBLE_EQ(median({9, 1, 5}), 5);
  EXPECT_DOUBLE_EQ(median({9, 1, 5, 6}), 5.5);
}

TEST(Statistics, RatiosArePairwise) { EXPECT_THAT(ratios({8, 9, 1}, {2, 3, 4}), ElementsAre(4, 3, 0.25)); }

}  // namespace
}  // namespace lasnet
