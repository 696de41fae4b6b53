// The rate of each block for a budget: what costs the logits least, per MAC or
// predicted millisecond.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "train/batch_stream.h"
#include "train/losses.h"

namespace lasnet {

/// Chooses the rate of every block for a cost of the network over the static one's, and wants it of its
/// masker. It measures what each block alone does to the logits (KL divergence) at rates from 1 to 0. Then it
/// gives up, step by step, what the logits lose least by for what it saves. Nothing is returned once
/// `proceed`, asked before each batch, says no.
std::optional<std::vector<double>> allocate_rates(MaskedNet& net, const NetworkCost& cost, BatchStream images,
                                                  double target, bool mixed_precision,
                                                  const std::function<bool()>& proceed);

}  // namespace lasnet
