// How many pixels a block computes, as a distribution: the exact expectation of the dilated mask from the
// geometry, and the few scenarios over which a block's time is averaged.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lasnet/engine.h"
#include "lasnet/geometry.h"

namespace lasnet {

/// One possible outcome of a block's mask over a batch.
struct ActiveCounts {
  double probability = 1;
  double patches = 0;       ///< active ones
  double active = 0;        ///< pixels of M
  double dilated = 0;       ///< pixels of D
  double images = 0;        ///< with at least one active patch
  bool everything = false;  ///< every patch is active: the engine builds no lists
};

/// The masks of one block over a batch.
struct BlockActivity {
  double rate = 1;                      ///< of patches
  std::vector<ActiveCounts> scenarios;  ///< probabilities add up to 1

  /// Expectation of `value` (a function of ActiveCounts).
  template <typename Value>
  double mean(Value&& value) const {
    double sum = 0;
    for (const ActiveCounts& counts : scenarios) sum += counts.probability * value(counts);
    return sum;
  }
};

/// How many patches the pixels of D depend on: pixel (v, u) is in D if any of rows(v) x columns(u) patches is
/// active (method: dilated mask). `histogram[k]` pixels depend on k patches.
class DilationHistogram {
 public:
  explicit DilationHistogram(const BlockGeometry& geometry);

  /// Expected pixels of D in one image if each patch is active by itself with probability `rate`.
  double expected(double rate) const;
  /// The same if exactly `active` of `patches` patches are, every choice equally likely; `patches` may count
  /// several images' patches.
  double expected(int64_t active, int64_t patches) const;

 private:
  std::array<double, 10> histogram_ = {};
};

/// Independent patches: the number of active ones is binomial. Few patches are summed exactly, many by
/// Gauss-Hermite quadrature, so that a block's time is its expected time, ceilings included.
BlockActivity independent_activity(const BlockGeometry& geometry, int64_t batch, double rate);

/// Every pixel of every image.
ActiveCounts full_counts(const BlockGeometry& geometry, int64_t batch);

/// One scenario: what these patches [batch, rows, cols] compute. Throws Error if their number is wrong.
BlockActivity recorded_activity(const BlockGeometry& geometry, int64_t batch,
                                std::span<const uint8_t> patches);

}  // namespace lasnet
