// Pictures of what was computed. All throw Error on an empty photo, an index outside the batch, a static
// network, or a trace without recorded masks.
#pragma once

#include "lasnet/engine.h"
#include "lasnet/image.h"

namespace lasnet {

/// The photo under a heat map of how many dynamic blocks computed each pixel (image `index` of the batch),
/// with a colour bar. `photo` is what the network saw (resize_and_crop).
LASNET_EXPORT Image heat_map(const Image& photo, const Trace& trace, int64_t index = 0);

/// One tile per dynamic block: the photo with inactive patches darkened, the block's name and r under it.
LASNET_EXPORT Image mask_sheet(const Image& photo, const Trace& trace, int64_t index = 0);

/// Mean over dynamic blocks of the mask at each pixel of a height x width image, in [0, 1], row-major.
LASNET_EXPORT std::vector<float> compute_density(const Trace& trace, int64_t index, int height, int width);

}  // namespace lasnet
