#include "lasnet/operating_point.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "predict/largest_share.h"

namespace lasnet {
namespace {

constexpr int64_t kUsualSide = 224;

/// Part of the way from one value to another.
template <typename Value>
std::vector<Value> blend(const std::vector<Value>& from, const std::vector<Value>& to, double part) {
  std::vector<Value> values;
  for (size_t i = 0; i < from.size(); ++i)
    values.push_back(std::lerp(from[i], to[i], static_cast<Value>(part)));
  return values;
}

/// A model's points as a line: point i stands at i, what is interpolated between.
class OperatingLine {
 public:
  explicit OperatingLine(const std::vector<OperatingPoint>& points) : points_(points) {}

  double last() const { return static_cast<double>(points_.size() - 1); }

  OperatingPoint at(double place) const {
    const auto index = static_cast<size_t>(place);
    const double part = place - std::floor(place);
    const OperatingPoint& from = points_[index];
    if (part == 0) return from;
    const OperatingPoint& to = points_[index + 1];
    OperatingPoint between{.macs_ratio = std::lerp(from.macs_ratio, to.macs_ratio, part),
                           .top1 = std::lerp(from.top1, to.top1, part),
                           .thresholds = blend(from.thresholds, to.thresholds, part),
                           .rates = blend(from.rates, to.rates, part),
                           .predicted_ms = {}};
    for (const auto& [profile, ms] : from.predicted_ms) {
      const auto found = to.predicted_ms.find(profile);
      if (found != to.predicted_ms.end()) between.predicted_ms[profile] = std::lerp(ms, found->second, part);
    }
    return between;
  }

  /// Where the MAC ratio is `macs`, which the first point does not exceed.
  double place_of_macs(double macs) const {
    const auto above = std::ranges::upper_bound(points_, macs, {}, &OperatingPoint::macs_ratio);
    if (above == points_.end()) return last();
    const OperatingPoint& below = *(above - 1);
    const double part = (macs - below.macs_ratio) / (above->macs_ratio - below.macs_ratio);
    return static_cast<double>(above - 1 - points_.begin()) + part;
  }

 private:
  const std::vector<OperatingPoint>& points_;
};

/// Of the CPU kernels that compute in it.
Precision host_precision(Precision precision) {
  return precision == Precision::int8 ? Precision::int8 : Precision::fp32;
}

double predicted_seconds(const Model& model, const OperatingPoint& point, const HardwareProfile& hardware,
                         const OperatingBudget& budget) {
  const int64_t side = model.preprocessing.crop > 0 ? model.preprocessing.crop : kUsualSide;
  const bool halves = budget.precision == Precision::bf16;
  return predict_latency(model.spec, hardware,
                         {.size = budget.size.value_or(MapSize{side, side}),
                          .batch = budget.batch,
                          .threads = budget.threads,
                          .precision = halves ? Precision::fp16 : budget.precision,
                          .rates = point.rates})
      .dynamic_s;
}

/// To the next multiple of 1 / `steps`: a least budget as it is printed is one that is met.
double rounded_up(double value, double steps) { return std::ceil(value * steps) / steps; }

OperatingPoint within_macs(const Model& model, double macs) {
  const double least = model.operating_points.front().macs_ratio;
  // With its maskers a network can have a little more than all MACs.
  if (macs > std::max(1.0, model.operating_points.back().macs_ratio))
    fail("budget of {:g} of the MACs: expected a ratio from 0 to 1", macs);
  if (!(macs >= least))
    fail("budget of {:g} of the MACs: the least that this model's operating points reach is {:.4f}", macs,
         rounded_up(least, 1e4));
  const OperatingLine line(model.operating_points);
  return line.at(line.place_of_macs(macs));
}

OperatingPoint within_seconds(const Model& model, const OperatingBudget& budget) {
  const HardwareProfile hardware =
      budget.hardware ? *budget.hardware : host_hardware(host_precision(budget.precision));
  const OperatingLine line(model.operating_points);
  const auto seconds_at = [&](double share) {
    return predicted_seconds(model, line.at(share * line.last()), hardware, budget);
  };
  const double least = seconds_at(0);
  if (!(*budget.seconds >= least)) {
    fail(
        "budget of {:g} ms: the least that this model's operating points are predicted to take on {} is "
        "{:.3f} ms",
        1e3 * *budget.seconds, hardware.name, rounded_up(1e3 * least, 1e3));
  }
  const double share = largest_share(*budget.seconds, seconds_at);
  OperatingPoint point = line.at(share * line.last());
  point.predicted_ms[hardware.name] = 1e3 * seconds_at(share);
  return point;
}

}  // namespace

OperatingPoint operating_point(const Model& model, const OperatingBudget& budget) {
  if (budget.macs.has_value() == budget.seconds.has_value())
    fail("budget: expected a MAC ratio or a time, one of the two");
  if (model.operating_points.empty()) {
    fail("budget: the model has no operating points; tuning it on labelled images finds them");
  }
  return budget.macs ? within_macs(model, *budget.macs) : within_seconds(model, budget);
}

double predicted_ms(const Model& model, const OperatingPoint& point, const HardwareProfile& hardware) {
  OperatingBudget of_one_image;
  of_one_image.precision = hardware.usual_precision();
  return 1e3 * predicted_seconds(model, point, hardware, of_one_image);
}

}  // namespace lasnet
