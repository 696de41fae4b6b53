#include "calibrate/fit.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace lasnet {
namespace {

/// Relative errors beyond this count linearly.
constexpr double kHuber = 0.05;
/// Weight of the prior against one row: decides only what no row does.
constexpr double kPriorWeight = 1e-4;
constexpr int kReweightings = 8, kSweeps = 4000;

using Costs = std::array<double, kWorkUnits>;

double predicted(const WorkCounts& counts, const Costs& costs) {
  double sum = 0;
  for (size_t i = 0; i < costs.size(); ++i) sum += counts[i] * costs[i];
  return sum;
}

/// Normal equations of the weighted rows, each divided by its time, in units of `scale`.
struct Normal {
  std::array<std::array<double, kWorkUnits>, kWorkUnits> matrix = {};
  Costs right = {};
};

Normal normal_equations(const std::vector<FitRow>& rows, const std::vector<double>& weights,
                        const Costs& scale, const Costs& prior) {
  Normal normal;
  for (size_t r = 0; r < rows.size(); ++r) {
    Costs scaled;
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] = rows[r].counts[i] * scale[i] / rows[r].seconds;
    for (size_t i = 0; i < scaled.size(); ++i) {
      normal.right[i] += weights[r] * scaled[i];
      for (size_t j = 0; j < scaled.size(); ++j) normal.matrix[i][j] += weights[r] * scaled[i] * scaled[j];
    }
  }
  for (size_t i = 0; i < scale.size(); ++i) {
    normal.matrix[i][i] += kPriorWeight;
    normal.right[i] += kPriorWeight * prior[i] / scale[i];
  }
  return normal;
}

/// Projected coordinate descent over `free` units: converges for positive definite matrices.
void solve(const Normal& normal, const std::vector<size_t>& free, Costs& x) {
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double change = 0;
    for (const size_t i : free) {
      double gradient = -normal.right[i];
      for (size_t j = 0; j < x.size(); ++j) gradient += normal.matrix[i][j] * x[j];
      const double next = std::max(0.0, x[i] - gradient / normal.matrix[i][i]);
      change = std::max(change, std::abs(next - x[i]));
      x[i] = next;
    }
    if (change < 1e-12) return;
  }
}

}  // namespace

FitQuality fit_quality(const std::vector<double>& predictions, const std::vector<double>& measured) {
  FitQuality quality{.points = measured.size()};
  if (measured.empty()) return quality;
  const auto count = static_cast<double>(measured.size());
  for (size_t i = 0; i < measured.size(); ++i) {
    const double error = std::abs(predictions[i] / measured[i] - 1);
    quality.mape += error / count;
    quality.rmspe += error * error / count;
    quality.within_5 += (error <= 0.05) / count;
    quality.within_10 += (error <= 0.10) / count;
    quality.within_15 += (error <= 0.15) / count;
  }
  quality.rmspe = std::sqrt(quality.rmspe);
  return quality;
}

std::array<double, kWorkUnits> fit_costs(const std::vector<FitRow>& rows, const Costs& prior,
                                         std::initializer_list<WorkUnit> known) {
  if (rows.empty()) fail("calibration: no measurements to fit");
  // Scaled to what each unit would cost if it alone took an average row's time, so that units compare.
  Costs scale;
  for (size_t i = 0; i < scale.size(); ++i) {
    double share = 0;
    for (const FitRow& row : rows) share += row.counts[i] / row.seconds / static_cast<double>(rows.size());
    scale[i] = share > 0 ? 1 / share : (prior[i] > 0 ? prior[i] : 1);
  }
  Costs x = {};
  std::vector<size_t> free;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool is_known = std::find(known.begin(), known.end(), static_cast<WorkUnit>(i)) != known.end();
    if (is_known) x[i] = prior[i] / scale[i];
    if (!is_known) free.push_back(i);
  }
  std::vector<double> weights(rows.size(), 1);
  Costs costs = {};
  for (int round = 0; round < kReweightings; ++round) {
    solve(normal_equations(rows, weights, scale, prior), free, x);
    for (size_t i = 0; i < costs.size(); ++i) costs[i] = x[i] * scale[i];
    for (size_t r = 0; r < rows.size(); ++r) {
      const double error = std::abs(predicted(rows[r].counts, costs) / rows[r].seconds - 1);
      weights[r] = error <= kHuber ? 1 : kHuber / error;
    }
  }
  return costs;
}

}  // namespace lasnet
