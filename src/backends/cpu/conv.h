// Convolutions between bordered maps as calls of a kernel.
#pragma once

#include <vector>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/memory.h"

namespace lasnet {

/// Windows that a convolution reads, one for each output pixel.
struct ConvSource {
  const float* data;
  int64_t pitch;
  const int64_t* taps;     ///< offsets from the centres
  const int32_t* centres;  ///< in pixels
};

inline ConvSource windows_of(const CpuMap& map, const std::vector<int64_t>& taps, const int32_t* centres) {
  return {map.data.data(), map.pitch, taps.data(), centres};
}

/// `conv` of the windows, written to `pixels.out` of a map.
inline ConvCall conv_call(const PackedConv& conv, const ConvSource& in, CpuMap& out, PixelPairs pixels,
                          Epilogue epilogue) {
  return {.conv = &conv,
          .in = in.data,
          .in_pitch = in.pitch,
          .tap_offsets = in.taps,
          .out = out.data.data(),
          .out_pitch = out.pitch,
          .pixels = {in.centres, pixels.out, pixels.count},
          .epilogue = epilogue};
}

}  // namespace lasnet
