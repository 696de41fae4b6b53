// Tile shapes and schedules of the CUDA backend: plain values and pure functions, shared by launchers, engine
// and (later) the latency model.
#pragma once

#include <cstdint>

#include "lasnet/schedule.h"

namespace lasnet {

/// One block of threads computes `pixels` x `channels` outputs.
enum class CudaTileShape { wide, tall, small };

struct CudaTile {
  CudaTileShape shape = CudaTileShape::small;
  int pixels = 64;
  int channels = 32;
  int threads = 128;
  /// Share of the peak that the inner loop can reach: operands loaded from shared memory per multiplication.
  /// An estimate from the instruction mix, to be replaced by measurements.
  double efficiency = 0.5;

  bool operator==(const CudaTile&) const = default;
};

CudaTile cuda_tile(CudaTileShape shape);

/// What decides the tile of a convolution.
struct CudaConvWork {
  double pixels = 0;     ///< expected: kernels cannot change their tile with the mask
  int channels = 0;      ///< output
  bool grouped = false;  ///< a tile then covers one slice of channels: wider ones would multiply more zeros
  int multiprocessors = 1;
};

/// The tile with the least expected time: waves of tiles over the multiprocessors, each tile at its shape's
/// efficiency. Large layers take the widest tile; small batches and late stages trade efficiency for tiles
/// enough to go round.
CudaTile choose_cuda_tile(const CudaConvWork& work);

/// Expected share of D for random patches of this activation rate: a pixel of D sees the patches of the
/// outputs whose 3x3 stride-s windows contain it. Larger S means fewer patches seen, hence less halo.
double expected_dilated_rate(double rate, int granularity, int dilation_stride);

/// Activation rate that tiles are chosen for, as long as nothing measured says better.
inline constexpr double kExpectedRate = 0.5;

/// What the cuda backend runs for a plan: it keeps no pooled maps (a separate masker instead) and passes over
/// whole maps. Its whole_map_above counts the patches of each image, and decides about the first convolution.
BlockPlan fit_cuda_plan(const BlockSpec& block, const BlockPlan& wanted);

}  // namespace lasnet
