// How a convolution is cut for the device: shared by weight packing, kernels and launchers. Pure.
//
// A convolution is an implicit GEMM: rows are listed pixels, columns output channels, and the reduction runs
// over `taps` contiguous stretches of `run` input elements, in steps of kStepBytes. Columns come in slices of
// kSlice channels, each with packed weights of its own; a tile takes one, two or four slices.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.h"

namespace lasnet::cuda {

inline constexpr int kSlice = 32;                            ///< output channels
inline constexpr int kStepBytes = 64;                        ///< of reduction per pipeline step and pixel
inline constexpr int kSliceStepBytes = kSlice * kStepBytes;  ///< packed weights of a slice and step
inline constexpr int kMaxTaps = 9;
/// Slices are padded to whole widest tiles.
inline constexpr int kSliceMultiple = 4;

/// Rows of a thread in a `fitted` tile, which is kFittedRowThreads as high, and the teams of a
/// multiprocessor.
inline constexpr int kFittedRowThreads = 8, kFittedTeams = 8;
/// What a `fitted` tile takes, up to a factor: of a row, 7 tenths whatever its height.
LASNET_HOST_DEVICE inline int fitted_cost(int rows) { return 10 * rows + 7; }
/// Tiles that take a multiprocessor's schedulers at a time: two warps each.
inline constexpr int kFittedTogether = 2;

/// The height, in rows of a thread, with which `pixels` x `columns` tiles are done first: high tiles compute
/// more per byte, low ones deal more evenly.
LASNET_HOST_DEVICE inline int fitted_rows(int64_t pixels, int columns, int multiprocessors) {
  int best = 0;
  int64_t least = 0;
  for (int rows = 6; rows >= 4; --rows) {
    int64_t height = kFittedRowThreads * rows, tiles = (pixels + height - 1) / height * columns;
    int64_t each = (tiles + multiprocessors - 1) / multiprocessors;
    int64_t turns = (each + kFittedTogether - 1) / kFittedTogether * fitted_cost(rows);
    if (best == 0 || turns < least) best = rows, least = turns;
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
