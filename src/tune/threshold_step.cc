#include "tune/threshold_step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lasnet {
namespace {

/// Of the range of differences: what is beyond the last patch, for images that were not seen.
constexpr double kMargin = 0.01;
/// A model file takes finite thresholds only.
constexpr float kLargest = std::numeric_limits<float>::max();

float finite_threshold(double value) {
  return static_cast<float>(std::clamp<double>(value, -kLargest, kLargest));
}

/// Between the `active` largest differences and the others.
float threshold_between(const std::vector<float>& differences, size_t active) {
  const float highest = differences.front(), lowest = differences.back();
  const double margin = kMargin * (static_cast<double>(highest) - lowest);
  if (active == 0) return std::max(finite_threshold(highest + margin), std::nextafter(highest, kLargest));
  if (active == differences.size()) return finite_threshold(lowest - margin);
  const float inside = differences[active - 1], outside = differences[active];
  return std::max(std::midpoint(inside, outside), std::nextafter(outside, kLargest));
}

}  // namespace

std::optional<float> next_threshold(const std::vector<float>& differences, float threshold, double share,
                                    TuneDirection direction) {
  const size_t all = differences.size();
  const auto inactive =
      std::ranges::partition_point(differences, [&](float difference) { return difference >= threshold; });
  const auto active = static_cast<size_t>(inactive - differences.begin());
  const auto step = std::max<size_t>(1, std::llround(share * static_cast<double>(all)));
  // Patches of equal differences become active together.
  const auto splits_equals = [&](size_t count) {
    return count > 0 && count < all && differences[count - 1] == differences[count];
  };
  size_t target = 0;
  if (direction == TuneDirection::fewer) {
    if (active == 0) return std::nullopt;
    target = active - std::min(active, step);
    while (splits_equals(target)) --target;
  } else {
    if (active == all) return std::nullopt;
    target = std::min(all, active + step);
    while (splits_equals(target)) ++target;
  }
  const float next = threshold_between(differences, target);
  // Whatever the differences are, thresholds go one way, so a walk ends.
  const bool goes_on = direction == TuneDirection::fewer ? next > threshold : next < threshold;
  return goes_on ? std::optional(next) : std::nullopt;
}

}  // namespace lasnet
