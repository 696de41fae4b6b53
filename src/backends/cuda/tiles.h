// The tiles that CUDA convolutions are computed in, and a convolution as work to be cut into them.
#pragma once

#include <cstdint>

#include "engine/hardware_facts.h"
#include "lasnet/precision.h"

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

/// The order in which an output's products are added. Dense and sparse runs of a layer share it, so their
/// results are equal bit for bit.
enum class AccumulationOrder {
  sequential,  ///< one step after the other, by warps: every shape but those below
  split_k,     ///< warps add parts of the reduction: `split`
  warpgroup,   ///< one step after the other, by warpgroups: `hopper` and `hopper_wide`
};
constexpr AccumulationOrder order_of(CudaTileShape shape) {
  if (shape == CudaTileShape::split) return AccumulationOrder::split_k;
  return shape >= CudaTileShape::hopper ? AccumulationOrder::warpgroup : AccumulationOrder::sequential;
}

struct CudaTile {
  CudaTileShape shape = CudaTileShape::small;
  int pixels = 64;
  int channels = 32;

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
  bool for_warpgroups = false;  ///< `hopper` tiles run, and suit it: its weights are packed for them too
  AccumulationOrder order = AccumulationOrder::sequential;
  int multiprocessors = 1;
};

/// What a tile takes, over what the highest of its shape takes.
double share_of_highest(const CudaTile& tile, Precision precision);

/// Tiles of a multiprocessor that end together. Of fp32's `medium` six fit, each a block of its own, and what
/// is left of a round is not spread over the device: 3 took as long as 6.
int tiles_together(const CudaTile& tile, Precision precision);

/// Tiles that cover this work; at least one.
double tiles_of(const CudaTile& tile, const CudaConvWork& work);

/// The tile that runs for this work, with the height that its pixels ask for.
CudaTile adapted_to(CudaTile tile, const CudaConvWork& work);

/// Whether such tiles can make this work.
bool suits_tile(CudaTileShape shape, const CudaConvWork& work);

/// Whether a device of this compute capability (86: 8.6) can compute in a precision.
bool runs_precision(int compute_capability, Precision precision);

}  // namespace lasnet
