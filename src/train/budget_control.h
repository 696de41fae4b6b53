// Keeps the cost at the target by moving the maskers' biases, which the budget's loss alone does slowly.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "train/batch_stream.h"
#include "train/losses.h"

namespace lasnet {

/// Moves each bias a part of the way to where this batch, with its noise, would have the wanted rate of the
/// block. `decisions` are what each block's masks were decided on (BlockMasks::perturbed). While `ramp` goes
/// from 0 to 1, the wanted rates fall from those of full masks.
void hold_rates(MaskedNet& net, const std::vector<torch::Tensor>& decisions, double ramp);

struct SettledBudget {
  double before = 0, after = 0;  ///< cost over the static network's
  double shift = 0;              ///< of the logit differences of all blocks
  int64_t images = 0;
};

/// A shift of all biases, and the cost that was then measured.
struct MeasuredShift {
  double shift = 0, ratio = 0;
};

/// The shift to measure next: what a model of independent masks `predicted` from the last one. Masks are not
/// independent: inactive patches change what later maskers see, and the prediction may fall short or
/// overshoot. So steps double while all measured costs are on one side of the target. Later the prediction
/// counts between the nearest ones on both sides alone; elsewhere the middle of these does.
double next_shift(const std::vector<MeasuredShift>& measured, double target, double predicted);

/// Moves the biases until the cost of the images' mean masks, without noise, is the target, or as near as was
/// measured. `batches` begins them anew; `proceed` is asked before each batch, and nothing is returned once
/// it says no.
std::optional<SettledBudget> settle_budget(MaskedNet& net, const NetworkCost& cost,
                                           const std::function<BatchStream()>& batches, double target,
                                           const std::function<bool()>& proceed);

}  // namespace lasnet
