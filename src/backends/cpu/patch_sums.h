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
  bool keeps = false;     ///< sums the patches of its output map that it writes, for a later masker
  int cell = 0;           ///< side of the squares whose sums it reads, in pixels of its input map
  double cells = 1;       ///< such squares under one patch
  int kept_cell = 0;      ///< side of the squares that it sums, in pixels of its output map

  bool operator==(const PatchSumUse&) const = default;
};

/// By block. A map's sums have the granularity of the first block that reads it at stride 1. A projection
/// writes all of a map, so a block that has one makes the sums of that map.
std::vector<PatchSumUse> patch_sum_uses(const ModelSpec& spec, const NetworkGeometry& geometry,
                                        const NetworkSchedule& plan);

}  // namespace lasnet
