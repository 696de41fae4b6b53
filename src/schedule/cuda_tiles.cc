#include "schedule/cuda_tiles.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/conv_shape.h"
#include "kernels/cuda/pack.h"

namespace lasnet {
namespace {

/// Of a shape whose height the list decides; null for others.
const cuda::FittedHeights* fitted_heights(CudaTileShape shape, Precision precision) {
  switch (shape) {
    case CudaTileShape::fitted:
      return precision == Precision::fp32 ? &cuda::kFittedFp32 : &cuda::kFittedTensor;
    case CudaTileShape::hopper:
      return &cuda::kFittedHopper;
    case CudaTileShape::hopper_wide:
      return &cuda::kFittedHopperWide;
    default:
      return nullptr;
  }
}

}  // namespace

CudaTile cuda_tile(CudaTileShape shape, Precision precision) {
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
    case CudaTileShape::fitted:
    case CudaTileShape::hopper:
    case CudaTileShape::hopper_wide:
      break;
  }
  const cuda::FittedHeights& heights = *fitted_heights(shape, precision);
  return {shape, heights.pixels[0], heights.channels};
}

const char* to_string(CudaTileShape shape) {
  constexpr const char* kNames[kCudaTileShapes] = {"wide",  "tall",   "medium", "small",
                                                   "split", "fitted", "hopper", "hopper_wide"};
  return kNames[static_cast<size_t>(shape)];
}

bool has_cuda_tile(CudaTileShape shape, Precision precision) {
  switch (shape) {
    case CudaTileShape::medium:
    case CudaTileShape::small:
    case CudaTileShape::fitted:
      return true;
    case CudaTileShape::wide:
    case CudaTileShape::tall:
    case CudaTileShape::split:
      return precision != Precision::fp32;
    case CudaTileShape::hopper:
    case CudaTileShape::hopper_wide:
      return cuda::element_bytes(precision) == 2;
  }
  return false;
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
  if (const cuda::FittedHeights* heights = fitted_heights(tile.shape, precision)) return heights->together;
  return precision == Precision::fp32 && tile.shape == CudaTileShape::medium ? 6 : 1;
}

double tiles_of(const CudaTile& tile, const CudaConvWork& work) {
  return std::ceil(std::max(work.pixels, 1.0) / tile.pixels) *
         std::ceil(static_cast<double>(work.channels) / tile.channels);
}

CudaTile fitted_to(CudaTile tile, const CudaConvWork& work) {
  const cuda::FittedHeights* heights = fitted_heights(tile.shape, work.precision);
  if (heights == nullptr) return tile;
  auto pixels = static_cast<int64_t>(std::ceil(std::max(work.pixels, 1.0)));
  int columns = (work.channels + tile.channels - 1) / tile.channels;
  tile.pixels = cuda::fitted_height(*heights, pixels, columns, work.multiprocessors);
  return tile;
}

bool runs_precision(int compute_capability, Precision precision) {
  constexpr int kTensorCores = 80;
  return precision == Precision::fp32 || compute_capability >= kTensorCores;
}

}  // namespace lasnet
