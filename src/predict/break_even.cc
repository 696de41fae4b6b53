#include "predict/break_even.h"

namespace lasnet {

double break_even(std::span<const double> densities, std::span<const double> speedups) {
  for (size_t i = densities.size(); i-- > 0;) {
    if (speedups[i] < 1) continue;
    if (i + 1 == densities.size()) return 1;
    const double beyond = (speedups[i] - 1) / (speedups[i] - speedups[i + 1]);
    return densities[i] + beyond * (densities[i + 1] - densities[i]);
  }
  return 0;
}

}  // namespace lasnet
