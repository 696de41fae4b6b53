#include "mask/activity.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "mask/window_axis.h"

namespace lasnet {
namespace {

/// Up to this many patches the binomial sum is exact.
constexpr int64_t kExactPatches = 16;
/// Nodes and weights of Gauss-Hermite quadrature for the standard normal.
struct Node {
  double deviations, weight;
};
constexpr Node kNodes[] = {{-2.8569700138728056, 0.011257411327720691},
                           {-1.3556261799742659, 0.22207592200561264},
                           {0, 0.53333333333333333},
                           {1.3556261799742659, 0.22207592200561264},
                           {2.8569700138728056, 0.011257411327720691}};

/// Positions along one axis by the number of patches they depend on: 0 to 3.
std::array<double, 4> axis_histogram(int64_t positions, const WindowAxis& axis) {
  std::array<double, 4> histogram = {};
  for (int64_t v = 0; v < positions; ++v) {
    histogram[static_cast<size_t>(patches_reading(v, axis).count)] += 1;
  }
  return histogram;
}

/// Probability that none of k given patches is among `active` of `patches`.
double none_chosen(int64_t k, int64_t active, int64_t patches) {
  double probability = 1;
  for (int64_t i = 0; i < k; ++i) {
    if (patches - i <= 0) break;
    probability *=
        std::max(0.0, static_cast<double>(patches - active - i) / static_cast<double>(patches - i));
  }
  return probability;
}

ActiveCounts counts_of(const BlockGeometry& geometry, const DilationHistogram& dilation, int64_t batch,
                       int64_t active) {
  const int64_t per_image = geometry.grid.patches(), all = per_image * batch;
  if (active == all) return full_counts(geometry, batch);
  const auto images = static_cast<double>(batch);
  const double share = static_cast<double>(active) / static_cast<double>(all);
  return {.probability = 1,
          .patches = static_cast<double>(active),
          .active = share * images * static_cast<double>(geometry.output.pixels()),
          .dilated = images * dilation.expected(active, all),
          .images = images * (1 - none_chosen(per_image, active, all)),
          .everything = false};
}

std::vector<double> binomial(int64_t n, double p) {
  std::vector<double> probabilities = {1};
  for (int64_t i = 0; i < n; ++i) {
    probabilities.push_back(0);
    for (size_t k = probabilities.size() - 1; k > 0; --k) {
      probabilities[k] = probabilities[k] * (1 - p) + probabilities[k - 1] * p;
    }
    probabilities[0] *= 1 - p;
  }
  return probabilities;
}

}  // namespace

DilationHistogram::DilationHistogram(const BlockGeometry& geometry) {
  const auto rows = axis_histogram(geometry.middle.height, rows_axis(geometry));
  const auto columns = axis_histogram(geometry.middle.width, columns_axis(geometry));
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < columns.size(); ++j) histogram_[i * j] += rows[i] * columns[j];
  }
}

double DilationHistogram::expected(double rate) const {
  double pixels = 0;
  for (size_t k = 0; k < histogram_.size(); ++k) {
    pixels += histogram_[k] * (1 - std::pow(1 - rate, static_cast<double>(k)));
  }
  return pixels;
}

double DilationHistogram::expected(int64_t active, int64_t patches) const {
  double pixels = 0;
  for (size_t k = 0; k < histogram_.size(); ++k) {
    if (histogram_[k] == 0) continue;
    pixels += histogram_[k] * (1 - none_chosen(static_cast<int64_t>(k), active, patches));
  }
  return pixels;
}

ActiveCounts full_counts(const BlockGeometry& geometry, int64_t batch) {
  const auto images = static_cast<double>(batch);
  const bool dynamic = geometry.grid.granularity > 0;
  return {.probability = 1,
          .patches = dynamic ? images * static_cast<double>(geometry.grid.patches()) : 0,
          .active = images * static_cast<double>(geometry.output.pixels()),
          .dilated = images * static_cast<double>(geometry.middle.pixels()),
          .images = images,
          .everything = true};
}

BlockActivity independent_activity(const BlockGeometry& geometry, int64_t batch, double rate) {
  const DilationHistogram dilation(geometry);
  const int64_t patches = geometry.grid.patches() * batch;
  BlockActivity activity{.rate = rate, .scenarios = {}};
  const auto add = [&](int64_t active, double probability) {
    for (ActiveCounts& known : activity.scenarios) {
      if (known.patches == static_cast<double>(active)) {
        known.probability += probability;
        return;
      }
    }
    activity.scenarios.push_back(counts_of(geometry, dilation, batch, active));
    activity.scenarios.back().probability = probability;
  };
  if (rate == 0 || rate == 1) {
    add(rate == 0 ? 0 : patches, 1);
  } else if (patches <= kExactPatches) {
    const std::vector<double> probabilities = binomial(patches, rate);
    for (size_t k = 0; k < probabilities.size(); ++k) add(static_cast<int64_t>(k), probabilities[k]);
  } else {
    const double mean = rate * static_cast<double>(patches);
    const double deviation = std::sqrt(mean * (1 - rate));
    for (const Node& node : kNodes) {
      add(std::clamp<int64_t>(std::llround(mean + node.deviations * deviation), 0, patches), node.weight);
    }
  }
  return activity;
}

BlockActivity recorded_activity(const BlockGeometry& geometry, int64_t batch,
                                std::span<const uint8_t> patches) {
  const int64_t per_image = geometry.grid.patches();
  if (static_cast<int64_t>(patches.size()) != per_image * batch) {
    fail("recorded masks: {} patches; expected {} x {}", patches.size(), batch, per_image);
  }
  std::vector<uint8_t> mask(static_cast<size_t>(geometry.output.pixels()));
  std::vector<uint8_t> dilated(static_cast<size_t>(geometry.middle.pixels()));
  ActiveCounts counts;
  for (int64_t n = 0; n < batch; ++n) {
    const auto of_image = patches.subspan(static_cast<size_t>(n * per_image), static_cast<size_t>(per_image));
    const auto active = std::count(of_image.begin(), of_image.end(), uint8_t{1});
    if (active == 0) continue;
    expand_patches(geometry.grid, of_image, mask);
    dilate_mask(mask, geometry.output, geometry.dilation_stride, geometry.middle, dilated, geometry.dilation);
    counts.patches += static_cast<double>(active);
    counts.active += activation_rate(mask) * static_cast<double>(mask.size());
    counts.dilated += activation_rate(dilated) * static_cast<double>(dilated.size());
    counts.images += 1;
  }
  const auto all = static_cast<double>(per_image * batch);
  if (counts.patches == all) counts = full_counts(geometry, batch);
  return {.rate = counts.patches / all, .scenarios = {counts}};
}

}  // namespace lasnet
