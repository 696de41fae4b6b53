#include "calibrate/cuda_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lasnet {
namespace {

/// Weight of the logarithmic distance from the prior against a row: decides only what no row does.
constexpr double kPriorWeight = 1e-5;
/// First steps of logarithms: costs of another device are within a few times the prior's.
constexpr double kLogStep = 0.5;
constexpr int kRestarts = 8, kMoves = 2000;
constexpr double kSettled = 1e-10;

using Point = std::vector<double>;
using Loss = std::function<double(const Point&)>;

/// a + share * (b - a).
Point between(const Point& a, const Point& b, double share) {
  Point point(a.size());
  for (size_t i = 0; i < a.size(); ++i) point[i] = a[i] + share * (b[i] - a[i]);
  return point;
}

/// A simplex that crawls downhill.
class Simplex {
 public:
  Simplex(const Loss& loss, const Point& start, double step) : loss_(loss) {
    add(start);
    for (size_t i = 0; i < start.size(); ++i) {
      Point corner = start;
      corner[i] += step;
      add(corner);
    }
    sort();
  }

  bool settled() const {
    return corners_.back().loss - corners_.front().loss <= kSettled * (1e-9 + corners_.front().loss);
  }
  const Point& best() const { return corners_.front().point; }
  double least() const { return corners_.front().loss; }

  void move() {
    const Corner worst = corners_.back();
    const Point centre = centre_of_others();
    const Corner reflected = at(between(worst.point, centre, 2));
    if (reflected.loss < corners_.front().loss) {
      const Corner further = at(between(worst.point, centre, 3));
      corners_.back() = further.loss < reflected.loss ? further : reflected;
    } else if (reflected.loss < corners_[corners_.size() - 2].loss) {
      corners_.back() = reflected;
    } else {
      const Corner nearer =
          at(between(reflected.loss < worst.loss ? reflected.point : worst.point, centre, 0.5));
      if (nearer.loss < std::min(reflected.loss, worst.loss)) {
        corners_.back() = nearer;
      } else {
        shrink();
      }
    }
    sort();
  }

 private:
  struct Corner {
    Point point;
    double loss;
  };

  Corner at(Point point) const {
    const double loss = loss_(point);
    return {std::move(point), loss};
  }
  void add(const Point& point) { corners_.push_back(at(point)); }
  void sort() {
    std::stable_sort(corners_.begin(), corners_.end(),
                     [](const Corner& a, const Corner& b) { return a.loss < b.loss; });
  }
  Point centre_of_others() const {
    Point centre(best().size());
    for (size_t c = 0; c + 1 < corners_.size(); ++c) {
      for (size_t i = 0; i < centre.size(); ++i)
        centre[i] += corners_[c].point[i] / static_cast<double>(centre.size());
    }
    return centre;
  }
  void shrink() {
    for (size_t c = 1; c < corners_.size(); ++c)
      corners_[c] = at(between(corners_.front().point, corners_[c].point, 0.5));
  }

  const Loss& loss_;
  std::vector<Corner> corners_;
};

/// Minimises the mean square of `errors(costs)` (logarithms of ratios) over the costs.
template <typename MeanSquare>
std::vector<double> fit_logarithms(const std::vector<double>& prior, const MeanSquare& mean_square) {
  std::vector<double> start;
  for (const double cost : prior) start.push_back(std::log(cost));
  const auto exponentials = [](Point point) {
    for (double& value : point) value = std::exp(value);
    return point;
  };
  const Loss loss = [&](const Point& point) {
    double pull = 0;
    for (size_t i = 0; i < point.size(); ++i) pull += (point[i] - start[i]) * (point[i] - start[i]);
    return mean_square(exponentials(point)) + kPriorWeight * pull;
  };
  return exponentials(minimise(loss, start, kLogStep));
}

template <typename Sample, typename Predict>
double mean_square_error(const std::vector<const Sample*>& samples, const Predict& predict) {
  double sum = 0;
  for (const Sample* sample : samples) {
    const double error = std::log(predict(*sample) / sample->seconds);
    sum += error * error;
  }
  return sum / static_cast<double>(samples.size());
}

std::vector<double> values_of(const CudaTileCost& cost) {
  return {cost.step_ns, cost.rest_ns, cost.rest_adding_ns, cost.step_alone_ns, cost.rest_alone_ns};
}
CudaTileCost cost_of(const std::vector<double>& values) {
  return {values[0], values[1], values[2], values[3], values[4]};
}

/// Costs that are fitted together, to the kernels that have any of the units (of plain streams: nothing
/// else).
struct CostGroup {
  std::vector<CudaUnit> units;
  bool cache = false;  ///< and the second-level cache

  bool includes(const CudaCounts& counts) const {
    const auto counted = [&](CudaUnit unit) { return counts[unit] > 0; };
    if (!cache) return std::any_of(units.begin(), units.end(), counted);
    for (int i = 0; i < kCudaUnits; ++i) {
      const auto unit = static_cast<CudaUnit>(i);
      if (counted(unit) && std::find(units.begin(), units.end(), unit) == units.end()) return false;
    }
    return true;
  }

  std::vector<double> get(const CudaHardware& hardware) const {
    std::vector<double> values;
    for (const CudaUnit unit : units) values.push_back(hardware.cost(unit));
    if (cache) values.insert(values.end(), {hardware.l2_mb, hardware.memory_factor});
    return values;
  }
  void set(CudaHardware& hardware, const std::vector<double>& values) const {
    for (size_t i = 0; i < units.size(); ++i) hardware.seconds_per[static_cast<size_t>(units[i])] = values[i];
    if (cache) hardware.l2_mb = values[units.size()], hardware.memory_factor = values[units.size() + 1];
  }
};

const std::vector<CostGroup>& cost_groups() {
  static const std::vector<CostGroup> groups = {
      {{CudaUnit::kernel, CudaUnit::wait, CudaUnit::stream}, true},
      {{CudaUnit::branch}},
      {{CudaUnit::masker, CudaUnit::masker_row, CudaUnit::masker_step, CudaUnit::masker_product}},
      {{CudaUnit::list, CudaUnit::list_look_back, CudaUnit::list_pixel, CudaUnit::list_chunk}},
      {{CudaUnit::mean_step}},
      {{CudaUnit::excite_step}},
      {{CudaUnit::head, CudaUnit::head_step}}};
  return groups;
}

}  // namespace

double predicted_seconds(const CudaConvSample& sample, const CudaTileCosts& costs) {
  return expected_seconds(cuda_tile(sample.shape, sample.work.precision), sample.work, costs);
}

std::vector<double> minimise(const Loss& loss, std::vector<double> start, double step) {
  for (int restart = 0; restart < kRestarts; ++restart) {
    const double before = loss(start);
    Simplex simplex(loss, start, step);
    for (int move = 0; move < kMoves && !simplex.settled(); ++move) simplex.move();
    start = simplex.best();
    if (before - simplex.least() <= 1e-6 * before) break;
  }
  return start;
}

CudaTileCosts fit_cuda_tiles(const std::vector<CudaConvSample>& samples, const CudaTileCosts& prior) {
  CudaTileCosts fitted = prior;
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16}) {
    const CudaTileTable table = tile_table(precision);
    for (size_t shape = 0; shape < kCudaTileShapes; ++shape) {
      std::vector<const CudaConvSample*> own;
      for (const CudaConvSample& sample : samples) {
        const bool same = tile_table(sample.work.precision) == table;
        if (same && static_cast<size_t>(sample.shape) == shape) own.push_back(&sample);
      }
      if (own.empty()) continue;
      CudaTileCost& cost = (fitted.*table)[shape];
      CudaTileCosts trial = fitted;
      cost = cost_of(fit_logarithms(values_of(cost), [&](const std::vector<double>& values) {
        (trial.*table)[shape] = cost_of(values);
        return mean_square_error(
            own, [&](const CudaConvSample& sample) { return predicted_seconds(sample, trial); });
      }));
    }
  }
  return fitted;
}

CudaHardware fit_cuda_units(const std::vector<CudaKernelSample>& samples, const CudaHardware& prior) {
  CudaHardware fitted = prior;
  for (const CostGroup& group : cost_groups()) {
    std::vector<const CudaKernelSample*> own;
    for (const CudaKernelSample& sample : samples) {
      if (group.includes(sample.counts)) own.push_back(&sample);
    }
    if (own.empty()) continue;
    CudaHardware trial = fitted;
    group.set(fitted, fit_logarithms(group.get(fitted), [&](const std::vector<double>& values) {
                group.set(trial, values);
                return mean_square_error(own, [&](const CudaKernelSample& sample) {
                  return kernel_seconds(sample.counts, trial);
                });
              }));
  }
  return fitted;
}

}  // namespace lasnet
