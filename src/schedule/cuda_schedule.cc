#include "schedule/cuda_schedule.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/pack.h"

namespace lasnet {
namespace {

/// Tiles that take a multiprocessor's schedulers at a time.
int tiles_together(CudaTileShape shape, Precision precision) {
  return precision == Precision::fp32 && shape == CudaTileShape::medium ? 2 : 1;
}

double ceil_div(double a, double b) { return std::ceil(a / b); }

}  // namespace

CudaTile cuda_tile(CudaTileShape shape) {
  switch (shape) {
    case CudaTileShape::wide:
      return {shape, 128, 128};
    case CudaTileShape::tall:
      return {shape, 128, 64};
    case CudaTileShape::medium:
      return {shape, 64, 64};
    case CudaTileShape::small:
      return {shape, 64, 32};
    case CudaTileShape::split:
      return {shape, 32, 32};
  }
  return {};
}

const char* to_string(CudaTileShape shape) {
  constexpr const char* kNames[kCudaTileShapes] = {"wide", "tall", "medium", "small", "split"};
  return kNames[static_cast<size_t>(shape)];
}

bool has_cuda_tile(CudaTileShape shape, Precision precision) {
  return precision != Precision::fp32 || (shape != CudaTileShape::wide && shape != CudaTileShape::split);
}

// Fitted to bench/cuda_tiles.cc on an H200 (2026-11-26): 2 to 5 % from the fastest tile on average.
const CudaTileCosts& shipped_tile_costs() {
  static constexpr CudaTileCosts kCosts = {
      .fp32 =
          {{{}, {823, 1443, 3253, 857, 7925}, {406, 583, 1478, 676, 8399}, {254, 300, 533, 360, 7056}, {}}},
      .tf32 = {{{413, 4223, 11460, 424, 8356},
                {243, 3206, 4453, 310, 7152},
                {163, 757, 1657, 213, 5304},
                {124, 223, 781, 218, 5351},
                {71, 2222, 2438, 55, 3951}}},
      .half = {{{381, 3363, 5995, 424, 8356},
                {250, 2047, 2438, 310, 7152},
                {172, 737, 1077, 213, 5304},
                {138, 293, 817, 218, 5351},
                {78, 2089, 2342, 55, 3951}}}};
  return kCosts;
}

CudaTileTable tile_table(Precision precision) {
  if (precision == Precision::fp32) return &CudaTileCosts::fp32;
  return precision == Precision::tf32 ? &CudaTileCosts::tf32 : &CudaTileCosts::half;
}

double expected_seconds(const CudaTile& tile, const CudaConvWork& work, const CudaTileCosts& costs) {
  const CudaTileCost& cost = (costs.*tile_table(work.precision))[static_cast<size_t>(tile.shape)];
  int together = tiles_together(tile.shape, work.precision);
  double steps = ceil_div(static_cast<double>(work.reduction_bytes), cuda::kStepBytes);
  double tiles = ceil_div(std::max(work.pixels, 1.0), tile.pixels) * ceil_div(work.channels, tile.channels);
  double each = ceil_div(ceil_div(tiles, work.multiprocessors), together) * together;
  double rest = work.adds ? cost.rest_adding_ns : cost.rest_ns;
  return 1e-9 *
         std::max(each * (steps * cost.step_ns + rest), steps * cost.step_alone_ns + cost.rest_alone_ns);
}

CudaTile choose_cuda_tile(const CudaConvWork& work, const CudaTileCosts& costs) {
  if (work.split) return cuda_tile(CudaTileShape::split);
  CudaTile best = cuda_tile(CudaTileShape::small);
  if (work.grouped) return best;
  for (CudaTileShape shape : {CudaTileShape::medium, CudaTileShape::tall, CudaTileShape::wide}) {
    CudaTile tile = cuda_tile(shape);
    if (!has_cuda_tile(shape, work.precision)) continue;
    if (expected_seconds(tile, work, costs) <= expected_seconds(best, work, costs)) best = tile;
  }
  return best;
}

bool splits_reduction(CudaConvWork work, double layer_pixels, const CudaTileCosts& costs) {
  if (!has_cuda_tile(CudaTileShape::split, work.precision)) return false;
  work.pixels = layer_pixels * kExpectedRate;
  work.split = false;
  return expected_seconds(cuda_tile(CudaTileShape::split), work, costs) <
         expected_seconds(choose_cuda_tile(work, costs), work, costs);
}

CudaConvWork cuda_conv_work(const ConvSpec& conv, Precision precision, bool adds, int multiprocessors) {
  int run = cuda::reduction_run(conv.in_channels, conv.out_channels, conv.groups);
  return {.channels = cuda::padded_channels(conv.out_channels),
          .reduction_bytes = int64_t{conv.kernel} * conv.kernel * run * cuda::element_bytes(precision),
          .precision = precision,
          .grouped = conv.groups > 1,
          .adds = adds,
          .multiprocessors = multiprocessors};
}

bool runs_precision(int compute_capability, Precision precision) {
  constexpr int kTensorCores = 80;
  return precision == Precision::fp32 || compute_capability >= kTensorCores;
}

bool hides_masker(CudaConvWork first, int64_t pixels, double dilated_rate) {
  constexpr double kMaskingSeconds = 5e-6;  // of a small batch, where this is asked
  first.pixels = static_cast<double>(pixels);
  first.split = splits_reduction(first, first.pixels);
  CudaConvWork sparse = first;
  sparse.pixels *= dilated_rate;
  CudaTile tile = choose_cuda_tile(first);
  double tiles = ceil_div(first.pixels, tile.pixels) * ceil_div(first.channels, tile.channels);
  bool leaves_room = tile.shape == CudaTileShape::split || tiles <= first.multiprocessors;
  double more = expected_seconds(tile, first) - expected_seconds(choose_cuda_tile(sparse), sparse);
  return leaves_room && more < kMaskingSeconds;
}

double expected_dilated_rate(double rate, int granularity, int dilation_stride) {
  // Along one axis a position of D is read by outputs y with s * y in [v - 1, v + 1]: three of them at stride
  // 1, one or two in turn at stride 2. Count how often those outputs lie in one, two or three patches.
  int period = granularity * dilation_stride;
  double shares[4] = {};
  for (int v = 0; v < period; ++v) {
    int shifted = v + period;  // a period further, so that every output is positive
    int first = (shifted - 1 + dilation_stride - 1) / dilation_stride, last = (shifted + 1) / dilation_stride;
    shares[last / granularity - first / granularity + 1] += 1.0 / period;
  }
  double expected = 0;
  for (int rows = 1; rows <= 3; ++rows) {
    for (int columns = 1; columns <= 3; ++columns) {
      expected += shares[rows] * shares[columns] * (1 - std::pow(1 - rate, rows * columns));
    }
  }
  return expected;
}

BlockPlan fit_cuda_plan(const BlockSpec& block, const BlockPlan& wanted) {
  BlockPlan plan = fit_plan(block, wanted);
  if (plan.masker == MaskerSchedule::pooled) plan.masker = MaskerSchedule::separate;
  plan.traversal = Traversal::whole_map;
  return plan;
}

}  // namespace lasnet
