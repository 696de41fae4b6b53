// Where a rising density makes masks not worth their while.
#pragma once

#include <span>

namespace lasnet {

/// The largest density up to which masks pay, interpolated between densities in rising order and the
/// speed-ups there: 1 if they pay at the last one, 0 if at none.
double break_even(std::span<const double> densities, std::span<const double> speedups);

}  // namespace lasnet
