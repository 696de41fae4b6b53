#include "schedule/cuda_schedule.h"

#include <algorithm>
#include <cmath>

namespace lasnet {
namespace {

constexpr int kStepBytes = 64;  ///< as in kernels/cuda/conv_shape.h

/// Nanoseconds of a tile: of a step of its reduction, of everything else, and of that if it adds to its
/// output, when tiles fill a multiprocessor; of a step and the rest when one has it to itself.
struct TileCost {
  double step, rest, rest_adding, step_alone, rest_alone;
  int together = 1;  ///< tiles that take a multiprocessor's schedulers at a time
};

// Fitted to bench/cuda_tiles.cc on an H200 (2026-11-26): 2 to 5 % from the fastest tile on average.
TileCost tile_cost(CudaTileShape shape, Precision precision) {
  constexpr int kShapes = 5;
  constexpr TileCost kFp32[kShapes] = {
      {}, {823, 1443, 3253, 857, 7925}, {406, 583, 1478, 676, 8399, 2}, {254, 300, 533, 360, 7056}, {}};
  constexpr TileCost kTf32[kShapes] = {{413, 4223, 11460, 424, 8356},
                                       {243, 3206, 4453, 310, 7152},
                                       {163, 757, 1657, 213, 5304},
                                       {124, 223, 781, 218, 5351},
                                       {71, 2222, 2438, 55, 3951}};
  constexpr TileCost kHalf[kShapes] = {{381, 3363, 5995, 424, 8356},
                                       {250, 2047, 2438, 310, 7152},
                                       {172, 737, 1077, 213, 5304},
                                       {138, 293, 817, 218, 5351},
                                       {78, 2089, 2342, 55, 3951}};
  auto index = static_cast<size_t>(shape);
  if (precision == Precision::fp32) return kFp32[index];
  return precision == Precision::tf32 ? kTf32[index] : kHalf[index];
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

bool has_cuda_tile(CudaTileShape shape, Precision precision) {
  return precision != Precision::fp32 || (shape != CudaTileShape::wide && shape != CudaTileShape::split);
}

double expected_seconds(const CudaTile& tile, const CudaConvWork& work) {
  TileCost cost = tile_cost(tile.shape, work.precision);
  double steps = ceil_div(static_cast<double>(work.reduction_bytes), kStepBytes);
  double tiles = ceil_div(std::max(work.pixels, 1.0), tile.pixels) * ceil_div(work.channels, tile.channels);
  double each = ceil_div(ceil_div(tiles, work.multiprocessors), cost.together) * cost.together;
  double rest = work.adds ? cost.rest_adding : cost.rest;
  return 1e-9 * std::max(each * (steps * cost.step + rest), steps * cost.step_alone + cost.rest_alone);
}

CudaTile choose_cuda_tile(const CudaConvWork& work) {
  if (work.split) return cuda_tile(CudaTileShape::split);
  CudaTile best = cuda_tile(CudaTileShape::small);
  if (work.grouped) return best;
  for (CudaTileShape shape : {CudaTileShape::medium, CudaTileShape::tall, CudaTileShape::wide}) {
    CudaTile tile = cuda_tile(shape);
    if (!has_cuda_tile(shape, work.precision)) continue;
    if (expected_seconds(tile, work) <= expected_seconds(best, work)) best = tile;
  }
  return best;
}

bool splits_reduction(CudaConvWork work, double layer_pixels) {
  if (!has_cuda_tile(CudaTileShape::split, work.precision)) return false;
  work.pixels = layer_pixels * kExpectedRate;
  work.split = false;
  return expected_seconds(cuda_tile(CudaTileShape::split), work) <
         expected_seconds(choose_cuda_tile(work), work);
}

bool hides_masker(CudaConvWork first, int64_t pixels, double dilated_rate) {
  constexpr double kMaskingSeconds = 5e-6;  // of a small batch, where this is asked
  first.split = splits_reduction(first, static_cast<double>(pixels));
  auto seconds = [&](double rate) {
    first.pixels = static_cast<double>(pixels) * rate;
    return expected_seconds(choose_cuda_tile(first), first);
  };
  double sparse = seconds(dilated_rate), more = seconds(1.0) - sparse;
  CudaTile tile = choose_cuda_tile(first);
  double tiles = ceil_div(static_cast<double>(pixels), tile.pixels) * ceil_div(first.channels, tile.channels);
  bool leaves_room = tile.shape == CudaTileShape::split || tiles <= first.multiprocessors;
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
