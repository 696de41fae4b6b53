// Bisection for what fits a budget.
#pragma once

namespace lasnet {

/// The largest share in [0, 1] with value(share) <= limit, for a rising value that fits at 0.
template <typename Value>
double largest_share(double limit, const Value& value) {
  constexpr int kBisections = 30;
  double low = 0, high = 1;
  if (value(1.0) <= limit) return 1;
  for (int i = 0; i < kBisections; ++i) {
    const double share = (low + high) / 2;
    (value(share) <= limit ? low : high) = share;
  }
  return low;
}

}  // namespace lasnet
