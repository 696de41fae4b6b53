// How a network is executed: plain values and pure functions, shared by the engine and (later) the latency
// model.
#pragma once

#include <cstdint>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

/// Which pixels the convolutions before the last one compute.
enum class BodyPath {
  sparse,    ///< convs[0] on the dilated mask, the next ones on the mask
  whole_map  ///< every pixel, without building their lists; the last convolution still follows the mask
};

/// The schedule of one block.
struct BlockPlan {
  /// Activation rate of the batch at and above which the body takes the whole-map path. The result is the
  /// same bit for bit; lists are not built.
  double whole_map_above = 1.0;

  BodyPath path(double rate) const {
    return rate >= whole_map_above ? BodyPath::whole_map : BodyPath::sparse;
  }
  bool operator==(const BlockPlan&) const = default;
};

/// The schedule of a network, a BlockPlan per block.
struct NetworkPlan {
  std::vector<BlockPlan> blocks;

  bool operator==(const NetworkPlan&) const = default;
};

NetworkPlan default_plan(const ModelSpec& spec);

/// What decides the tiling of one convolution.
struct ConvWork {
  int64_t pixels = 0;     ///< output pixels to compute
  int64_t reduction = 0;  ///< MACs per output value: kernel^2 * input channels
  int64_t input_channels = 0;
  int channel_blocks = 1;  ///< output channels in units of the kernel's register block
  int threads = 1;
};

/// One task computes `pixels` output pixels x `channel_blocks` register blocks of channels.
struct ConvTiling {
  int64_t pixels = 1;
  int channel_blocks = 1;

  bool operator==(const ConvTiling&) const = default;
};

/// Largest number of pixels in a task: bounds the scratch for partial sums.
inline constexpr int64_t kMaxTaskPixels = 240;

/// Deals a convolution to the threads. Large weights (late stages) are split by output channel so that each
/// is streamed once per batch; small ones by pixel so that the input is read once.
ConvTiling tile_conv(const ConvWork& work);

}  // namespace lasnet
