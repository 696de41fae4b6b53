// MACs of a network whose blocks compute these shares, over the static network's.
#pragma once

#include <functional>

#include "lasnet/geometry.h"

namespace lasnet {

/// What a dynamic block computes.
struct ComputedShares {
  double nonempty = 1;  ///< of the images: those with at least one active patch
  double dilated = 1;   ///< of D's map
  double active = 1;    ///< of M's map
};

/// Expected, if every patch is active by itself with probability `rate`.
ComputedShares expected_shares(const BlockGeometry& block, double rate);

/// `shares_of`: of a dynamic block, by its place.
double macs_ratio(const ModelSpec& spec, const NetworkGeometry& geometry,
                  const std::function<ComputedShares(size_t)>& shares_of);

}  // namespace lasnet
