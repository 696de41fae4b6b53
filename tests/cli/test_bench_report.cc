// What `lasnet bench` says of measurements that are made up.
#include <gmock/gmock.h>

#include "bench_report.h"

namespace lasnet::cli {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

BlockMeasurements block(const std::string& name, int stage, double rate, double macs,
                        std::vector<double> sparse_ms) {
  BlockMeasurements block;
  block.name = name;
  block.granularity = 4;
  block.identity = true;
  block.rate = block.dilated_rate = rate;
  block.macs = macs;
  block.static_macs = 2304;
  block.stage = stage;
  block.dense_ms = std::vector<double>(sparse_ms.size(), 6);
  block.masking_ms = std::vector<double>(sparse_ms.size(), 0.1);
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
      dense += one.dense_ms[i], sparse += one.sparse_ms[i], macs += one.macs;
    report.measured.dense_ms.push_back(dense);
    report.measured.sparse_ms.push_back(sparse);
    report.measured.macs_ratio.push_back(macs / static_cast<double>(report.static_macs));
  }
  report.measured.blocks = std::move(blocks);
  return report;
}

TEST(BenchReport, AnEmptyBlockIsSkippedInsteadOfAThousandTimesFaster) {
  const std::string text = to_text(
      report_of({block("layer1.0", 0, 0, 1, {0.03, 0.03}), block("layer2.0", 1, 1, 2304, {6, 6})}, 0.0));
  EXPECT_THAT(text, AllOf(ContainsRegex("layer1.0 .* skipped\n"), ContainsRegex("layer2.0 .* 1.00x +1.00x\n"),
                          Not(HasSubstr("2304.00x")), Not(HasSubstr("200.00x"))));
}

TEST(BenchReport, MoreThanTheoryIsSaidToBeMore) {
  // Half the MACs in a third of the time.
  const BenchReport more = report_of({block("layer1.0", 0, 0.5, 1152, {2, 2})}, 0.5);
  EXPECT_DOUBLE_EQ(more.stages().front().efficiency(), 1.5);
  EXPECT_THAT(to_text(more), AllOf(HasSubstr("2.00x by theory, and 3.00x measured"), HasSubstr("150.0 %"),
                                   HasSubstr("above 100 %: beside MACs, memory traffic is saved")));
  const BenchReport less = report_of({block("layer1.0", 0, 0.5, 1152, {4, 4})}, 0.5);
  EXPECT_THAT(to_text(less), AllOf(HasSubstr("of which 75.0 % is reached"), Not(HasSubstr("above 100 %"))));
}

TEST(BenchReport, OwnMasksThatVaryAreComparedByAllTimesTogether) {
  // Skipped twice, full once: a third of the MACs, a third of the time; no single pair says so.
  const BenchReport own = report_of({block("layer1.0", 0, 1.0 / 3, 768, {0.003, 6, 0.003})}, std::nullopt);
  EXPECT_NEAR(own.stages().front().speedup, 3, 0.01);
  EXPECT_THAT(to_text(own),
              AllOf(ContainsRegex("layer1.0 .* 3.00x +3.00x\n"), HasSubstr("of all their times")));
}

}  // namespace
}  // namespace lasnet::cli
