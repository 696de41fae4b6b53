// How kernels that are no convolutions are cut for the device: shared by them and by their prices
// (backends/cuda/prices.h). Pure.
#pragma once

#include "base/host_device.h"

namespace lasnet::cuda {

inline constexpr int kMultiprocessorThreads = 2048;

// ---- masker.cu, masker_group.cu ----

inline constexpr int kMaskerWarps = 8;  ///< of a block of threads
/// Input rows of the patches that a warp takes alone; the rows of others are dealt to a block's warps.
LASNET_HOST_DEVICE constexpr bool is_small_patch(int side) { return side == 1 || side == 2 || side == 4; }
/// Pixels of a large patch's row that a warp reads at once.
inline constexpr int kMaskerStrip = 8;

// ---- pool.cu: means ----

inline constexpr int kMeanThreads = 256;  ///< of a block, whose warps take pixels in turn
inline constexpr int kMeanWarps = kMeanThreads / 32;
inline constexpr int kMeanReads = 8;  ///< pixels that a warp reads at once
inline constexpr int kMeanBlocks = kMultiprocessorThreads / kMeanThreads;  ///< on a multiprocessor

// ---- squeeze_excite.cu: the two layers ----

inline constexpr int kExciteThreads = 512;    ///< of a block, which takes an image
inline constexpr int kExciteWarpOutputs = 4;  ///< that a warp computes at a time
inline constexpr int kExciteOutputs = kExciteThreads / 32 * kExciteWarpOutputs;  ///< a block, at a time
inline constexpr int kExciteInputs = 2 * 32;                                   ///< that a warp reads at once
inline constexpr int kExciteBlocks = kMultiprocessorThreads / kExciteThreads;  ///< on a multiprocessor

// ---- head.cu: the classifier ----

/// Features that a warp takes at a time: a vector of each lane.
inline constexpr int kHeadStep = 32 * 4;

/// A warp computes `classes` of `images`; a block's warps stand kHeadClassWarps x `image_warps`.
struct HeadShape {
  int least_images;  ///< of a batch, from which on it is used
  int classes, images, image_warps;
};
inline constexpr int kHeadClassWarps = 4;
/// The first one that the batch has images enough for is used.
inline constexpr HeadShape kHeadShapes[] = {{32, 4, 8, 4}, {8, 4, 8, 1}, {0, 1, 4, 1}};

/// Place in kHeadShapes of a batch's.
constexpr int head_shape_of(int images) {
  int i = 0;
  while (kHeadShapes[i].least_images > images) ++i;
  return i;
}

}  // namespace lasnet::cuda
