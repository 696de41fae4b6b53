#include "backends/cuda/tiles.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/kernels/conv_shape.h"
#include "backends/cuda/kernels/pack.h"
#include "base/math.h"

namespace lasnet {
namespace {

/// Precisions that a shape has kernels for.
enum class Kernels { all, tensor_cores, half };

/// A shape by itself. Those without `pixels` have heights that the list decides.
struct Shape {
  const char* name;
  Kernels kernels;
  int pixels, channels;
  const cuda::FittedHeights *fp32, *tensor;
};
constexpr Shape kShapes[kCudaTileShapes] = {
    {"wide", Kernels::tensor_cores, 128, 128, nullptr, nullptr},
    {"tall", Kernels::tensor_cores, 128, 64, nullptr, nullptr},
    {"medium", Kernels::all, 64, 64, nullptr, nullptr},
    {"small", Kernels::all, 64, 32, nullptr, nullptr},
    {"split", Kernels::tensor_cores, 32, 32, nullptr, nullptr},
    {"fitted", Kernels::all, 0, 0, &cuda::kFittedFp32, &cuda::kFittedTensor},
    {"hopper", Kernels::half, 0, 0, nullptr, &cuda::kFittedHopper},
    {"hopper_wide", Kernels::half, 0, 0, nullptr, &cuda::kFittedHopperWide}};

const Shape& of(CudaTileShape shape) { return kShapes[static_cast<size_t>(shape)]; }

/// Of a shape whose height the list decides; null for others.
const cuda::FittedHeights* fitted_heights(CudaTileShape shape, Precision precision) {
  return precision == Precision::fp32 ? of(shape).fp32 : of(shape).tensor;
}

}  // namespace

CudaTile cuda_tile(CudaTileShape shape, Precision precision) {
  const cuda::FittedHeights* heights = fitted_heights(shape, precision);
  if (heights != nullptr) return {shape, heights->pixels[0], heights->channels};
  return {shape, of(shape).pixels, of(shape).channels};
}

const char* to_string(CudaTileShape shape) { return of(shape).name; }

bool has_cuda_tile(CudaTileShape shape, Precision precision) {
  const Kernels kernels = of(shape).kernels;
  if (kernels == Kernels::half) return cuda::element_bytes(precision) == 2;
  return kernels == Kernels::all || precision != Precision::fp32;
}

bool suits_tile(CudaTileShape shape, const CudaConvWork& work) {
  CudaTile tile = cuda_tile(shape, work.precision);
  if (!has_cuda_tile(shape, work.precision)) return false;
  // Their weights are packed for whole tiles of the narrower ones.
  if (order_of(shape) == AccumulationOrder::warpgroup)
    return work.for_warpgroups && (shape == CudaTileShape::hopper || work.channels % tile.channels == 0);
  return true;
}

double share_of_highest(const CudaTile& tile, Precision precision) {
  const cuda::FittedHeights* heights = fitted_heights(tile.shape, precision);
  return heights != nullptr ? heights->share_of_highest(tile.pixels) : 1;
}

int tiles_together(const CudaTile& tile, Precision precision) {
  if (const cuda::FittedHeights* heights = fitted_heights(tile.shape, precision)) return heights->concurrent;
  return precision == Precision::fp32 && tile.shape == CudaTileShape::medium ? 6 : 1;
}

double tiles_of(const CudaTile& tile, const CudaConvWork& work) {
  return std::ceil(std::max(work.pixels, 1.0) / tile.pixels) *
         std::ceil(static_cast<double>(work.channels) / tile.channels);
}

CudaTile adapted_to(CudaTile tile, const CudaConvWork& work) {
  const cuda::FittedHeights* heights = fitted_heights(tile.shape, work.precision);
  if (heights == nullptr) return tile;
  auto pixels = static_cast<int64_t>(std::ceil(std::max(work.pixels, 1.0)));
  int columns = ceil_div(work.channels, tile.channels);
  tile.pixels = cuda::fitted_height(*heights, pixels, columns, work.multiprocessors);
  return tile;
}

bool runs_precision(int compute_capability, Precision precision) {
  constexpr int kTensorCores = 80;
  return precision == Precision::fp32 || compute_capability >= kTensorCores;
}

}  // namespace lasnet
