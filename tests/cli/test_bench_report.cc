// What `lasnet bench` says of measurements that are made up.
#include <gmock/gmock.h>

#include <algorithm>

#include "bench_report.h"

namespace lasnet::cli {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

/// Of 2304 MACs and 6 ms; each run computes a share of them in so many ms.
BlockMeasurements block(const std::string& name, int stage, const std::vector<double>& rates,
                        std::vector<double> sparse_ms) {
  BlockMeasurements block;
  block.name = name;
  block.granularity = 4;
  block.identity = true;
  block.static_macs = 2304;
  block.stage = stage;
  for (const double rate : rates) block.run_macs.push_back(std::max(1.0, 2304 * rate));
  block.run_rates = rates;
  block.rate = block.dilated_rate = mean(rates);
  block.macs = mean(block.run_macs);
  block.dense_ms = std::vector<double>(rates.size(), 6);
  block.masking_ms = std::vector<double>(rates.size(), 0.1);
  block.sparse_ms = std::move(sparse_ms);
  return block;
}

BenchReport report_of(std::vector<BlockMeasurements> blocks, std::optional<double> rate) {
  BenchReport report;
  report.model = "m";
  report.arch.name = "resnet18";
  report.arch.granularity = {4, 4, 4, 4};
  report.rate = rate;
  report.static_macs = 2304 * static_cast<int64_t>(blocks.size());
  for (size_t i = 0; i < blocks.front().sparse_ms.size(); ++i) {
    double dense = 0, sparse = 0, macs = 0;
    for (const BlockMeasurements& one : blocks)
      dense += one.dense_ms[i], sparse += one.sparse_ms[i], macs += one.run_macs[i];
    report.measured.dense_ms.push_back(dense);
    report.measured.sparse_ms.push_back(sparse);
    report.measured.macs_ratio.push_back(macs / static_cast<double>(report.static_macs));
  }
  report.measured.blocks = std::move(blocks);
  return report;
}

TEST(BenchReport, AnEmptyBlockIsSkippedInsteadOfAThousandTimesFaster) {
  const std::string text = to_text(
      report_of({block("layer1.0", 0, {0, 0}, {0.03, 0.03}), block("layer2.0", 1, {1, 1}, {6, 6})}, 0.0));
  EXPECT_THAT(text, AllOf(ContainsRegex("layer1.0 .* skipped\n"), ContainsRegex("layer2.0 .* 1.00x +1.00x\n"),
                          Not(HasSubstr("2304.00x")), Not(HasSubstr("200.00x"))));
}

TEST(BenchReport, MoreThanTheoryIsSaidToBeMore) {
  // Half the MACs in a third of the time.
  const BenchReport more = report_of({block("layer1.0", 0, {0.5, 0.5}, {2, 2})}, 0.5);
  EXPECT_DOUBLE_EQ(more.stages().front().efficiency(), 1.5);
  EXPECT_THAT(to_text(more), AllOf(HasSubstr("2.00x by theory, and 3.00x measured"), HasSubstr("150.0 %"),
                                   HasSubstr("above 100 %: beside MACs, memory traffic is saved")));
  const BenchReport less = report_of({block("layer1.0", 0, {0.5, 0.5}, {4, 4})}, 0.5);
  EXPECT_THAT(to_text(less), AllOf(HasSubstr("of which 75.0 % is reached"), Not(HasSubstr("above 100 %"))));
}

TEST(BenchReport, MasksThatVaryAreHeldAgainstTheTheoryOfTheSameRun) {
  // Full twice, skipped once: the mean of the MACs is no run's theory.
  const BenchReport full = report_of({block("layer1.0", 0, {1, 0, 1}, {6, 0.003, 6})}, std::nullopt);
  EXPECT_DOUBLE_EQ(full.stages().front().efficiency(), 1);
  EXPECT_THAT(to_text(full), ContainsRegex("layer1.0 .* 1.00x +1.00x\n"));
  const BenchReport idle = report_of({block("layer1.0", 0, {0, 1, 0}, {0.003, 6, 0.003})}, std::nullopt);
  EXPECT_THAT(to_text(idle),
              AllOf(ContainsRegex("layer1.0 .* mostly skipped\n"), Not(HasSubstr("2304.00x"))));
}

TEST(BenchReport, OneDisturbedRunChangesNothing) {
  const BenchReport report = report_of({block("layer1.0", 0, {0.5, 0.5, 0.5}, {3, 300, 3})}, std::nullopt);
  EXPECT_DOUBLE_EQ(report.stages().front().speedup, 2);
}

}  // namespace
}  // namespace lasnet::cli
