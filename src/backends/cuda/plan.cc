#include "backends/cuda/plan.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/kernels/list_geometry.h"
#include "backends/cuda/kernels/pack.h"
#include "mask/expected_dilation.h"

namespace lasnet {
namespace {

/// Masker and lists of a small batch, where it is asked what hides them.
constexpr double kMaskingSeconds = 5e-6;

/// A convolution of a block on every pixel.
class WholeLayer {
 public:
  WholeLayer(const ConvSpec& conv, const MapSize& map, int64_t images, const CudaTarget& target)
      : costs_(target.tiles),
        work_(layer_work(cuda_conv_work(conv, false, target), static_cast<double>(images * map.pixels()), 1,
                         costs_)),
        tile_(choose_cuda_tile(work_, costs_)) {}

  bool leaves_room() const { return lasnet::leaves_room(tile_, work_); }
  double seconds() const { return expected_seconds(tile_, work_, costs_); }
  /// Seconds that it takes longer than this share of it.
  double surplus(double rate) const {
    CudaConvWork sparse = work_;
    sparse.pixels *= rate;
    return seconds() - expected_seconds(choose_cuda_tile(sparse, costs_), sparse, costs_);
  }

 private:
  const CudaTileCosts& costs_;
  CudaConvWork work_;
  CudaTile tile_;
};

}  // namespace

BlockSchedule usual_cuda_schedule(Precision precision) {
  const bool together = cuda::element_bytes(precision) == 4;
  return {.masker = together ? MaskerSchedule::incremental : MaskerSchedule::separate};
}

BlockSchedule usual_cuda_schedule(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                                  const CudaTarget& target) {
  const BlockSchedule usual = feasible_cuda_schedule(block, usual_cuda_schedule(target.precision));
  BlockSchedule beside = usual;
  beside.masker = MaskerSchedule::with_conv1;
  if (!block.is_dynamic() || feasible_cuda_schedule(block, beside) != beside) return usual;
  const WholeLayer first(block.convs[0], geometry.middle, images, target);
  const double rate =
      expected_dilated_rate(kExpectedRate, geometry.grid.granularity, geometry.dilation_stride);
  return first.leaves_room() && first.surplus(rate) < kMaskingSeconds ? beside : usual;
}

int convs_beside_masker(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                        const BlockSchedule& plan, const CudaTarget& target) {
  if (!block.is_dynamic() || plan.masker != MaskerSchedule::with_conv1) return 0;
  // The last convolution adds to the map; copies need the masks.
  if (block.convs.size() < 3 || plan.gather == GatherSchedule::copied) return 1;
  const WholeLayer first(block.convs[0], geometry.middle, images, target),
      second(block.convs[1], geometry.output, images, target);
  const double left = kMaskingSeconds - first.seconds();
  return second.leaves_room() && second.surplus(kExpectedRate) < left ? 2 : 1;
}

int whole_map_patches(double whole_map_above, int patches) {
  if (whole_map_above > 1) return patches + 1;
  return std::max(1, static_cast<int>(std::ceil(whole_map_above * patches)));
}

BlockSchedule feasible_cuda_schedule(const BlockSpec& block, const BlockSchedule& wanted) {
  BlockSchedule plan = feasible_schedule(block, wanted);
  plan.traversal = Traversal::whole_map;
  return plan;
}

std::vector<CudaMaskerShare> cuda_masker_shares(const ModelSpec& spec, const NetworkGeometry& geometry,
                                                const NetworkSchedule& plan) {
  const size_t blocks = spec.blocks.size();
  auto pools = [&](size_t b) {
    return spec.blocks[b].is_dynamic() && plan.blocks[b].masker == MaskerSchedule::incremental;
  };
  auto follows = [&](size_t b) {
    const PatchGrid &grid = geometry.blocks[b].grid, &before = geometry.blocks[b - 1].grid;
    return pools(b) && pools(b - 1) && !spec.blocks[b - 1].projection &&
           grid.granularity * spec.blocks[b].stride == before.granularity * spec.blocks[b - 1].stride &&
           grid.rows() == before.rows() && grid.cols() == before.cols();
  };
  std::vector<CudaMaskerShare> roles(blocks);
  for (size_t first = 0, end; first < blocks; first = end) {
    end = first + 1;
    while (end < blocks && end - first < cuda::kMaxMaskers && follows(end)) ++end;
    for (size_t b = first; b < end; ++b) roles[b] = {static_cast<int>(end - b), b > first};
  }
  return roles;
}

}  // namespace lasnet
