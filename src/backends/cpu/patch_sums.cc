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
    const bool projected = spec.blocks[b].projection.has_value();
    MapSums& written = projected ? maps[map_of[b] + 1] : map;
    if (written.cell == 0) continue;
    // A projection writes every patch, so that there need not have been sums before.
    const bool complete = projected ? spec.blocks[b].is_dynamic() : map.valid;
    const bool same_grid = geometry.blocks[b].grid.granularity == written.cell;
    uses[b].keeps = complete && same_grid && written.last_reader > b;
    if (uses[b].keeps) uses[b].kept_cell = written.cell;
    written.valid = uses[b].keeps;
  }
  return uses;
}

}  // namespace lasnet
