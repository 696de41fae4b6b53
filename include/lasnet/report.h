// Pictures of what was computed.
#pragma once

#include "lasnet/engine.h"
#include "lasnet/image.h"

namespace lasnet {

/// The photo under a heat map of how many dynamic blocks computed each pixel (image `index` of the batch),
/// with a colour bar. `photo` is what the network saw (resize_and_crop).
Image heat_map(const Image& photo, const Trace& trace, int64_t index = 0);

/// One tile per dynamic block: the photo with inactive patches darkened, the block's name and r under it.
Image mask_sheet(const Image& photo, const Trace& trace, int64_t index = 0);

/// Mean over dynamic blocks of the mask at each pixel of a height x width image, in [0, 1], row-major.
std::vector<float> compute_density(const Trace& trace, int64_t index, int height, int width);

}  // namespace lasnet
