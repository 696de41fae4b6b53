// Maskers before the first step: what a patch does to the logits can be read from what its masker sees.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "train/batch_stream.h"
#include "train/losses.h"

namespace lasnet {

struct MaskerFits {
  int64_t images = 0;
  std::vector<double> correlations;  ///< of each masker's logits with what it was fitted to
};

/// Fits every masker of a network that standardises them by ridge regression. Patches are the samples. The
/// regression goes from the standardised pooled input to a logarithm: how strongly the logits depend on the
/// patch's mask, over the patch's cost. Nearly all patches are active afterwards. Nothing is returned once
/// `proceed`, asked before each batch, says no.
std::optional<MaskerFits> fit_maskers(MaskedNet& net, const NetworkCost& cost, BatchStream images,
                                      uint64_t seed, const std::function<bool()>& proceed);

std::string describe(const MaskerFits& fits);

/// Takes the mean and variance of what maskers see now, keeps what they compute, and wants the rates that
/// they have. Returns the cost over the static network's; nothing as above.
std::optional<double> take_masker_statistics(MaskedNet& net, const NetworkCost& cost, BatchStream images,
                                             const std::function<bool()>& proceed);

}  // namespace lasnet
