// Sums over patches that are kept beside a residual map, so that a masker need not read the map
// (MaskerSchedule::incremental): which block makes them, reads them and keeps them up to date.
#pragma once

#include <vector>

#include "lasnet/geometry.h"
#include "lasnet/schedule.h"

namespace lasnet {

/// What a block does with the sums. The schedules of all blocks decide it together.
struct PatchSumUse {
  bool reads = false;     ///< the masker reads sums of its input map, else the map itself
  bool computes = false;  ///< and makes them first: no block before has kept them
  bool keeps = false;     ///< sums the patches that it writes again, for a later masker
  /// Side of the summed squares, in pixels of the map, if `reads` or `keeps`.
  int cell = 0;
  double cells = 1;  ///< sums under one patch

  bool operator==(const PatchSumUse&) const = default;
};

/// By block. A map's sums have the granularity of the first block that reads it at stride 1.
std::vector<PatchSumUse> patch_sum_uses(const ModelSpec& spec, const NetworkGeometry& geometry,
                                        const NetworkSchedule& plan);

}  // namespace lasnet
