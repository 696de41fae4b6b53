#include <algorithm>

#include "base/fail.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "calibrate/calibrate.h"

namespace lasnet {
namespace {

/// Every so many cases are held out.
constexpr size_t kHeldOut = 5;

/// A network's widths between those that ordinary ones have, on maps of other sizes.
std::vector<CudaConvCase> unusual_layers() {
  return {{.height = 60, .width = 60, .in = 160, .out = 48, .granularity = 4},
          {.height = 60, .width = 60, .in = 48, .out = 48, .kernel = 3, .granularity = 4},
          {.height = 60, .width = 60, .in = 48, .out = 192, .granularity = 4, .adds = true},
          {.height = 44, .width = 44, .in = 320, .out = 80, .granularity = 8},
          {.height = 44, .width = 44, .in = 96, .out = 96, .kernel = 3, .granularity = 4},
          {.height = 30, .width = 30, .in = 448, .out = 112, .granularity = 4},
          {.height = 30, .width = 30, .in = 160, .out = 160, .kernel = 3, .granularity = 2},
          {.height = 30, .width = 30, .in = 80, .out = 320, .granularity = 4, .adds = true},
          {.height = 36, .width = 20, .in = 144, .out = 144, .kernel = 3, .granularity = 1},
          {.height = 18, .width = 18, .in = 640, .out = 160, .granularity = 2},
          {.height = 18, .width = 18, .in = 208, .out = 208, .kernel = 3, .granularity = 2},
          {.height = 18, .width = 18, .in = 160, .out = 640, .granularity = 2, .adds = true},
          {.height = 24, .width = 24, .in = 208, .out = 416, .granularity = 3},
          {.height = 9, .width = 9, .in = 1536, .out = 384, .granularity = 1},
          {.height = 9, .width = 9, .in = 416, .out = 416, .kernel = 3, .granularity = 1},
          {.height = 9, .width = 9, .in = 384, .out = 1536, .granularity = 1, .adds = true}};
}

std::vector<CudaMapCase> unusual_maps() {
  return {{60, 60, 160, 4},  {60, 60, 48, 4},  {60, 60, 96, 1},  {44, 44, 320, 8},
          {44, 44, 48, 11},  {30, 30, 640, 4}, {30, 30, 208, 2}, {18, 18, 640, 2},
          {18, 18, 1152, 6}, {9, 9, 1536, 1},  {9, 9, 384, 1},   {9, 9, 1536, 4}};
}

/// Samples of the fit or held out, with their predictions.
struct Errors {
  std::vector<double> predicted, measured;

  void add(double prediction, double seconds) {
    predicted.push_back(prediction);
    measured.push_back(seconds);
  }
  FitQuality quality() const { return fit_quality(predicted, measured); }
};

double median_noise(const CudaMeasurements& measured) {
  std::vector<double> noises;
  for (const std::vector<CudaConvSample>& tiles : measured.convs) {
    for (const CudaConvSample& sample : tiles) noises.push_back(sample.noise);
  }
  for (const CudaKernelSample& sample : measured.kernels) noises.push_back(sample.noise);
  return median(std::move(noises));
}

bool is_held_out(size_t index) { return index % kHeldOut == kHeldOut - 1; }

}  // namespace

CudaMeasureOptions default_cuda_measurements() { return {.convs = unusual_layers(), .maps = unusual_maps()}; }

Calibration calibrate_cuda(const CudaMeasureOptions& options, const CalibrationProgress& progress) {
  Stopwatch watch;
  const CudaMeasurements measured = measure_cuda(options, progress);
  std::vector<CudaConvSample> convs;
  std::vector<CudaKernelSample> kernels;
  for (size_t i = 0; i < measured.convs.size(); ++i) {
    if (!is_held_out(i)) convs.insert(convs.end(), measured.convs[i].begin(), measured.convs[i].end());
  }
  for (size_t i = 0; i < measured.kernels.size(); ++i) {
    if (!is_held_out(i)) kernels.push_back(measured.kernels[i]);
  }
  if (convs.empty() || kernels.empty()) fail("calibration: no measurements to fit");
  Calibration calibration;
  CudaHardware cuda = cuda_of(load_hardware("cuda-h100"));
  cuda.device = measured.device;
  cuda.multiprocessors = measured.multiprocessors;
  cuda.tiles = fit_cuda_tiles(convs, usable_tile_costs(cuda.tiles, measured.runs_hopper));
  cuda = fit_cuda_units(kernels, cuda);
  Errors fitted, held_out;
  for (size_t i = 0; i < measured.convs.size(); ++i) {
    for (const CudaConvSample& sample : measured.convs[i])
      (is_held_out(i) ? held_out : fitted).add(predicted_seconds(sample, cuda.tiles), sample.seconds);
  }
  for (size_t i = 0; i < measured.kernels.size(); ++i) {
    const CudaKernelSample& sample = measured.kernels[i];
    (is_held_out(i) ? held_out : fitted).add(kernel_seconds(sample.counts, cuda), sample.seconds);
  }
  calibration.fitted = fitted.measured.size();
  calibration.fit = fitted.quality();
  calibration.held_out = held_out.quality();
  calibration.noise = median_noise(measured);
  calibration.seconds = watch.seconds();
  calibration.profile.facts = std::make_shared<HardwareFacts>(cuda);
  calibration.profile.name = "cuda";
  calibration.profile.description = fmt::format("{}, CUDA kernels", measured.device);
  calibration.profile.source = fmt::format(
      "measured: lasnet calibrate, {} kernel runs; on {} others MAPE {:.1f} %, {:.0f} % within 10 %",
      calibration.fitted, calibration.held_out.points, 100 * calibration.held_out.mape,
      100 * calibration.held_out.within_10);
  return calibration;
}

}  // namespace lasnet
