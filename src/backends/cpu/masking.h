// Which patches of a block are active: the masker, by each of its schedules, and the patch sums it reads.
#pragma once

#include <span>

#include "backends/cpu/loops.h"
#include "backends/cpu/memory.h"
#include "engine/executable.h"

namespace lasnet {

/// Fills memory.differences and memory.patches for a dynamic block, by the masker and the block's threshold
/// or `request`'s forced patches: runs the masking operations of its program.
MaskOutcome decide(const CpuExecutable& executable, size_t index, const RunRequest& request,
                   BlockMemory& memory, CpuLoops& loops);

/// From the differences that a masker gave, or `request`'s forced patches, to the block's patches.
MaskOutcome choose_patches(size_t index, const RunRequest& request, BlockState& block);

/// Sums of `patches`, which are cells of the sums' grid, of channels [begin, end), from their map.
void refresh_sums(PatchSums& sums, std::span<const ListedPatch> patches, int begin, int end,
                  const CpuKernels& kernels);

}  // namespace lasnet
