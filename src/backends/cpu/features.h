// Maps that a run returns (RunOptions::features), taken out of the engine's memory.
#pragma once

#include "backends/cpu/loops.h"
#include "backends/cpu/memory.h"
#include "lasnet/engine.h"

namespace lasnet {

/// Copies `map` without its border to `to`, whose shape is that of the map in this layout.
void copy_map(const CpuMap& map, MapLayout layout, CpuLoops& loops, Tensor& to);

}  // namespace lasnet
