// The mask of a block in the masked dense network.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/executable.h"

namespace lasnet::reference {

struct BlockMask {
  std::vector<uint8_t> patches;  ///< decisions [N, rows, cols]; empty where no masker ran
  ByteTensor mask;               ///< [N, H', W']
  std::vector<int64_t> active_counts, dilated_counts;
};

/// Of a static block, or in a dense run.
BlockMask full_mask(const RunRequest& request, size_t block);

/// By the logit differences of a masker, the block's threshold, or the request's forced patches.
BlockMask decide_mask(const RunRequest& request, size_t block, const std::vector<float>& differences);

}  // namespace lasnet::reference
