// Fitting the CUDA kernels' costs to made-up measurements of known costs.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "calibrate/cuda_fit.h"

namespace lasnet::test {
namespace {

CudaTileCosts scaled(CudaTileCosts costs, double factor) {
  for (auto* table : {&costs.fp32, &costs.tf32, &costs.half}) {
    for (CudaTileCost& cost : *table) {
      cost.step_ns *= factor;
      cost.rest_ns /= factor;
      cost.rest_adding_ns *= factor;
      cost.step_alone_ns /= factor;
      cost.rest_alone_ns *= factor;
    }
  }
  return costs;
}

/// Every tile on layers of many sizes, `noise` apart from their expected times.
std::vector<CudaConvSample> made_up_convs(const CudaTileCosts& costs, double noise) {
  Random random(5);
  std::vector<CudaConvSample> samples;
  for (const Precision precision : {Precision::fp32, Precision::fp16}) {
    for (const double pixels : {40.0, 500.0, 3000.0, 50000.0, 400000.0}) {
      for (const int64_t reduction : {128, 512, 1536, 4608}) {
        for (const bool adds : {false, true}) {
          for (int shape = 0; shape < kCudaTileShapes; ++shape) {
            CudaConvSample sample{.work = {.pixels = pixels,
                                           .channels = 96,
                                           .reduction_bytes = reduction,
                                           .precision = precision,
                                           .adds = adds,
                                           .multiprocessors = 132},
                                  .shape = static_cast<CudaTileShape>(shape)};
            if (!has_cuda_tile(sample.shape, precision)) continue;
            sample.seconds = predicted_seconds(sample, costs) * (1 + random.uniform(-noise, noise));
            samples.push_back(sample);
          }
        }
      }
    }
  }
  return samples;
}

void expect_costs(const CudaTileCost& got, const CudaTileCost& expected, double tolerance) {
  EXPECT_NEAR(got.step_ns, expected.step_ns, tolerance * expected.step_ns);
  EXPECT_NEAR(got.rest_ns, expected.rest_ns, tolerance * expected.rest_ns);
  EXPECT_NEAR(got.rest_adding_ns, expected.rest_adding_ns, tolerance * expected.rest_adding_ns);
  EXPECT_NEAR(got.step_alone_ns, expected.step_alone_ns, tolerance * expected.step_alone_ns);
  EXPECT_NEAR(got.rest_alone_ns, expected.rest_alone_ns, tolerance * expected.rest_alone_ns);
}

TEST(Minimise, FindsTheBottomOfACurvedValley) {
  const auto rosenbrock = [](const std::vector<double>& x) {
    const double a = 1 - x[0], b = x[1] - x[0] * x[0];
    return a * a + 100 * b * b;
  };
  const std::vector<double> found = minimise(rosenbrock, {-1.2, 1}, 0.5);
  EXPECT_NEAR(found[0], 1, 1e-3);
  EXPECT_NEAR(found[1], 1, 1e-3);
}

TEST(FitCudaTiles, FindsTheCostsThatMadeTheTimes) {
  CudaTileCosts truth = scaled(shipped_tile_costs(), 1.5);
  // One team fills a multiprocessor: what a tile takes alone shows in no time, and stays what it was.
  constexpr auto kWidest = static_cast<size_t>(CudaTileShape::hopper_wide);
  const CudaTileCost& before = shipped_tile_costs().half[kWidest];
  truth.half[kWidest].step_alone_ns = before.step_alone_ns;
  truth.half[kWidest].rest_alone_ns = before.rest_alone_ns;
  const CudaTileCosts fitted = fit_cuda_tiles(made_up_convs(truth, 0), shipped_tile_costs());
  for (size_t shape = 0; shape < kCudaTileShapes; ++shape) {
    SCOPED_TRACE(shape);
    expect_costs(fitted.half[shape], truth.half[shape], 0.02);
    if (has_cuda_tile(static_cast<CudaTileShape>(shape), Precision::fp32))
      expect_costs(fitted.fp32[shape], truth.fp32[shape], 0.02);
  }
  EXPECT_EQ(fitted.tf32, shipped_tile_costs().tf32) << "nothing was measured";
}

TEST(FitCudaTiles, NoiseOfFivePerCentMovesTheTimesLittleMore) {
  const CudaTileCosts truth = scaled(shipped_tile_costs(), 1.3);
  const CudaTileCosts fitted = fit_cuda_tiles(made_up_convs(truth, 0.05), shipped_tile_costs());
  for (const CudaConvSample& exact : made_up_convs(truth, 0))
    EXPECT_NEAR(predicted_seconds(exact, fitted), exact.seconds, 0.07 * exact.seconds);
}

TEST(FitCudaUnits, FindsTheSecondsThatMadeTheTimes) {
  const CudaHardware prior = cuda_of(load_hardware("cuda-h100"));
  CudaHardware truth = prior;
  for (size_t i = 0; i < truth.seconds_per.size(); ++i) truth.seconds_per[i] *= i % 2 == 0 ? 1.7 : 0.6;
  truth.l2_mb *= 1.5, truth.memory_factor *= 1.3;
  std::vector<CudaKernelSample> samples;
  const auto add = [&](const CudaCounts& counts) {
    samples.push_back({counts, kernel_seconds(counts, truth), 0});
  };
  for (const double images : {1.0, 4.0, 16.0, 128.0}) {
    for (const int side : {7, 14, 28, 56}) {
      const MapSize map{side, side};
      const double pixels = images * side * side;
      for (const double size : {512.0, 2048.0}) {
        add(stream_counts(pixels * size, pixels * size, true));
        add(stream_counts(3 * pixels * size, 2 * pixels * size, false));
      }
      CudaCounts beside = stream_counts(pixels * 512, pixels * 512, false);
      beside[CudaUnit::branch] = 1;
      add(beside);
      for (const int patch : {1, 2, 4, 8}) {
        for (const int pitch : {64, 1024}) {
          add(masker_counts(images, map, pitch, patch, Precision::fp16));
          const double patches = images * std::ceil(1.0 * side / patch) * std::ceil(1.0 * side / patch);
          add(masker_group_counts(images, patches, 400, map, pitch, patch, Precision::fp16));
        }
      }
      add(list_counts(images, {map, map, map}));
      for (const int pitch : {32, 2048}) add(mean_counts(images, pixels, pitch, Precision::fp16, 132));
      add(excite_counts(images, 8 * side, 2 * side, 132));
      for (const int classes : {10, 1000}) add(head_counts(images, classes, 32 * side));
    }
  }
  const CudaHardware fitted = fit_cuda_units(samples, prior);
  EXPECT_NEAR(fitted.l2_mb, truth.l2_mb, 0.05 * truth.l2_mb);
  EXPECT_NEAR(fitted.memory_factor, truth.memory_factor, 0.05 * truth.memory_factor);
  for (size_t i = 0; i < truth.seconds_per.size(); ++i) {
    EXPECT_NEAR(fitted.seconds_per[i], truth.seconds_per[i], 0.05 * truth.seconds_per[i])
        << to_string(static_cast<CudaUnit>(i));
  }
}

}  // namespace
}  // namespace lasnet::test
