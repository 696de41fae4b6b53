// Which patches an input of a 3x3 convolution depends on, one axis at a time: what the dilated mask is made
// of.
#pragma once

#include <array>
#include <cstdint>

#include "lasnet/geometry.h"

namespace lasnet {

/// How a 3-wide window reads one axis of its input for the patches of its output.
struct WindowAxis {
  int64_t stride = 1, dilation = 1;
  int64_t outputs = 0;
  int64_t granularity = 1;  ///< outputs of a patch
};
/// Of the rows and of the columns of a block's middle map.
inline WindowAxis rows_axis(const BlockGeometry& g) {
  return {g.dilation_stride, g.dilation, g.output.height, g.grid.granularity};
}
inline WindowAxis columns_axis(const BlockGeometry& g) {
  return {g.dilation_stride, g.dilation, g.output.width, g.grid.granularity};
}

/// Patches in ascending order.
struct PatchesSeen {
  std::array<int64_t, 3> patches = {};
  int64_t count = 0;

  bool operator==(const PatchesSeen&) const = default;
};
/// Those with outputs that read input position `v`.
PatchesSeen patches_reading(int64_t v, const WindowAxis& axis);

}  // namespace lasnet
