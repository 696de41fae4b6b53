// Accuracy that says nothing.
#pragma once

#include <cmath>
#include <cstdint>

namespace lasnet {

/// Whether guessing among `classes` gives a share as large as this, of so many images, within so many
/// standard deviations.
inline bool is_guessing(double share, int64_t images, int64_t classes, double deviations) {
  const double chance = 1 / static_cast<double>(classes);
  return share <= chance + deviations * std::sqrt(chance * (1 - chance) / static_cast<double>(images));
}

}  // namespace lasnet
