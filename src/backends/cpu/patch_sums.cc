#include "backends/cpu/patch_sums.h"

namespace lasnet {
namespace {

/// The sums of one residual map.
struct MapSums {
  int cell = 0;            ///< side of the summed squares; 0: nobody reads sums of this map
  size_t last_reader = 0;  ///< block
  bool valid = false;      ///< made, and kept by every block since
};

}  // namespace

std::vector<PatchSumUse> patch_sum_uses(const ModelSpec& spec, const NetworkGeometry& geometry,
                                        const NetworkSchedule& plan) {
  std::vector<PatchSumUse> uses(spec.blocks.size());
  std::vector<MapSums> maps(1);
  std::vector<size_t> map_of;  // that each block reads
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    map_of.push_back(maps.size() - 1);
    MapSums& map = maps.back();
    const int side = geometry.blocks[b].grid.granularity;
    if (block.is_dynamic() && plan.blocks[b].masker == MaskerSchedule::incremental) {
      if (map.cell == 0 && block.stride == 1) map.cell = side;
      const int window = side * block.stride;
      if (map.cell > 0 && window % map.cell == 0) {
        const int cells = window / map.cell;  // on a side
        uses[b].reads = true;
        uses[b].cell = map.cell;
        uses[b].cells = static_cast<double>(cells) * cells;
        map.last_reader = b;
      }
    }
    if (block.projection) maps.emplace_back();
  }
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    MapSums& map = maps[map_of[b]];
    if (uses[b].reads) {
      uses[b].computes = !map.valid;
      map.valid = true;
    }
    if (spec.blocks[b].projection || map.cell == 0) continue;
    const bool same_grid = geometry.blocks[b].grid.granularity == map.cell;
    uses[b].keeps = map.valid && same_grid && map.last_reader > b;
    if (uses[b].keeps) uses[b].cell = map.cell;
    if (!same_grid) map.valid = false;
  }
  return uses;
}

}  // namespace lasnet
