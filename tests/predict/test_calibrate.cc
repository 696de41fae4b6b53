// Fitting and its statistics on made-up measurements, and a small real measurement.
#include <gmock/gmock.h>

#include "base/random.h"
#include "calibrate/fit.h"
#include "calibrate/measure.h"
#include "calibrate/validation.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

std::vector<FitRow> made_up_rows(const std::array<double, kWorkUnits>& costs, int rows, double noise) {
  Random random(3);
  std::vector<FitRow> made;
  for (int r = 0; r < rows; ++r) {
    FitRow& row = made.emplace_back();
    for (size_t i = 0; i < costs.size(); ++i) {
      row.counts[i] = random.uniform(0, 1000);
      row.seconds += row.counts[i] * costs[i];
    }
    row.seconds *= 1 + random.uniform(-noise, noise);
  }
  return made;
}

std::array<double, kWorkUnits> made_up_costs() {
  std::array<double, kWorkUnits> costs;
  for (size_t i = 0; i < costs.size(); ++i) costs[i] = 1e-6 * static_cast<double>(1 + i % 5);
  return costs;
}

TEST(FitCosts, FindsTheCostsThatMadeTheTimes) {
  const auto costs = made_up_costs();
  const auto fitted = fit_costs(made_up_rows(costs, 400, 0), {});
  for (size_t i = 0; i < costs.size(); ++i) EXPECT_NEAR(fitted[i], costs[i], 0.02 * costs[i]) << i;
}

TEST(FitCosts, DisturbedRowsBendItLittle) {
  const auto costs = made_up_costs();
  auto rows = made_up_rows(costs, 600, 0.01);
  for (size_t r = 0; r < rows.size(); r += 20) rows[r].seconds *= 3;
  const auto fitted = fit_costs(rows, {});
  for (size_t i = 0; i < costs.size(); ++i) EXPECT_NEAR(fitted[i], costs[i], 0.2 * costs[i]) << i;
}

TEST(FitCosts, KeepsThePriorWhereNothingIsKnown) {
  auto costs = made_up_costs();
  auto rows = made_up_rows(costs, 100, 0);
  for (FitRow& row : rows) {
    row.seconds -= row.counts[0] * costs[0];
    row.counts[0] = 0;
  }
  std::array<double, kWorkUnits> prior = {};
  prior[0] = 42e-6;
  EXPECT_NEAR(fit_costs(rows, prior)[0], 42e-6, 1e-9);
  EXPECT_ERROR(fit_costs({}, prior), testing::HasSubstr("no measurements"));
}

TEST(FitCosts, KnownUnitsStay) {
  const auto costs = made_up_costs();
  const auto rows = made_up_rows(costs, 400, 0);
  auto known = costs;
  known[3] *= 2;
  const auto fitted = fit_costs(rows, known, {static_cast<WorkUnit>(3)});
  EXPECT_DOUBLE_EQ(fitted[3], known[3]);
  EXPECT_LT(fitted[4], costs[4]) << "the others make up for it";
}

TEST(FitQuality, CountsRelativeErrors) {
  const FitQuality quality = fit_quality({104, 92, 120, 100}, {100, 100, 100, 100});
  EXPECT_DOUBLE_EQ(quality.mape, (0.04 + 0.08 + 0.20 + 0) / 4);
  EXPECT_DOUBLE_EQ(quality.rmspe, std::sqrt((0.0016 + 0.0064 + 0.04) / 4));
  EXPECT_DOUBLE_EQ(quality.within_5, 0.5);
  EXPECT_DOUBLE_EQ(quality.within_10, 0.75);
  EXPECT_DOUBLE_EQ(quality.within_15, 0.75);
}

TEST(Spearman, ComparesRanks) {
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3, 4}, {10, 20, 300, 301}), 1);
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3, 4}, {4, 3, 2, 1}), -1);
  EXPECT_NEAR(spearman({1, 2, 3}, {1, 3, 2}), 0.5, 1e-12);
  EXPECT_NEAR(spearman({1, 1, 2}, {1, 2, 3}), 0.866025, 1e-6) << "equal values share their mean rank";
}

TEST(Regret, ComparesWithTheBestFixedChoice) {
  const std::vector<Choice> choices = {
      {.stage = 0, .rate = 0.2, .options = {{"S 1", 2.0, 2.2}, {"S 4", 1.0, 1.1}}, .chosen = 1},
      {.stage = 0, .rate = 0.8, .options = {{"S 1", 1.0, 1.6}, {"S 4", 1.5, 1.5}}, .chosen = 1}};
  EXPECT_EQ(choices[0].best(), 1U);
  EXPECT_EQ(choices[1].best(), 0U);
  EXPECT_DOUBLE_EQ(choices[0].rank_correlation(), 1);
  EXPECT_DOUBLE_EQ(choices[1].rank_correlation(), -1);
  const Regret regret = regret_of(choices);
  EXPECT_DOUBLE_EQ(regret.chosen_mean, 0.25);
  EXPECT_DOUBLE_EQ(regret.chosen_max, 0.5);
  EXPECT_DOUBLE_EQ(regret.fixed_mean, 0.25) << "S 4 everywhere";
}

TEST(Regret, AFixedOptionIsOneThatEveryChoiceOffers) {
  const std::vector<Choice> choices = {
      {.stage = 2, .rate = 0.2, .options = {{"S 1", 2.0, 0}, {"S 14", 1.0, 0}}, .chosen = 0},
      {.stage = 2, .rate = 0.8, .options = {{"S 1", 1.0, 0}}, .chosen = 0}};
  EXPECT_DOUBLE_EQ(regret_of(choices).fixed_mean, 0.5);
}

TEST(MeasureCase, SamplesEveryBlockWithItsMask) {
  ArchConfig arch;
  arch.name = "resnet18";
  arch.width = 0.25;
  arch.granularity = {2, 2, 2, 1};
  CpuHardware machine;
  machine.isa = available_isas().back();
  double share = 0;
  const auto runs =
      measure_case({.arch = arch, .size = {64, 64}, .rates = {0.5, 1}, .offsets = {0, 1}},
                   {.min_repeat = 2, .max_repeat = 2}, machine, [&](double done) { share = done; });
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(share, 1);
  for (const MeasuredRun& run : runs) {
    ASSERT_EQ(run.samples.size(), 9U) << "eight blocks, stem and head";
    double sum = 0;
    for (const Sample& sample : run.samples) {
      EXPECT_GT(sample.quiet(), 0);
      sum += sample.quiet();
    }
    EXPECT_LE(sum, 1.0001 * run.quiet() + 1) << "minima of parts are at most the minimum of the whole";
  }
  EXPECT_NEAR(runs[0].samples[0].activity.rate, 0.5, 0.01);
  EXPECT_EQ(runs[1].samples[0].activity.rate, 1);
}

}  // namespace
}  // namespace lasnet::test
