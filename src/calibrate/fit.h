// Fitting the seconds per unit of work to measured times: non-negative least squares of relative errors.
#pragma once

#include <array>
#include <initializer_list>
#include <vector>

#include "backends/cpu/prices.h"

namespace lasnet {

/// One equation: counts . seconds_per = seconds.
struct FitRow {
  WorkCounts counts = {};
  double seconds = 0;
};

/// How well predictions meet measurements; relative errors (predicted / measured - 1).
struct FitQuality {
  size_t points = 0;
  double mape = 0;                                    ///< mean absolute
  double rmspe = 0;                                   ///< root of the mean square
  double within_5 = 0, within_10 = 0, within_15 = 0;  ///< shares of points
};
FitQuality fit_quality(const std::vector<double>& predicted, const std::vector<double>& measured);

/// Minimises the squared relative errors over seconds >= 0, errors beyond a few per cent counting linearly
/// (Huber), so that a disturbed measurement does not bend the fit. Where rows say nothing of a unit, it stays
/// at `prior`, as units in `known` do. Deterministic.
std::array<double, kWorkUnits> fit_costs(const std::vector<FitRow>& rows,
                                         const std::array<double, kWorkUnits>& prior,
                                         std::initializer_list<WorkUnit> known = {});

}  // namespace lasnet
