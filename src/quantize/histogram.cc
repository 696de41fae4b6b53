#include "quantize/histogram.h"

#include <algorithm>
#include <cmath>

namespace lasnet {
namespace {

/// 16 to 32 of them share a step of a byte.
constexpr size_t kBins = 8192;
/// Limits that least_error tries.
constexpr int kCandidates = 100;

}  // namespace

void Histogram::grow_to(float value) {
  if (bins_.empty()) {
    bins_.resize(kBins);
    width_ = value > 0 ? 2.0 * value / kBins : 0;
  } else if (width_ == 0) {  // all values so far were 0
    width_ = 2.0 * value / kBins;
  }
  while (width_ > 0 && value >= width_ * kBins) {
    for (size_t i = 0; i < kBins / 2; ++i) bins_[i] = bins_[2 * i] + bins_[2 * i + 1];
    std::fill(bins_.begin() + kBins / 2, bins_.end(), 0);
    width_ *= 2;
  }
}

void Histogram::add(std::span<const float> values) {
  if (values.empty()) return;
  const float most = *std::max_element(values.begin(), values.end());
  largest_ = std::max(largest_, most);
  grow_to(most);
  count_ += static_cast<int64_t>(values.size());
  const auto per_bin = static_cast<float>(width_ > 0 ? 1 / width_ : 0);
  for (const float value : values) {
    const auto bin = static_cast<size_t>(value * per_bin);
    ++bins_[std::min(bin, kBins - 1)];
  }
}

double Histogram::percentile(double share) const {
  const double wanted = share * static_cast<double>(count_);
  double seen = 0;
  for (size_t i = 0; i < bins_.size(); ++i) {
    seen += static_cast<double>(bins_[i]);
    if (seen >= wanted) return std::min(static_cast<double>(i + 1) * width_, double{largest_});
  }
  return largest_;
}

double Histogram::error(double limit, int steps) const {
  const double step = limit / steps;
  double sum = 0;
  for (size_t i = 0; i < bins_.size(); ++i) {
    if (bins_[i] == 0) continue;
    const double value = centre(i);
    const double rounded = std::min(std::round(value / step), static_cast<double>(steps)) * step;
    sum += static_cast<double>(bins_[i]) * (value - rounded) * (value - rounded);
  }
  return sum;
}

double Histogram::least_error(int steps) const {
  double best = largest_, least = error(largest_, steps);
  for (int i = 1; i < kCandidates; ++i) {
    const double limit = double{largest_} * i / kCandidates;
    const double candidate = error(limit, steps);
    if (candidate < least) {
      least = candidate;
      best = limit;
    }
  }
  return best;
}

double Histogram::share_above(double limit) const {
  if (count_ == 0 || width_ == 0) return 0;
  int64_t above = 0;
  for (auto i = static_cast<size_t>(std::ceil(limit / width_)); i < bins_.size(); ++i) above += bins_[i];
  return static_cast<double>(above) / static_cast<double>(count_);
}

}  // namespace lasnet
