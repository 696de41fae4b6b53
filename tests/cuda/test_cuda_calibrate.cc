// Calibration and validation of the CUDA kernels' predictions over the emulated device: that every kernel is
// measured and every network compared. Times mean nothing there.
#include <gmock/gmock.h>

#include "calibrate/calibrate.h"
#include "calibrate/validation.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

CudaMeasureOptions least() {
  return {.convs = {{.height = 5, .width = 4, .in = 16, .out = 8, .kernel = 3, .granularity = 2},
                    {.height = 3, .width = 3, .in = 8, .out = 16, .adds = true}},
          .maps = {{.height = 6, .width = 5, .channels = 24, .granularity = 2},
                   {.height = 4, .width = 4, .channels = 8, .granularity = 3}},
          .batches = {2, 1},
          .rates = {1, 0.5},
          .classes = 5,
          .budget_s = 1e9,
          .runs = 2,
          .max_launches = 2,
          .launches_s = 0};
}

TEST(MeasureCuda, TimesEveryTileAndKernel) {
  double last = -1;
  const CudaMeasurements measured = measure_cuda(least(), [&](double share, const std::string&) {
    EXPECT_GE(share, last);
    last = share;
  });
  EXPECT_EQ(last, 1);
  EXPECT_EQ(measured.device, "emulated");
  EXPECT_GE(measured.convs.size(), 3U * 2 * 2);
  for (const std::vector<CudaConvSample>& tiles : measured.convs) {
    EXPECT_EQ(tiles.size(), tiles[0].work.precision == Precision::fp32 ? 3U : 6U);
    for (const CudaConvSample& sample : tiles) {
      EXPECT_GT(sample.seconds, 0);
      EXPECT_GT(sample.work.pixels, 0);
    }
  }
  EXPECT_EQ(measured.kernels.size(), 3U * 2 * (2 * 10 + 1));
  std::array<double, kCudaUnits> all = {};
  for (const CudaKernelSample& sample : measured.kernels) {
    EXPECT_GT(sample.seconds, 0);
    for (size_t i = 0; i < all.size(); ++i) all[i] += sample.counts.units[i];
  }
  for (size_t i = 0; i < all.size(); ++i) EXPECT_GT(all[i], 0) << to_string(static_cast<CudaUnit>(i));
}

TEST(MeasureCuda, ASpentBudgetLeavesOneCaseOfEachLayer) {
  CudaMeasureOptions options = least();
  options.budget_s = 0;
  const CudaMeasurements measured = measure_cuda(options, [](double, const std::string&) {});
  EXPECT_EQ(measured.convs.size(), 3U * 2);
  EXPECT_EQ(measured.kernels.size(), 3U * 2 * (10 + 1));
}

TEST(CalibrateCuda, WritesAProfileOfTheDeviceThatPredicts) {
  const Calibration calibration = calibrate_cuda(least(), [](double, const std::string&) {});
  EXPECT_GT(calibration.fitted, 0U);
  EXPECT_GT(calibration.held_out.points, 0U);
  const HardwareProfile profile = parse_hardware(hardware_to_toml(calibration.profile), "profile");
  EXPECT_EQ(profile.kind(), HardwareKind::cuda);
  EXPECT_EQ(profile.name, "cuda");
  EXPECT_EQ(cuda_of(profile).device, "emulated");
  ArchConfig arch;
  arch.granularity = {4, 4, 2, 1};
  EXPECT_GT(predict_latency(make_spec(arch), profile, {.rate = 0.5}).dynamic_s, 0);
}

TEST(DefaultCudaMeasurements, AreUnlikeOrdinaryNetworks) {
  const CudaMeasureOptions options = default_cuda_measurements();
  for (const CudaConvCase& layer : options.convs) {
    for (const int side : {56, 28, 14, 7}) EXPECT_NE(layer.height, side);
    for (const int width : {64, 128, 256, 512, 1024, 2048}) {
      EXPECT_NE(layer.in, width);
      EXPECT_NE(layer.out, width);
    }
  }
}

TEST(ValidateCuda, ComparesBlocksNetworksAndGranularities) {
  const HardwareProfile hardware = load_hardware("cuda-h100");
  const CudaValidationOptions options{.networks = {"resnet18"},
                                      .width = 0.125,
                                      .size = {33, 32},
                                      .batches = {1, 2},
                                      .precisions = {Precision::fp16},
                                      .granularities = {{2, 1, 1, 1}, {1, 1, 1, 1}},
                                      .maskers = {MaskerSchedule::separate, MaskerSchedule::incremental},
                                      .rates = {0.5},
                                      .repeat = 1};
  double last = 0;
  const Validation validation =
      validate_cuda(hardware, options, [&](double share, const std::string&) { last = share; });
  EXPECT_EQ(last, 1);
  EXPECT_TRUE(validation.skipped.empty());
  ASSERT_EQ(validation.networks.size(), 8U);
  for (const NetworkComparison& network : validation.networks) {
    EXPECT_GT(network.measured_static_s, 0);
    EXPECT_GT(network.measured_dynamic_s, 0);
    EXPECT_GT(network.predicted_static_s, 0);
    EXPECT_GT(network.predicted_dynamic_s, 0);
    EXPECT_EQ(network.precision, Precision::fp16);
  }
  // Eight blocks: static once per batch, dynamic for either S and either masker.
  EXPECT_EQ(validation.points.size(), 8U * 2 * (1 + 2 * 2));
  EXPECT_EQ(quality_of(validation.points, "resnet").points, 8U * 2 * 2 * 2);
  size_t pooled = 0;
  for (const ValidationPoint& point : validation.points) {
    EXPECT_GT(point.measured_s, 0);
    EXPECT_GT(point.predicted_s, 0);
    EXPECT_THAT(point.schedule,
                testing::MatchesRegex("masker=(separate|incremental),gather=indirect,scatter=in_place.*"));
    pooled += point.granularity > 0 && point.schedule.starts_with("masker=incremental");
  }
  EXPECT_GT(pooled, 0U);
  for (const auto& choices : {validation.granularities, validation.schedules}) {
    ASSERT_EQ(choices.size(), 4U) << "a choice for each batch and each of the others";
    for (const Choice& choice : choices) EXPECT_EQ(choice.options.size(), 2U);
  }
  EXPECT_EQ(validation.schedules[0].options[1].name, "masker=incremental");
}

TEST(ValidateCuda, AnotherKindOfHardwareIsRefused) {
  const auto ignore = [](double, const std::string&) {};
  EXPECT_ERROR(validate_cuda(load_hardware("h100"), {}, ignore),
               testing::HasSubstr("not of the CUDA kernels"));
}

}  // namespace
}  // namespace lasnet::test
