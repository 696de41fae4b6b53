// Tile shapes and schedules of the CUDA backend: plain values and pure functions, shared by launchers, engine
// and the latency model.
#pragma once

#include <cstdint>
#include <vector>

#include "lasnet/geometry.h"
#include "lasnet/hardware.h"
#include "lasnet/precision.h"
#include "lasnet/schedule.h"

namespace lasnet {

/// A team of threads computes `pixels` x `channels` outputs at a time.
enum class CudaTileShape {
  wide,  ///< tensor cores only
  tall,  ///< tensor cores only
  medium,
  small,
  split,       ///< warps divide the reduction, so its sums have an order of their own; tensor cores only
  fitted,      ///< as high as the number of listed pixels asks for
  hopper,      ///< 128 channels, and pixels as `fitted`: warpgroups of compute capability 9.0, 16 bits only
  hopper_wide  ///< 256 channels, the same
};

/// What orders an output's sum. Its bits hang on that, so dense and sparse runs of a layer share it.
enum class CudaSumOrder {
  steps,   ///< one step after the other, by warps: every shape but those below
  split,   ///< parts of the reduction: `split`
  hopper,  ///< one step after the other, by warpgroups: `hopper` and `hopper_wide`
};

struct CudaTile {
  CudaTileShape shape = CudaTileShape::small;
  int pixels = 64;
  int channels = 32;

  /// Whether it multiplies weights that are packed for `hopper` tiles.
  bool is_hopper() const { return shape == CudaTileShape::hopper || shape == CudaTileShape::hopper_wide; }
  bool operator==(const CudaTile&) const = default;
};

/// A shape's tile; where the list decides the height, the highest.
CudaTile cuda_tile(CudaTileShape shape, Precision precision);
/// Its name, as in profiles.
const char* to_string(CudaTileShape shape);
/// Whether there is a kernel of this shape.
bool has_cuda_tile(CudaTileShape shape, Precision precision);

/// What decides the tile of a convolution.
struct CudaConvWork {
  double pixels = 0;            ///< expected: kernels cannot change their tile with the mask
  double most_pixels = 0;       ///< that a mask may leave; 0: there are `pixels` whatever the mask
  int channels = 0;             ///< output
  int64_t reduction_bytes = 0;  ///< taps * elements per tap * bytes of one
  Precision precision = Precision::fp32;
  bool grouped = false;  ///< a tile then covers one slice of channels: wider ones would multiply more zeros
  bool adds = false;     ///< to its output, which is read
  bool for_hopper = false;  ///< weights are packed for `hopper` and `hopper_wide` too
  CudaSumOrder order = CudaSumOrder::steps;
  int multiprocessors = 1;
};

/// The tile that runs for this work, with the height that its pixels ask for.
CudaTile fitted_to(CudaTile tile, const CudaConvWork& work);

/// Whether such tiles can make this work, on a device that runs them.
bool suits_tile(CudaTileShape shape, const CudaConvWork& work);

/// Costs from measurements on one GPU (an H100): what the engine chooses tiles by where its own has not been
/// calibrated. The proportions count.
const CudaTileCosts& shipped_tile_costs();
/// The table of a precision, as a member.
using CudaTileTable = std::array<CudaTileCost, kCudaTileShapes> CudaTileCosts::*;
CudaTileTable tile_table(Precision precision);

/// Seconds that a tile is expected to make of this work.
double expected_seconds(const CudaTile& tile, const CudaConvWork& work,
                        const CudaTileCosts& costs = shipped_tile_costs());

/// The tile with the least expected time, on average over more and fewer pixels where they vary. Large layers
/// take large tiles; small batches and late stages trade efficiency for tiles enough to go round.
CudaTile choose_cuda_tile(const CudaConvWork& work, const CudaTileCosts& costs = shipped_tile_costs());

/// The order of the fastest tile. Decided for a layer whose pixels are active at kExpectedRate, whatever its
/// mask.
CudaSumOrder sum_order(CudaConvWork work, double layer_pixels,
                       const CudaTileCosts& costs = shipped_tile_costs());

/// `work` of a layer of so many pixels, of which masks leave `rate` on average: its pixels and its order.
CudaConvWork of_layer(CudaConvWork work, double layer_pixels, double rate,
                      const CudaTileCosts& costs = shipped_tile_costs());

/// Whether `hopper` tiles suit a convolution: 128 output channels or more, one group, and a reduction of
/// which steps of 128 bytes leave little empty.
bool suits_hopper(const ConvSpec& conv, Precision precision);

/// The costs on a device without warpgroups: those tiles are never chosen.
CudaTileCosts without_hopper(CudaTileCosts costs);
/// `costs` with those of such tiles from `others`.
CudaTileCosts with_hopper_of(const CudaTileCosts& others, CudaTileCosts costs);
/// Whether there are costs of such tiles.
bool has_hopper(const CudaTileCosts& costs);

/// A convolution from map to map as work, but for its pixels and the order of its sums.
CudaConvWork cuda_conv_work(const ConvSpec& conv, Precision precision, bool adds, int multiprocessors);

/// Whether a device of this compute capability (86: 8.6) can compute in a precision.
bool runs_precision(int compute_capability, Precision precision);

/// Expected share of D for random patches of this activation rate: a pixel of D sees the patches of the
/// outputs whose 3x3 stride-s windows contain it. Larger S means fewer patches seen, hence less halo.
double expected_dilated_rate(double rate, int granularity, int dilation_stride);

/// A layer's work on every pixel, with the order of its sums.
CudaConvWork whole_layer(CudaConvWork work, int64_t pixels,
                         const CudaTileCosts& costs = shipped_tile_costs());

/// Whether a convolution's tiles leave room on the device for kernels beside it. Decided for the whole layer.
bool leaves_room(const CudaConvWork& work, const CudaTileCosts& costs = shipped_tile_costs());

/// Whether a dense first convolution hides masker and lists, which then run beside it: it must leave room on
/// the device and may compute more than the sparse one, as long as that takes less than what it hides.
bool hides_masker(CudaConvWork first, int64_t pixels, double dilated_rate,
                  const CudaTileCosts& costs = shipped_tile_costs());

/// Convolutions of a block that compute every pixel while masker and lists are made beside them: none unless
/// the plan says with_conv1, and two where the first takes less time than masker and lists, and what the
/// second computes more takes less than the rest. `middle_pixels`, `output_pixels`: of the batch.
int convs_beside_masker(const BlockSpec& block, const BlockPlan& plan, Precision precision,
                        int multiprocessors, int64_t middle_pixels, int64_t output_pixels,
                        const CudaTileCosts& costs = shipped_tile_costs());

/// Activation rate that tiles are chosen for.
inline constexpr double kExpectedRate = 0.5;

/// What the cuda backend runs unless asked otherwise, or where a calibration of the device knows better, but
/// for batches whose first convolutions hide the masker. Maskers of one map decide together where its
/// elements have 4 bytes: where they have 2, reading them again takes less time than a pass of many maskers
/// (measured on an H100).
BlockPlan usual_cuda_plan(Precision precision);

/// Active patches of an image, of `patches`, from which it lists its whole map, for a plan's whole_map_above;
/// more than there are: never.
int whole_map_patches(double whole_map_above, int patches);

/// What the cuda backend runs for a plan: with_conv1 is a masker beside a dense first convolution, on a
/// stream of its own, pooled one that decides for later blocks too (CudaMaskerRole); it passes over whole
/// maps. Its whole_map_above counts the patches of each image, and decides about the first convolution.
BlockPlan fit_cuda_plan(const BlockSpec& block, const BlockPlan& wanted);

/// What a block's masker decides under MaskerSchedule::pooled. Logits change only where x does, which is in
/// the active patches of the block before: the first block of those that read one map decides for all of
/// them, each of the others for itself and the rest, about the patches that the block before changed.
struct CudaMaskerRole {
  int blocks = 1;          ///< decided for: this one and those after it
  bool refreshes = false;  ///< only what the block before changed, else every patch

  bool operator==(const CudaMaskerRole&) const = default;
};
/// By block. Blocks take part whose masker pools the same windows of the same map, at most kMaxMaskers (32)
/// of them together.
std::vector<CudaMaskerRole> cuda_masker_roles(const ModelSpec& spec, const NetworkGeometry& geometry,
                                              const NetworkPlan& plan);

}  // namespace lasnet
