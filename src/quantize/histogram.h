// How often values of a map were seen, in bins whose range grows with the values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lasnet {

/// Of values that are not negative.
class Histogram {
 public:
  /// Values are finite.
  void add(std::span<const float> values);

  int64_t count() const { return count_; }
  float largest() const { return largest_; }
  /// The value that this share of the values do not exceed, at the end of a bin.
  double percentile(double share) const;
  /// The largest value of a scale of so many steps with the least squared error of all values.
  double least_error(int steps) const;
  /// Share of the values beyond `limit`, up to the width of a bin.
  double share_above(double limit) const;

 private:
  void grow_to(float value);
  /// Squared error of all values, rounded to steps of `limit` / `steps` and clipped there.
  double error(double limit, int steps) const;
  double centre(size_t bin) const { return (static_cast<double>(bin) + 0.5) * width_; }

  std::vector<int64_t> bins_;
  double width_ = 0;  ///< of a bin
  float largest_ = 0;
  int64_t count_ = 0;
};

}  // namespace lasnet
