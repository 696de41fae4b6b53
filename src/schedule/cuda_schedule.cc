#include "schedule/cuda_schedule.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <limits>

#include "kernels/cuda/list_geometry.h"
#include "kernels/cuda/pack.h"

namespace lasnet {
namespace {

double ceil_div(double a, double b) { return std::ceil(a / b); }

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

/// What a tile takes as a share of the highest of its shape, whose costs are known.
double share_of_highest(const CudaTile& tile, Precision precision) {
  const cuda::FittedHeights* heights = fitted_heights(tile.shape, precision);
  return heights != nullptr ? heights->share_of_highest(tile.pixels) : 1;
}

/// Tiles of a multiprocessor that end together. Of fp32's `medium` six fit, each a block of its own, and what
/// is left of a round is not spread over the device: 3 took as long as 6.
int tiles_together(const CudaTile& tile, Precision precision) {
  if (const cuda::FittedHeights* heights = fitted_heights(tile.shape, precision)) return heights->together;
  return precision == Precision::fp32 && tile.shape == CudaTileShape::medium ? 6 : 1;
}

/// Tiles that a multiprocessor spends the time of: whole groups, unless a few have it to themselves.
double tiles_each(const CudaTile& tile, const CudaConvWork& work) {
  double tiles = ceil_div(std::max(work.pixels, 1.0), tile.pixels) * ceil_div(work.channels, tile.channels);
  double each = ceil_div(tiles, work.multiprocessors), together = tiles_together(tile, work.precision);
  return 3 * each <= together ? each : ceil_div(each, together) * together;
}

/// Masker and lists of a small batch, where it is asked what hides them.
constexpr double kMaskingSeconds = 5e-6;

/// Seconds that the whole layer takes longer than this share of it.
double dense_surplus(const CudaConvWork& whole, double rate, const CudaTileCosts& costs) {
  CudaConvWork sparse = whole;
  sparse.pixels *= rate;
  return expected_seconds(choose_cuda_tile(whole, costs), whole, costs) -
         expected_seconds(choose_cuda_tile(sparse, costs), sparse, costs);
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
  if (tile.is_hopper())
    return work.for_hopper && (shape == CudaTileShape::hopper || work.channels % tile.channels == 0);
  return true;
}

// Fitted to every tile on a ResNet's layers: fp32 and 16 bits at batch 128 on an H200 (2026-11-28; the chosen
// tiles take 0.3 % longer there than the fastest ones, 2 % with batches of 1 and 8), TF32, and what a tile
// takes alone, on an H100 (2026-11-26).
const CudaTileCosts& shipped_tile_costs() {
  static constexpr CudaTileCosts kCosts = {.fp32 = {{{},
                                                     {},
                                                     {354, 782, 824, 869, 10816},
                                                     {246, 174, 315, 358, 5927},
                                                     {},
                                                     {307, 670, 577, 763, 7882},
                                                     {},
                                                     {}}},
                                           .tf32 = {{{385, 4815, 11764, 548, 7493},
                                                     {252, 3447, 4518, 396, 6697},
                                                     {163, 1195, 1511, 283, 4593},
                                                     {139, 490, 688, 231, 3580},
                                                     {82, 1858, 2179, 55, 2954},
                                                     {385, 5300, 12200, 548, 8500},
                                                     {},
                                                     {}}},
                                           .half = {{{333, 2065, 3656, 424, 7440},
                                                     {224, 1266, 1463, 287, 4861},
                                                     {145, 395, 550, 241, 3581},
                                                     {121, 148, 281, 180, 3057},
                                                     {70, 1591, 1871, 68, 2651},
                                                     {340, 2153, 3603, 424, 8400},
                                                     {260, 4725, 5920, 511, 6263},
                                                     {483, 7960, 11579, 519, 1730}}}};
  return kCosts;
}

CudaTileTable tile_table(Precision precision) {
  if (precision == Precision::fp32) return &CudaTileCosts::fp32;
  return precision == Precision::tf32 ? &CudaTileCosts::tf32 : &CudaTileCosts::half;
}

CudaTile fitted_to(CudaTile tile, const CudaConvWork& work) {
  const cuda::FittedHeights* heights = fitted_heights(tile.shape, work.precision);
  if (heights == nullptr) return tile;
  auto pixels = static_cast<int64_t>(std::ceil(std::max(work.pixels, 1.0)));
  int columns = static_cast<int>(ceil_div(work.channels, tile.channels));
  tile.pixels = cuda::fitted_height(*heights, pixels, columns, work.multiprocessors);
  return tile;
}

double expected_seconds(const CudaTile& wanted, const CudaConvWork& work, const CudaTileCosts& costs) {
  const CudaTileCost& cost = (costs.*tile_table(work.precision))[static_cast<size_t>(wanted.shape)];
  CudaTile tile = fitted_to(wanted, work);
  double height = share_of_highest(tile, work.precision);
  double steps = ceil_div(static_cast<double>(work.reduction_bytes), cuda::kStepBytes);
  double each = tiles_each(tile, work) * height;
  double rest = work.adds ? cost.rest_adding_ns : cost.rest_ns;
  return 1e-9 * std::max(each * (steps * cost.step_ns + rest),
                         steps * cost.step_alone_ns * height + cost.rest_alone_ns);
}

CudaTile choose_cuda_tile(const CudaConvWork& work, const CudaTileCosts& costs) {
  using enum CudaTileShape;
  if (work.order == CudaSumOrder::split) return cuda_tile(split, work.precision);
  if (work.order == CudaSumOrder::hopper) {
    return suits_tile(hopper_wide, work) ? fastest_tile({hopper, hopper_wide}, work, costs)
                                         : cuda_tile(hopper, work.precision);
  }
  if (work.grouped) return cuda_tile(small, work.precision);
  if (work.precision == Precision::fp32) return fastest_tile({small, fitted, medium}, work, costs);
  return fastest_tile({small, fitted, medium, tall, wide}, work, costs);
}

CudaSumOrder sum_order(CudaConvWork work, double layer_pixels, const CudaTileCosts& costs) {
  work.pixels = layer_pixels * kExpectedRate;
  work.most_pixels = layer_pixels;
  CudaSumOrder fastest = CudaSumOrder::steps;
  double least = std::numeric_limits<double>::infinity();
  auto consider = [&](CudaSumOrder order) {
    work.order = order;
    double seconds = mean_seconds(choose_cuda_tile(work, costs), work, costs);
    if (seconds < least) fastest = order, least = seconds;
  };
  consider(CudaSumOrder::steps);
  if (has_cuda_tile(CudaTileShape::split, work.precision)) consider(CudaSumOrder::split);
  if (work.for_hopper && has_hopper(costs)) consider(CudaSumOrder::hopper);
  return fastest;
}

CudaConvWork of_layer(CudaConvWork work, double layer_pixels, double rate, const CudaTileCosts& costs) {
  work.order = sum_order(work, layer_pixels, costs);
  work.pixels = layer_pixels * rate;
  work.most_pixels = rate < 1 ? layer_pixels : 0;
  return work;
}

bool suits_hopper(const ConvSpec& conv, Precision precision) {
  if (!has_cuda_tile(CudaTileShape::hopper, precision) || conv.groups > 1) return false;
  constexpr int kFewestChannels = 128;
  int bytes = cuda::padded_channels(conv.in_channels) * cuda::element_bytes(precision);
  int steps = (bytes + cuda::kHopperStepBytes - 1) / cuda::kHopperStepBytes;
  return conv.out_channels >= kFewestChannels && 8 * bytes >= 7 * steps * cuda::kHopperStepBytes;
}

CudaTileCosts with_hopper_of(const CudaTileCosts& others, CudaTileCosts costs) {
  for (CudaTileShape shape : {CudaTileShape::hopper, CudaTileShape::hopper_wide})
    costs.half[static_cast<size_t>(shape)] = others.half[static_cast<size_t>(shape)];
  return costs;
}

CudaTileCosts without_hopper(CudaTileCosts costs) { return with_hopper_of({}, costs); }

bool has_hopper(const CudaTileCosts& costs) {
  return costs.half[static_cast<size_t>(CudaTileShape::hopper)].step_ns > 0;
}

CudaConvWork cuda_conv_work(const ConvSpec& conv, Precision precision, bool adds, int multiprocessors) {
  int run = cuda::reduction_run(conv.in_channels, conv.out_channels, conv.groups);
  return {.channels = cuda::padded_channels(conv.out_channels),
          .reduction_bytes = int64_t{conv.kernel} * conv.kernel * run * cuda::element_bytes(precision),
          .precision = precision,
          .grouped = conv.groups > 1,
          .adds = adds,
          .for_hopper = suits_hopper(conv, precision),
          .multiprocessors = multiprocessors};
}

bool runs_precision(int compute_capability, Precision precision) {
  constexpr int kTensorCores = 80;
  return precision == Precision::fp32 || compute_capability >= kTensorCores;
}

CudaConvWork whole_layer(CudaConvWork work, int64_t pixels, const CudaTileCosts& costs) {
  work.pixels = static_cast<double>(pixels);
  work.order = sum_order(work, work.pixels, costs);
  return work;
}

bool leaves_room(const CudaConvWork& work, const CudaTileCosts& costs) {
  CudaTile tile = choose_cuda_tile(work, costs);
  double tiles = ceil_div(work.pixels, tile.pixels) * ceil_div(work.channels, tile.channels);
  return tile.shape == CudaTileShape::split || tiles <= work.multiprocessors;
}

bool hides_masker(CudaConvWork first, int64_t pixels, double dilated_rate, const CudaTileCosts& costs) {
  first = whole_layer(first, pixels, costs);
  return leaves_room(first, costs) && dense_surplus(first, dilated_rate, costs) < kMaskingSeconds;
}

int convs_beside_masker(const BlockSpec& block, const BlockPlan& plan, Precision precision,
                        int multiprocessors, int64_t middle_pixels, int64_t output_pixels,
                        const CudaTileCosts& costs) {
  if (!block.is_dynamic() || plan.masker != MaskerSchedule::with_conv1) return 0;
  // The last convolution adds to the map; copies need the masks.
  if (block.convs.size() < 3 || plan.gather == GatherSchedule::copied) return 1;
  auto work = [&](size_t conv, int64_t pixels) {
    return whole_layer(cuda_conv_work(block.convs[conv], precision, false, multiprocessors), pixels, costs);
  };
  CudaConvWork first = work(0, middle_pixels), second = work(1, output_pixels);
  double rest = kMaskingSeconds - expected_seconds(choose_cuda_tile(first, costs), first, costs);
  return leaves_room(second, costs) && dense_surplus(second, kExpectedRate, costs) < rest ? 2 : 1;
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

BlockPlan usual_cuda_plan(Precision precision) {
  const bool together = cuda::element_bytes(precision) == 4;
  return {.masker = together ? MaskerSchedule::pooled : MaskerSchedule::separate};
}

int whole_map_patches(double whole_map_above, int patches) {
  if (whole_map_above > 1) return patches + 1;
  return std::max(1, static_cast<int>(std::ceil(whole_map_above * patches)));
}

BlockPlan fit_cuda_plan(const BlockSpec& block, const BlockPlan& wanted) {
  BlockPlan plan = fit_plan(block, wanted);
  plan.traversal = Traversal::whole_map;
  return plan;
}

std::vector<CudaMaskerRole> cuda_masker_roles(const ModelSpec& spec, const NetworkGeometry& geometry,
                                              const NetworkPlan& plan) {
  const size_t blocks = spec.blocks.size();
  auto pools = [&](size_t b) {
    return spec.blocks[b].is_dynamic() && plan.blocks[b].masker == MaskerSchedule::pooled;
  };
  auto follows = [&](size_t b) {
    const PatchGrid &grid = geometry.blocks[b].grid, &before = geometry.blocks[b - 1].grid;
    return pools(b) && pools(b - 1) && !spec.blocks[b - 1].projection &&
           grid.granularity * spec.blocks[b].stride == before.granularity * spec.blocks[b - 1].stride &&
           grid.rows() == before.rows() && grid.cols() == before.cols();
  };
  std::vector<CudaMaskerRole> roles(blocks);
  for (size_t first = 0, end; first < blocks; first = end) {
    end = first + 1;
    while (end < blocks && end - first < cuda::kMaxMaskers && follows(end)) ++end;
    for (size_t b = first; b < end; ++b) roles[b] = {static_cast<int>(end - b), b > first};
  }
  return roles;
}

}  // namespace lasnet
