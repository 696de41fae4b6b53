// Where a block's threshold goes next.
#pragma once

#include <optional>
#include <vector>

namespace lasnet {

/// Which way the MACs go.
enum class TuneDirection { fewer, more };

/// The threshold at which about `share` of all patches become inactive (fewer), or active (more), and at
/// least one does. `differences`: those of the block's patches, falling. Past the last patch it keeps a small
/// distance, as far as float32 has finite numbers. Nothing where no patch is left, or no number.
std::optional<float> next_threshold(const std::vector<float>& differences, float threshold, double share,
                                    TuneDirection direction);

}  // namespace lasnet
