// What changes over the steps of a phase: learning rate, temperature, and the corridor of the blocks' MACs.
#pragma once

#include <cstdint>

namespace lasnet {

/// Learning rate of step `step` of `steps`: linear warm-up over the first `warmup` steps, then cosine to 0.
double cosine_lr(double peak, int64_t step, int64_t steps, int64_t warmup);

/// start -> end, exponentially by step, both reached.
double exponential_decay(double start, double end, int64_t step, int64_t steps);

/// The corridor of a block's ratio at training progress e/E in [0, 1]. It is [target, target] at the start
/// and opens over the first third. It opens to [0, 1], or to where a share `hold` of the pinning stays.
struct Bounds {
  double low = 0, up = 1;
};
Bounds ratio_bounds(double target, double progress, double hold = 0);

/// From `start` to `end` over the first four fifths of the progress, evenly.
double noise_scale(double start, double end, double progress);

}  // namespace lasnet
