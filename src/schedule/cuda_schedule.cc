#include "schedule/cuda_schedule.h"

#include <algorithm>
#include <cmath>

namespace lasnet {
namespace {

/// Blocks of threads that share a multiprocessor.
constexpr double kResidentBlocks = 2;

double expected_time(const CudaTile& tile, const CudaConvWork& work) {
  double rows = std::ceil(std::max(work.pixels, 1.0) / tile.pixels);
  double columns = std::ceil(static_cast<double>(work.channels) / tile.channels);
  double slots = work.multiprocessors * kResidentBlocks;
  return std::ceil(rows * columns / slots) * tile.pixels * tile.channels / tile.efficiency;
}

}  // namespace

CudaTile cuda_tile(CudaTileShape shape) {
  switch (shape) {
    case CudaTileShape::wide:
      return {shape, 128, 128, 256, 1.0};
    case CudaTileShape::tall:
      return {shape, 128, 64, 128, 0.9};
    case CudaTileShape::small:
      return {shape, 64, 32, 128, 0.55};
  }
  return {};
}

CudaTile choose_cuda_tile(const CudaConvWork& work) {
  CudaTile best = cuda_tile(CudaTileShape::small);
  if (work.grouped) return best;
  for (CudaTileShape shape : {CudaTileShape::tall, CudaTileShape::wide}) {
    CudaTile tile = cuda_tile(shape);
    if (expected_time(tile, work) <= expected_time(best, work)) best = tile;
  }
  return best;
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
