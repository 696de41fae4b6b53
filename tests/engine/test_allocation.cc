// A session that runs the same size again takes no memory: counting_new.h counts.
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>

#include "counting_new.h"
#include "lasnet/engine.h"
#include "support/quantized_model.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

class Allocation : public testing::TestWithParam<const char*> {};

TEST_P(Allocation, NoneInSteadyState) {
  std::string text = GetParam();
  for (const char* architecture : {"resnet18", "resnet50", "regnet_y_400mf"}) {
    ArchConfig arch{.name = architecture, .width = 0.25, .classes = 10, .granularity = {4, 4, 2, 1}};
    Model model = test::random_model(arch, 1);
    Tensor x = test::random_input(2, {64, 96}, 2);
    Session session(model, {.threads = 2, .schedule = parse_block_schedule(text)});
    Result result;
    for (bool dense : {false, true}) {
      for (bool record : {true, false}) {
        RunOptions options{.dense = dense, .record_masks = record};
        if (record) options.features = {"stem", feature_specs(model.spec).back().name};
        session.run(x, options, result);
        session.run(x, options, result);
        int64_t before = test::allocations();
        session.run(x, options, result);
        EXPECT_EQ(test::allocations() - before, 0) << architecture << (dense ? ", dense" : ", sparse");
      }
    }
  }
}

TEST(AllocationOfInt8, NoneInSteadyState) {
  for (const char* architecture : {"resnet50", "regnet_y_400mf"}) {
    const Model model = test::quantized_model(
        {.name = architecture, .width = 0.25, .classes = 10, .granularity = {4, 4, 2, 1}}, 1);
    const Tensor x = test::random_input(2, {64, 96}, 2);
    Session session(model, {.threads = 2, .precision = Precision::int8});
    Result result;
    for (int warm = 0; warm < 2; ++warm) session.run(x, {}, result);
    const int64_t before = test::allocations();
    session.run(x, {}, result);
    EXPECT_EQ(test::allocations() - before, 0) << architecture;
  }
}

/// Memory is made for any masks when a size is first seen, be it by a dense run.
TEST_P(Allocation, NoneInTheFirstSparseRunAfterADenseOne) {
  ArchConfig arch{.name = "resnet50", .width = 0.25, .classes = 10, .granularity = {4, 4, 2, 1}};
  Model model = test::random_model(arch, 1);
  Tensor x = test::random_input(2, {64, 96}, 2);
  auto executable = make_executable(model, Backend::cpu, std::nullopt,
                                    uniform_schedule(model.spec, parse_block_schedule(GetParam())));
  Result sparse, dense;
  Session(executable, 1).run(x, {}, sparse);
  Session session(executable, 1);
  session.run(x, {.dense = true}, dense);
  int64_t before = test::allocations();
  session.run(x, {}, sparse);
  EXPECT_EQ(test::allocations() - before, 0);
  EXPECT_LT(sparse.trace.macs_ratio(), 1);
}

TEST_P(Allocation, NoneWhenThresholdsChange) {
  ArchConfig arch{.name = "resnet50", .width = 0.25, .classes = 10, .granularity = {4, 4, 2, 1}};
  Model model = test::random_model(arch, 1);
  Tensor x = test::random_input(2, {64, 96}, 2);
  TensorView view = x;
  Session session(model, {.threads = 2, .schedule = parse_block_schedule(GetParam())});
  Result result;
  session.run(view, {}, result);
  const double usual = result.trace.macs_ratio();
  const std::vector<RunOptions> settings = {
      {.thresholds = {0.3f}},
      {.thresholds = std::vector<float>(model.spec.blocks.size(), -0.3f)},
      {.thresholds = {INFINITY}},
      {.thresholds = {-INFINITY}}};
  for (const RunOptions& options : settings) {
    int64_t before = test::allocations();
    session.run(view, options, result);
    EXPECT_EQ(test::allocations() - before, 0) << "from " << options.thresholds.front();
    EXPECT_NE(result.trace.macs_ratio(), usual);
  }
}

INSTANTIATE_TEST_SUITE_P(Schedules, Allocation,
                         testing::Values("", "masker=separate", "masker=with_conv1", "gather=copied",
                                         "scatter=separate", "traversal=row_bands"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name.empty() ? "default" : name;
                         });

/// The counter counts.
TEST(AllocationCounter, Counts) {
  int64_t before = test::allocations();
  std::vector<int> values(1000, 1);
  EXPECT_EQ(values.back(), 1);
  EXPECT_GT(test::allocations(), before);
}

}  // namespace
}  // namespace lasnet
