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
