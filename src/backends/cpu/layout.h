// How the CPU kernels' maps and copied patches lie in memory: shared by the engine and the latency model.
#pragma once

#include "base/math.h"
#include "lasnet/model.h"

namespace lasnet {

/// Floats between the pixels of a map: whole vectors of the widest instruction set.
constexpr int64_t map_pitch(int64_t channels) { return round_up(channels, 16); }

/// Channels of an int8 map that a dot product reads at once.
inline constexpr int kWordBytes = 4;

/// Whether a kernel row of the convolution is one contiguous run of a map: pixels of this pitch are full of
/// so many values, be it floats or words.
inline bool merges_rows(const ConvSpec& conv, int64_t pitch, int64_t values) {
  return conv.kernel > 1 && conv.groups == 1 && conv.dilation == 1 && pitch == values;
}

}  // namespace lasnet
