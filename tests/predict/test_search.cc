// Choosing granularities from predicted latency.
#include <gmock/gmock.h>

#include <map>

#include "lasnet/latency.h"
#include "predict/break_even.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;

ArchConfig resnet50() {
  ArchConfig arch;
  arch.name = "resnet50";
  return arch;
}

GranularitySearch search(const SearchOptions& options, const char* hardware = "v100") {
  return search_granularity(resnet50(), load_hardware(hardware), {.batch = 128, .rate = 0.5}, options);
}

TEST(Search, ChoosesTheSmallestWithinTheTolerance) {
  for (const double tolerance : {0.0, 0.05, 0.2}) {
    const GranularitySearch found = search({.tolerance = tolerance});
    ASSERT_THAT(found.granularity, SizeIs(4));
    for (int stage = 0; stage < 4; ++stage) {
      double least = 1e9;
      for (const SearchCurve& curve : found.curves) {
        if (curve.stage == stage && !curve.coarse) least = std::min(least, curve.seconds_at_rate);
      }
      for (const SearchCurve& curve : found.curves) {
        if (curve.stage != stage) continue;
        const bool within = curve.seconds_at_rate <= least * (1 + tolerance);
        if (curve.chosen) {
          EXPECT_TRUE(within);
        } else if (curve.granularity < found.granularity[static_cast<size_t>(stage)]) {
          EXPECT_FALSE(within) << curve.name << " S " << curve.granularity;
        }
      }
    }
  }
}

TEST(BreakEven, IsWhereTheLastSpeedUpMeetsOne) {
  const std::vector<double> rates = {0.2, 0.4, 0.8};
  EXPECT_NEAR(break_even(rates, std::vector{2.0, 1.25, 0.75}), 0.6, 1e-12);
  EXPECT_NEAR(break_even(rates, std::vector{0.9, 1.5, 0.5}), 0.6, 1e-12) << "slower at first";
  EXPECT_EQ(break_even(rates, std::vector{2.0, 1.5, 1.0}), 1);
  EXPECT_EQ(break_even(rates, std::vector{0.9, 0.8, 0.7}), 0);
}

TEST(Search, MasksPayUpToTheBreakEven) {
  int between = 0;
  for (const char* hardware : {"v100", "cuda-h100", "cpu-avx2"}) {
    const GranularitySearch found = search({}, hardware);
    for (const SearchCurve& curve : found.curves) {
      between += curve.break_even > 0 && curve.break_even < 1;
      for (size_t i = 0; i < found.rates.size(); ++i) {
        if (found.rates[i] > curve.break_even) {
          EXPECT_GT(curve.seconds[i], curve.static_s)
              << hardware << " " << curve.name << " " << curve.granularity;
        }
      }
    }
  }
  EXPECT_GT(between, 10);
}

TEST(Search, AnyToleranceAllowsThePixel) { EXPECT_THAT(search({.tolerance = 10}).granularity, Each(1)); }

TEST(Search, LargePatchesStandForTheMapOnce) {
  for (const SearchCurve& curve : search({}).curves) {
    if (curve.stage == 3) {
      EXPECT_LE(curve.granularity, 7);
    }
  }
}

std::vector<double> chosen_shares(const GranularitySearch& found) {
  std::vector<double> shares;
  for (const SearchCurve& curve : found.curves) {
    if (curve.chosen) shares.push_back(curve.patch_share);
  }
  return shares;
}

TEST(Search, PatchesBeyondTheShareAreChosenOnlyAlone) {
  // At this tolerance the least latency decides, and large patches are the fastest.
  const std::vector<int> candidates = {1, 2, 4, 7, 14, 28};
  for (const double most : {1.0 / 49, 1.0 / 16, 0.25, 1.0}) {
    const GranularitySearch found =
        search({.granularities = candidates, .tolerance = 0, .max_patch_share = most});
    for (const SearchCurve& curve : found.curves) EXPECT_EQ(curve.coarse, curve.patch_share > most);
    EXPECT_THAT(chosen_shares(found), Each(testing::Le(most)));
  }
  // Maps of 56, 28, 14 and 7 pixels: the smallest candidate where none is small enough.
  EXPECT_THAT(search({.granularities = {8, 14}, .tolerance = 0}).granularity,
              testing::ElementsAre(14, 8, 8, 8));
  const std::vector<int> layer = {14, kWholeMapGranularity};
  EXPECT_THAT(search({.granularities = layer, .max_patch_share = 0.01}).granularity,
              testing::ElementsAre(14, 14, kWholeMapGranularity, kWholeMapGranularity));
  EXPECT_EQ(chosen_shares(search({.granularities = {2, 14}, .tolerance = 0, .max_patch_share = 1}))[2], 1);
}

TEST(Search, IsForOneRate) {
  EXPECT_ERROR(search_granularity(resnet50(), load_hardware("v100"), {.rates = {0.5}}, {}),
               HasSubstr("rates"));
}

TEST(Search, SharesArePixelsOfTheMap) {
  const GranularitySearch found =
      search_granularity(resnet50(), load_hardware("v100"), {.size = {224, 112}, .batch = 8, .rate = 0.5},
                         {.granularities = {4, 20, kWholeMapGranularity}});
  std::vector<double> shares;  // of maps of 56 x 28 and 28 x 14 pixels
  for (const SearchCurve& curve : found.curves) {
    if (curve.stage < 2) shares.push_back(curve.patch_share);
  }
  EXPECT_THAT(shares, testing::ElementsAre(16.0 / 1568, 400.0 / 1568, 1, 16.0 / 392, 20 * 14.0 / 392, 1));
}

TEST(Search, SavingsAreOfTheChoicesTime) {
  const GranularitySearch found = search({});
  std::vector<double> chosen(4);
  for (const SearchCurve& curve : found.curves) {
    if (curve.chosen) chosen[static_cast<size_t>(curve.stage)] = curve.seconds_at_rate;
  }
  for (const SearchCurve& curve : found.curves) {
    const double seconds = chosen[static_cast<size_t>(curve.stage)];
    EXPECT_NEAR(seconds * (1 - curve.saves), curve.seconds_at_rate, 1e-12) << curve.name;
  }
}

TEST(Search, LayerStandsForEveryPatchThatCoversTheMap) {
  const GranularitySearch found =
      search({.granularities = {4, 7, 14, 56, kWholeMapGranularity}, .per_block = true});
  std::map<std::string, std::vector<int>> covering;
  for (const SearchCurve& curve : found.curves) {
    if (curve.patch_share == 1) covering[curve.name].push_back(curve.granularity);
  }
  EXPECT_THAT(covering, SizeIs(16));
  for (const auto& [name, sides] : covering) {
    EXPECT_THAT(sides, testing::ElementsAre(kWholeMapGranularity)) << name;
  }
}

TEST(Search, CurvesKnowTheStaticNetwork) {
  const GranularitySearch found = search({});
  double sum = 0;
  for (const SearchCurve& curve : found.curves) sum += curve.chosen ? curve.static_s : 0;
  for (const OperatorLatency& fixed : found.latency.fixed) sum += fixed.seconds;
  EXPECT_NEAR(sum, found.latency.static_s, 1e-9);
}

TEST(Search, PerBlockHasAnSForEveryBlock) {
  EXPECT_THAT(search({.per_block = true}).granularity, SizeIs(16));
}

TEST(Search, CurvesOfAPartAreNeighboursInRisingS) {
  for (const bool per_block : {false, true}) {
    const auto curves = search({.granularities = {4, 2}, .per_block = per_block}).curves;
    ASSERT_THAT(curves, SizeIs(per_block ? 32 : 8));
    for (size_t i = 0; i < curves.size(); i += 2) {
      EXPECT_EQ(curves[i].name, curves[i + 1].name);
      EXPECT_EQ(curves[i].granularity, 2);
      EXPECT_EQ(curves[i + 1].granularity, 4);
    }
  }
}

TEST(Search, AMacRatioGivesTheRate) {
  const GranularitySearch found = search({.macs = 0.5});
  EXPECT_NEAR(found.macs_ratio, 0.5, 1e-3);
  EXPECT_LT(found.rate, 0.5) << "the halo and what is never sparse come on top";
}

TEST(Search, ABudgetGivesTheLargestRateWithinIt) {
  const double budget_s = 0.07;
  const GranularitySearch found = search({.budget_s = budget_s});
  EXPECT_LE(found.latency.dynamic_s, budget_s);
  EXPECT_GT(found.latency.dynamic_s, 0.98 * budget_s);
  EXPECT_ERROR(search({.budget_s = 1e-3}), HasSubstr("budget of 1 ms"));
  EXPECT_EQ(search({.budget_s = 100}).rate, 1);
}

TEST(Search, WrongCandidatesAreRefused) {
  EXPECT_ERROR(search({.granularities = {4, 0}}), HasSubstr("granularity 0"));
  EXPECT_ERROR(search({.granularities = {}}), HasSubstr("no granularities"));
  EXPECT_ERROR(search({.tolerance = -1}), HasSubstr("tolerance"));
  EXPECT_ERROR(search({.max_patch_share = 0}), HasSubstr("max_patch_share"));
  EXPECT_ERROR(search({.max_patch_share = 1.5}), HasSubstr("max_patch_share"));
}

}  // namespace
}  // namespace lasnet::test
