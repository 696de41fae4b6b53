// How a convolution is cut for the device: shared by weight packing, kernels and launchers. Pure.
//
// A convolution is an implicit GEMM: rows are listed pixels, columns output channels, and the reduction runs
// over `taps` contiguous stretches of `run` input elements, in steps of kStepBytes. Columns come in slices of
// kSlice channels, each with packed weights of its own; a tile takes one, two or four slices.
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace lasnet::cuda {

/// What happens to a sum before it is stored; all add the bias.
enum class Epilogue {
  bias,
  bias_relu,
  bias_add_relu,  ///< out = max(0, out + sum + b): the residual addition, in place
  projection,     ///< bias where the list's output index is inverted (the pixel is active), else bias_relu
};

inline constexpr int kSlice = 32;                            ///< output channels
inline constexpr int kStepBytes = 64;                        ///< of reduction per pipeline step and pixel
inline constexpr int kSliceStepBytes = kSlice * kStepBytes;  ///< packed weights of a slice and step
inline constexpr int kMaxTaps = 9;
/// Slices are padded to whole widest tiles.
inline constexpr int kSliceMultiple = 4;

/// Of the kernels for compute capability 9.0: a warpgroup's output channels, and bytes of reduction per step.
inline constexpr int kHopperBlock = 64;
inline constexpr int kHopperStepBytes = 128;

/// Heights that a tile can have where the list decides, and what each takes. How many tiles a multiprocessor
/// gets is a small number: high tiles compute more per byte, low ones deal more evenly.
struct FittedHeights {
  static constexpr int kMax = 6;
  int channels;  ///< of every tile
  int count;
  int pixels[kMax];  ///< highest first
  int costs[kMax];   ///< of a tile, up to a factor
  int concurrent;    ///< tiles of a multiprocessor that are computed at a time
  int lone;          ///< quarters of its cost that the only tile of a multiprocessor takes

  /// What the highest takes, for one of this height.
  LASNET_HOST_DEVICE constexpr double share_of_highest(int height) const {
    int i = 0;
    while (i + 1 < count && pixels[i] > height) ++i;
    return static_cast<double>(costs[i]) / costs[0];
  }
};
/// Float32: rows of 8 threads; a tile takes 7 tenths of a row whatever its height, and two, of two warps
/// each, a multiprocessor's schedulers.
inline constexpr FittedHeights kFittedFp32 = {64, 3, {48, 40, 32}, {67, 57, 47}, 2, 8};
/// Tensor cores: the lower, the less is computed with a weight that is read.
inline constexpr FittedHeights kFittedTensor = {128, 4, {128, 96, 80, 64}, {100, 79, 70, 63}, 1, 5};

/// The kernels for compute capability 9.0, of 128 channels and of 256: weights are most of what moves, so low
/// tiles take little less. (H200, 3x3 over 256 channels.)
inline constexpr FittedHeights kFittedHopper = {
    128, 6, {160, 128, 112, 96, 80, 64}, {115, 100, 93, 88, 83, 75}, 2, 8};
inline constexpr FittedHeights kFittedHopperWide = {
    256, 6, {160, 128, 112, 96, 80, 64}, {125, 100, 95, 91, 84, 78}, 1, 4};

/// The height with which `pixels` x `columns` tiles are done first.
LASNET_HOST_DEVICE inline int fitted_height(const FittedHeights& heights, int64_t pixels, int columns,
                                            int multiprocessors) {
  int best = 0;
  int64_t least = 0;
  for (int i = 0; i < heights.count; ++i) {
    int64_t tiles = (pixels + heights.pixels[i] - 1) / heights.pixels[i] * columns;
    int64_t each = (tiles + multiprocessors - 1) / multiprocessors;
    int64_t turns = (each + heights.concurrent - 1) / heights.concurrent * heights.concurrent;
    int64_t cost = (turns == 1 ? heights.lone : 4 * turns) * heights.costs[i];
    if (best == 0 || cost < least) best = heights.pixels[i], least = cost;
  }
  return best;
}

/// Channels of a map are padded to whole 16-byte vectors of every element type.
inline constexpr int kPitchMultiple = 8;
LASNET_HOST_DEVICE inline int padded_channels(int channels) {
  return (channels + kPitchMultiple - 1) / kPitchMultiple * kPitchMultiple;
}

/// First input channel that the slice at `channel` reads: of a grouped convolution, of the first group it
/// touches.
LASNET_HOST_DEVICE inline int slice_input(int channel, int group_in, int group_out) {
  return channel / group_out * group_in / kPitchMultiple * kPitchMultiple;
}

}  // namespace lasnet::cuda
