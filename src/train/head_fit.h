// A fresh head for a network that was trained on other classes.
#pragma once

#include <functional>
#include <optional>

#include "train/batch_stream.h"
#include "train/masked_net.h"

namespace lasnet {

/// Softmax regression of the labels on the features that the static network computes of the images, written
/// into its head. Returns the top-1 on the same images; nothing if `proceed`, asked before each batch, says
/// no.
std::optional<double> fit_head(MaskedNet& net, BatchStream images, bool mixed_precision,
                               const std::function<bool()>& proceed);

}  // namespace lasnet
