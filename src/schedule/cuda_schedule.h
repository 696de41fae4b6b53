// Tile shapes and schedules of the CUDA backend: plain values and pure functions, shared by launchers, engine
// and (later) the latency model.
#pragma once

#include <cstdint>
#include <vector>

#include "lasnet/precision.h"

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

/// The schedule of one block: which operators are fused (paper section 3.3).
struct CudaBlockPlan {
  /// The masker rides in the first convolution, which then computes every pixel; needs a 1x1 first
  /// convolution.
  bool fuse_masker = false;
  /// The second convolution reads through the list; else patches are first copied, halo and all, to a buffer.
  bool fuse_gather = true;
  /// The last convolution adds into the identity in place; else it writes to zeros and a pass over the map
  /// adds.
  bool fuse_scatter = true;
  /// Share of active patches of an image at and above which its first convolution computes every pixel.
  double whole_map_above = 1.0;
  /// Of patches; chooses tiles.
  double expected_rate = 0.5;

  bool operator==(const CudaBlockPlan&) const = default;
};

struct CudaPlan {
  std::vector<CudaBlockPlan> blocks;

  bool operator==(const CudaPlan&) const = default;
};

}  // namespace lasnet
