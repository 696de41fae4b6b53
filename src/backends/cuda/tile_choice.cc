#include "backends/cuda/tile_choice.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <limits>

#include "backends/cuda/kernels/conv_shape.h"
#include "backends/cuda/kernels/pack.h"
#include "base/math.h"
#include "mask/expected_dilation.h"

namespace lasnet {
namespace {

bool suits_warpgroups(const ConvSpec& conv, Precision precision) {
  if (!has_cuda_tile(CudaTileShape::hopper, precision) || conv.groups > 1) return false;
  constexpr int kMinChannels = 128;
  int bytes = cuda::padded_channels(conv.in_channels) * cuda::element_bytes(precision);
  int steps = ceil_div(bytes, cuda::kHopperStepBytes);
  return conv.out_channels >= kMinChannels && 8 * bytes >= 7 * steps * cuda::kHopperStepBytes;
}

/// Of the numbers of pixels that masks leave: a tile that suits the expected one may suit no other.
double mean_seconds(const CudaTile& tile, const CudaConvWork& work, const CudaTileCosts& costs) {
  if (work.most_pixels == 0) return expected_seconds(tile, work, costs);
  constexpr double kShares[] = {0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4};
  double sum = 0;
  for (double share : kShares) {
    CudaConvWork outcome = work;
    outcome.pixels = std::min(share * work.pixels, work.most_pixels);
    sum += expected_seconds(tile, outcome, costs);
  }
  return sum / static_cast<double>(std::size(kShares));
}

/// Of these shapes, of equally fast ones the last.
CudaTile fastest_tile(std::initializer_list<CudaTileShape> shapes, const CudaConvWork& work,
                      const CudaTileCosts& costs) {
  CudaTile best;
  double least = std::numeric_limits<double>::infinity();
  for (CudaTileShape shape : shapes) {
    CudaTile tile = cuda_tile(shape, work.precision);
    double seconds = mean_seconds(tile, work, costs);
    if (seconds <= least) best = tile, least = seconds;
  }
  return best;
}

}  // namespace

CudaConvWork cuda_conv_work(const ConvSpec& conv, bool adds, const CudaTarget& target) {
  int run = cuda::reduction_run(conv.in_channels, conv.out_channels, conv.groups);
  return {.channels = cuda::padded_channels(conv.out_channels),
          .reduction_bytes = int64_t{conv.kernel} * conv.kernel * run * cuda::element_bytes(target.precision),
          .precision = target.precision,
          .grouped = conv.groups > 1,
          .adds = adds,
          .for_warpgroups = has_warpgroup_tiles(target.tiles) && suits_warpgroups(conv, target.precision),
          .multiprocessors = target.multiprocessors};
}

CudaTile choose_cuda_tile(const CudaConvWork& work, const CudaTileCosts& costs) {
  using enum CudaTileShape;
  if (work.order == AccumulationOrder::split_k) return cuda_tile(split, work.precision);
  if (work.order == AccumulationOrder::warpgroup) {
    return suits_tile(hopper_wide, work) ? fastest_tile({hopper, hopper_wide}, work, costs)
                                         : cuda_tile(hopper, work.precision);
  }
  if (work.grouped) return cuda_tile(small, work.precision);
  if (work.precision == Precision::fp32) return fastest_tile({small, fitted, medium}, work, costs);
  return fastest_tile({small, fitted, medium, tall, wide}, work, costs);
}

AccumulationOrder accumulation_order(CudaConvWork work, double layer_pixels, const CudaTileCosts& costs) {
  work.pixels = layer_pixels * kExpectedRate;
  work.most_pixels = layer_pixels;
  AccumulationOrder fastest = AccumulationOrder::sequential;
  double least = std::numeric_limits<double>::infinity();
  auto consider = [&](AccumulationOrder order) {
    work.order = order;
    double seconds = mean_seconds(choose_cuda_tile(work, costs), work, costs);
    if (seconds < least) fastest = order, least = seconds;
  };
  consider(AccumulationOrder::sequential);
  if (has_cuda_tile(CudaTileShape::split, work.precision)) consider(AccumulationOrder::split_k);
  if (work.for_warpgroups) consider(AccumulationOrder::warpgroup);
  return fastest;
}

CudaConvWork layer_work(CudaConvWork work, double layer_pixels, double rate, const CudaTileCosts& costs) {
  work.order = accumulation_order(work, layer_pixels, costs);
  work.pixels = layer_pixels * rate;
  work.most_pixels = rate < 1 ? layer_pixels : 0;
  return work;
}

bool leaves_room(const CudaTile& tile, const CudaConvWork& work) {
  return tile.shape == CudaTileShape::split || tiles_of(tile, work) <= work.multiprocessors;
}

}  // namespace lasnet
