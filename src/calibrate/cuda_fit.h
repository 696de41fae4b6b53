// Fitting the CUDA kernels' costs to measured times: least squares of log errors over positive costs.
#pragma once

#include <functional>
#include <vector>

#include "backends/cuda/prices.h"
#include "backends/cuda/tile_costs.h"

namespace lasnet {

/// A convolution that was timed with one tile.
struct CudaConvSample {
  CudaConvWork work;  ///< its pixels are those that were listed
  CudaTileShape shape = CudaTileShape::small;
  double seconds = 0;
  double noise = 0;  ///< relative difference of two measurements
};

/// Any other kernel.
struct CudaKernelSample {
  CudaCounts counts = {};
  double seconds = 0;
  double noise = 0;
  std::string kernel = {};
  double bytes = 0;  ///< if each input is read and each output written once; 0: not counted
};

double predicted_seconds(const CudaConvSample& sample, const CudaTileCosts& costs);

/// Minimum of `loss` near `start` by the simplex method of Nelder and Mead, begun again where it ends until
/// that gains nothing. `step`: of the first simplex along each axis. Deterministic.
std::vector<double> minimise(const std::function<double(const std::vector<double>&)>& loss,
                             std::vector<double> start, double step);

/// Each tile's costs from its samples; what no sample tells stays near `prior`. Tiles without samples keep
/// it.
CudaTileCosts fit_cuda_tiles(const std::vector<CudaConvSample>& samples, const CudaTileCosts& prior);

/// `prior` with the seconds per unit, and its second-level cache, from plain streams first, then kernel by
/// kernel. As fit_cuda_tiles.
CudaHardware fit_cuda_units(const std::vector<CudaKernelSample>& samples, const CudaHardware& prior);

}  // namespace lasnet
