#include "train/curves.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lasnet {

double cosine_lr(double peak, int64_t step, int64_t steps, int64_t warmup) {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  double progress =
      static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(steps - warmup, 1));
  return peak * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

double exponential_decay(double start, double end, int64_t step, int64_t steps) {
  double progress = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(steps - 1, 1));
  return start * std::pow(end / start, progress);
}

Bounds ratio_bounds(double target, double progress, double hold) {
  double pinned = std::cos(std::min(progress * 3.0, 1.0) * std::numbers::pi / 2);
  pinned = std::max(pinned * pinned, hold);
  return {.low = pinned * target, .up = 1 - pinned * (1 - target)};
}

double noise_scale(double start, double end, double progress) {
  constexpr double kSettled = 0.8;
  return start - (start - end) * std::min(progress / kSettled, 1.0);
}

}  // namespace lasnet
