// Choosing operating points, by a MAC ratio and by a predicted time, and rates of single blocks in
// predictions.
#include <gmock/gmock.h>

#include <cmath>

#include "lasnet/geometry.h"
#include "lasnet/operating_point.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// Three points of a ResNet-18 whose blocks all have the same rate.
Model tuned_model() {
  Model model;
  model.spec = make_spec({.name = "resnet18", .granularity = {4, 4, 2, 1}});
  const size_t blocks = model.spec.blocks.size();
  const auto point = [&](double macs, double top1, float threshold, double rate) {
    return OperatingPoint{.macs_ratio = macs,
                          .top1 = top1,
                          .thresholds = std::vector<float>(blocks, threshold),
                          .rates = std::vector<double>(blocks, rate),
                          .predicted_ms = {{"tx2", 100 * macs}}};
  };
  model.operating_points = {point(0.2, 0.5, 2, 0.1), point(0.4, 0.8, 1, 0.3), point(0.8, 0.9, -1, 0.7)};
  return model;
}

TEST(OperatingPoint, StoredOnesAreFoundByTheirRatio) {
  const Model model = tuned_model();
  for (const OperatingPoint& point : model.operating_points)
    EXPECT_EQ(operating_point(model, {.macs = point.macs_ratio}), point);
  EXPECT_EQ(operating_point(model, {.macs = 1}), model.operating_points.back());
}

TEST(OperatingPoint, IsInterpolatedBetweenNeighbours) {
  const OperatingPoint point = operating_point(tuned_model(), {.macs = 0.5});
  EXPECT_NEAR(point.macs_ratio, 0.5, 1e-12);
  EXPECT_NEAR(point.top1, 0.825, 1e-12);
  EXPECT_NEAR(point.predicted_ms.at("tx2"), 50, 1e-9);
  ASSERT_EQ(point.thresholds.size(), 8u);
  EXPECT_NEAR(point.thresholds[3], 0.5, 1e-6);
  EXPECT_NEAR(point.rates[3], 0.4, 1e-12);
}

/// The predicted time at every place of the line, against the point that was chosen.
TEST(OperatingPoint, FitsATimeAsCloselyAsItCan) {
  const Model model = tuned_model();
  const HardwareProfile tx2 = load_hardware("tx2");
  const auto seconds_at = [&](double macs) {
    const std::vector<double> rates = operating_point(model, {.macs = macs}).rates;
    return predict_latency(model.spec, tx2, {.rates = rates}).dynamic_s;
  };
  const double least = seconds_at(0.2), most = seconds_at(0.8);
  for (const double part : {0.0, 0.3, 0.9}) {
    const double budget = std::lerp(least, most, part);
    const OperatingPoint point = operating_point(model, {.seconds = budget, .hardware = tx2});
    const double seconds = predict_latency(model.spec, tx2, {.rates = point.rates}).dynamic_s;
    EXPECT_NEAR(point.predicted_ms.at("tx2"), 1e3 * seconds, 1e-6);
    EXPECT_LE(seconds, budget);
    for (double macs = 0.2; macs <= 0.8; macs += 0.01) {
      if (macs > point.macs_ratio + 1e-6) {
        EXPECT_GT(seconds_at(macs), budget) << macs;
      }
    }
  }
  EXPECT_EQ(operating_point(model, {.seconds = 2 * most, .hardware = tx2}).macs_ratio, 0.8);
  EXPECT_NEAR(predicted_ms(model, model.operating_points[0], tx2), 1e3 * least, 1e-9);
}

TEST(OperatingPoint, OfLargerImagesAndBatchesTakeLonger) {
  const Model model = tuned_model();
  const HardwareProfile tx2 = load_hardware("tx2");
  const auto macs_within = [&](OperatingBudget budget) {
    budget.hardware = tx2;
    return operating_point(model, budget).macs_ratio;
  };
  const double seconds = operating_point(model, {.seconds = 1, .hardware = tx2}).predicted_ms.at("tx2") / 1e3;
  EXPECT_LT(macs_within({.seconds = seconds, .size = MapSize{256, 256}}), 0.8);
  EXPECT_LT(macs_within({.seconds = seconds, .batch = 2}), 0.8);
}

TEST(OperatingPoint, ThatIsOutOfReachIsRefusedWithTheLeast) {
  const Model model = tuned_model();
  EXPECT_ERROR(operating_point(model, {.macs = 0.19}), AllOf(HasSubstr("budget of 0.19"), HasSubstr("0.2")));
  EXPECT_ERROR(operating_point(model, {.macs = NAN}), HasSubstr("budget"));
  EXPECT_ERROR(operating_point(model, {.macs = 45}), HasSubstr("expected a ratio from 0 to 1"));
  EXPECT_ERROR(operating_point(model, {.seconds = 1e-6, .hardware = load_hardware("tx2")}),
               AllOf(HasSubstr("0.001 ms"), HasSubstr("tx2")));
  EXPECT_ERROR(operating_point(model, {.seconds = NAN}), HasSubstr("budget"));
}

TEST(OperatingPoint, NeedsOneBudgetAndAModelThatWasTuned) {
  Model model = tuned_model();
  EXPECT_ERROR(operating_point(model, {}), HasSubstr("one of the two"));
  EXPECT_ERROR(operating_point(model, {.macs = 0.5, .seconds = 1}), HasSubstr("one of the two"));
  model.operating_points.clear();
  EXPECT_ERROR(operating_point(model, {.macs = 0.5}), HasSubstr("no operating points"));
}

TEST(BlockRates, ThatAreEqualPredictWhatOneRateDoes) {
  const ModelSpec spec = make_spec({.name = "resnet50", .granularity = {4, 4, 2, 1}});
  for (const char* name : {"tx2", "cpu-avx2", "cuda-h100"}) {
    const HardwareProfile hardware = load_hardware(name);
    const NetworkLatency expected = predict_latency(spec, hardware, {.rate = 0.3});
    const NetworkLatency got =
        predict_latency(spec, hardware, {.rate = 0.9, .rates = std::vector<double>(spec.blocks.size(), 0.3)});
    EXPECT_EQ(got.dynamic_s, expected.dynamic_s) << name;
    EXPECT_EQ(got.macs_ratio, expected.macs_ratio) << name;
  }
}

/// The ratio is linear in what each block computes.
TEST(BlockRates, AddUpToTheMacRatio) {
  const ModelSpec spec = make_spec({.name = "resnet18", .granularity = {4, 4, 2, 1}});
  const HardwareProfile hardware = load_hardware("tx2");
  const auto ratio = [&](const std::vector<double>& rates) {
    return predict_latency(spec, hardware, {.rates = rates}).macs_ratio;
  };
  std::vector<double> none(spec.blocks.size()), mixed;
  for (size_t b = 0; b < none.size(); ++b) mixed.push_back(0.1 + 0.1 * static_cast<double>(b));
  double expected = ratio(none);
  for (size_t b = 0; b < none.size(); ++b) {
    std::vector<double> one = none;
    one[b] = mixed[b];
    expected += ratio(one) - ratio(none);
  }
  EXPECT_NEAR(ratio(mixed), expected, 1e-12);
}

TEST(BlockRates, OfAWrongNumberOrRangeAreRefused) {
  const ModelSpec spec = make_spec({.name = "resnet18", .granularity = {4, 4, 2, 1}});
  const HardwareProfile hardware = load_hardware("tx2");
  EXPECT_ERROR(predict_latency(spec, hardware, {.rates = {0.5, 0.5}}), HasSubstr("has 8 blocks"));
  std::vector<double> rates(8, 0.5);
  rates[7] = 1.5;
  EXPECT_ERROR(predict_latency(spec, hardware, {.rates = rates}), HasSubstr("activation rate 1.5"));
}

}  // namespace
}  // namespace lasnet::test
