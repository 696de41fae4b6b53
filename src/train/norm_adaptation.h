// BatchNorm statistics of the data that a network will be trained on.
#pragma once

#include <functional>

#include "train/batch_stream.h"
#include "train/masked_net.h"

namespace lasnet {

/// Gives the network the statistics that these batches have, and moves scales and shifts so that it computes
/// the same function. Training normalises by each batch. Weights that come from other data would therefore
/// become another network in their first step. The mean of the batches' statistics over `images` counts, with
/// masks of this kind. They are to be the images that the running statistics come from later. Returns false,
/// after those that it saw, if `proceed`, asked before each batch, says no.
bool adapt_norms(MaskedNet& net, MaskPolicy::Kind masks, BatchStream batches, int64_t images,
                 bool mixed_precision, const std::function<bool()>& proceed);

}  // namespace lasnet
