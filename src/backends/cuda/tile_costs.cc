#include "backends/cuda/tile_costs.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/kernels/conv_shape.h"

namespace lasnet {
namespace {

/// Tiles that a multiprocessor spends the time of: whole groups, unless a few have it to themselves.
double tiles_each(const CudaTile& tile, const CudaConvWork& work) {
  double each = std::ceil(tiles_of(tile, work) / work.multiprocessors);
  double together = tiles_together(tile, work.precision);
  return 3 * each <= together ? each : std::ceil(each / together) * together;
}

}  // namespace

const CudaTileCosts& shipped_tile_costs() {
  static const CudaTileCosts costs = cuda_of(load_hardware("cuda-h100")).tiles;
  return costs;
}

CudaTileCosts usable_tile_costs(CudaTileCosts costs, bool runs_hopper) {
  const CudaTileCosts& others = runs_hopper ? shipped_tile_costs() : CudaTileCosts{};
  if (runs_hopper && has_warpgroup_tiles(costs)) return costs;
  for (CudaTileShape shape : {CudaTileShape::hopper, CudaTileShape::hopper_wide})
    costs.half[static_cast<size_t>(shape)] = others.half[static_cast<size_t>(shape)];
  return costs;
}

bool has_warpgroup_tiles(const CudaTileCosts& costs) {
  return costs.half[static_cast<size_t>(CudaTileShape::hopper)].step_ns > 0;
}

CudaTileTable tile_table(Precision precision) {
  if (precision == Precision::fp32) return &CudaTileCosts::fp32;
  return precision == Precision::tf32 ? &CudaTileCosts::tf32 : &CudaTileCosts::half;
}

double expected_seconds(const CudaTile& wanted, const CudaConvWork& work, const CudaTileCosts& costs) {
  const CudaTileCost& cost = (costs.*tile_table(work.precision))[static_cast<size_t>(wanted.shape)];
  CudaTile tile = adapted_to(wanted, work);
  double height = share_of_highest(tile, work.precision);
  double steps = std::ceil(static_cast<double>(work.reduction_bytes) / cuda::kStepBytes);
  double each = tiles_each(tile, work) * height;
  double rest = work.adds ? cost.rest_adding_ns : cost.rest_ns;
  return 1e-9 * std::max(each * (steps * cost.step_ns + rest),
                         steps * cost.step_alone_ns * height + cost.rest_alone_ns);
}

}  // namespace lasnet
