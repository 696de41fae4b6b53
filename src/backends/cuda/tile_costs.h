// What tiles cost, as measured, and what that makes of a convolution.
#pragma once

#include "backends/cuda/tiles.h"

namespace lasnet {

/// Those of the shipped profile, from measurements on an H100 and an H200: what the engine chooses tiles by
/// where its own device has not been calibrated. The proportions count.
const CudaTileCosts& shipped_tile_costs();

/// `costs` for a device that runs `hopper` tiles, or does not. If it does not, those have none. If it does
/// and has none, because it was calibrated before there were such tiles, they have the shipped ones.
CudaTileCosts usable_tile_costs(CudaTileCosts costs, bool runs_hopper);
/// Whether there are costs of `hopper` tiles: then the device runs them.
bool has_warpgroup_tiles(const CudaTileCosts& costs);

/// The table of a precision, as a member.
using CudaTileTable = std::array<CudaTileCost, kCudaTileShapes> CudaTileCosts::*;
CudaTileTable tile_table(Precision precision);

/// Seconds that a tile is expected to make of this work.
double expected_seconds(const CudaTile& tile, const CudaConvWork& work,
                        const CudaTileCosts& costs = shipped_tile_costs());

}  // namespace lasnet
