// Which tile a convolution runs with, and what the choice says of its time.
#pragma once

#include "backends/cuda/tile_costs.h"
#include "lasnet/model.h"

namespace lasnet {

/// The device and the arithmetic that convolutions are cut for.
struct CudaTarget {
  Precision precision = Precision::fp32;
  int multiprocessors = 1;
  CudaTileCosts tiles = shipped_tile_costs();
};

/// A convolution from map to map as work, but for its pixels and the order of its sums. It suits `hopper`
/// tiles if it has 128 output channels or more, one group, and a reduction of which steps of 128 bytes leave
/// little empty.
CudaConvWork cuda_conv_work(const ConvSpec& conv, bool adds, const CudaTarget& target);

/// The tile with the least expected time, on average over more and fewer pixels where they vary. Large layers
/// take large tiles; small batches and late stages trade efficiency for tiles enough to go round.
CudaTile choose_cuda_tile(const CudaConvWork& work, const CudaTileCosts& costs = shipped_tile_costs());

/// The order of the fastest tile. Decided for a layer whose pixels are active at kExpectedRate, whatever its
/// mask.
AccumulationOrder accumulation_order(CudaConvWork work, double layer_pixels,
                                     const CudaTileCosts& costs = shipped_tile_costs());

/// `work` of a layer of so many pixels, of which masks leave `rate` on average: its pixels and its order.
CudaConvWork layer_work(CudaConvWork work, double layer_pixels, double rate,
                        const CudaTileCosts& costs = shipped_tile_costs());

/// Whether a convolution's tiles leave room on the device for kernels beside it. `work`: of the whole layer.
bool leaves_room(const CudaTile& tile, const CudaConvWork& work);

}  // namespace lasnet
