// Which map position each pixel of a picture belongs to, and how many blocks computed it.
#pragma once

#include <cstdint>
#include <vector>

#include "lasnet/engine.h"

namespace lasnet {

/// For each of `pixels` positions along one side of the image, the position on a map of `map` entries. A map
/// that strided layers made (each halving rounds up) covers the image from its first pixel on in equal
/// steps. The last step is clipped. Any other map is stretched.
std::vector<int64_t> map_positions(int pixels, int64_t map);
/// The same for a picture that shows an image of `input` positions at another resolution.
std::vector<int64_t> map_positions(int pixels, int64_t input, int64_t map);

/// The dynamic blocks of a trace. Throws Error if there are none, their masks were not recorded, or `index`
/// is not an image of the batch.
std::vector<const BlockTrace*> dynamic_blocks(const Trace& trace, int64_t index);

/// 0 or 1: whether the block computed map position (y, x) of image `index`.
inline uint8_t is_active(const BlockTrace& block, int64_t index, int64_t y, int64_t x) {
  return block.mask.data[(index * block.height + y) * block.width + x];
}

}  // namespace lasnet
