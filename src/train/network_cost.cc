#include "train/network_cost.h"

#include <algorithm>
#include <cmath>

namespace lasnet {
namespace {

constexpr int kCurveSteps = 10;

/// Seconds of the dynamic blocks.
std::vector<double> dynamic_seconds(const ModelSpec& spec, const NetworkLatency& latency) {
  std::vector<double> seconds;
  for (size_t i = 0; i < spec.blocks.size(); ++i)
    if (spec.blocks[i].is_dynamic()) seconds.push_back(latency.blocks[i].dynamic_s);
  return seconds;
}

}  // namespace

BlockCost::Line BlockCost::line_at(double rate) const {
  if (curve_.empty()) return {};
  const double place = std::clamp(rate, 0.0, 1.0) * static_cast<double>(curve_.size() - 1);
  const size_t step = std::min(static_cast<size_t>(place), curve_.size() - 2);
  const double rise = curve_[step + 1] - curve_[step];
  return {.value = curve_[step] + (place - static_cast<double>(step)) * rise,
          .slope = rise * static_cast<double>(curve_.size() - 1)};
}

double BlockCost::at(double rate, double dilated_rate) const {
  return terms_.always + (rate > 0 ? terms_.nonempty : 0) + terms_.dilated * dilated_rate +
         terms_.active * rate + line_at(rate).value;
}

BlockCost::Terms BlockCost::near(double rate) const {
  const Line line = line_at(rate);
  const double slope = std::max(line.slope, 0.0);
  Terms terms = terms_;
  terms.always += line.value - slope * rate;
  terms.active += slope;
  return terms;
}

BlockCost::Terms BlockCost::overall() const {
  const double empty = line_at(0).value;
  Terms terms = terms_;
  terms.always += empty;
  terms.active += line_at(1).value - empty;
  return terms;
}

BlockCost BlockCost::through(double rate, double predicted) const {
  BlockCost moved = *this;
  moved.terms_.always += predicted - at(rate, rate);
  return moved;
}

NetworkCost NetworkCost::macs(const ModelSpec& spec, MapSize image) {
  const NetworkGeometry geometry = network_geometry(spec, image);
  const auto total = static_cast<double>(static_macs(spec, image));
  auto fixed = static_cast<double>(fixed_macs(spec, geometry));
  NetworkCost cost;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const BlockMacs macs = block_macs(spec.blocks[i], geometry.blocks[i]);
    if (!spec.blocks[i].is_dynamic()) {
      fixed += static_cast<double>(macs.static_total());
      continue;
    }
    const BlockMacs::Terms terms = macs.terms();
    cost.blocks_.emplace_back(BlockMacs::Terms{.always = terms.always / total,
                                               .nonempty = terms.nonempty / total,
                                               .dilated = terms.dilated / total,
                                               .active = terms.active / total});
  }
  cost.fixed_ = fixed / total;
  return cost;
}

NetworkLatency NetworkCost::Timing::predict(const std::vector<double>& rates) const {
  LatencyQuery query = deployment.query;
  auto rate = rates.begin();
  for (const BlockSpec& block : spec.blocks) query.rates.push_back(block.is_dynamic() ? *rate++ : 1);
  return predict_latency(spec, deployment.hardware, query);
}

NetworkCost NetworkCost::time(const ModelSpec& spec, const Deployment& deployment) {
  Timing timing{.spec = spec, .deployment = deployment};
  const auto dynamic = std::ranges::count_if(spec.blocks, &BlockSpec::is_dynamic);
  std::vector<std::vector<double>> curves(static_cast<size_t>(dynamic));
  NetworkCost cost;
  for (int step = 0; step <= kCurveSteps; ++step) {
    const std::vector<double> rates(curves.size(), static_cast<double>(step) / kCurveSteps);
    const NetworkLatency latency = timing.predict(rates);
    timing.static_s = latency.static_s;
    cost.fixed_ = latency.dynamic_s / latency.static_s;
    const std::vector<double> seconds = dynamic_seconds(spec, latency);
    for (size_t i = 0; i < curves.size(); ++i) {
      curves[i].push_back(seconds[i] / latency.static_s);
      cost.fixed_ -= curves[i].back();
    }
  }
  for (std::vector<double>& curve : curves) cost.blocks_.emplace_back(std::move(curve));
  cost.timing_ = std::make_shared<const Timing>(std::move(timing));
  return cost;
}

double NetworkCost::least() const {
  double sum = fixed_;
  for (const BlockCost& block : blocks_) sum += block.at(0, 0);
  return sum;
}

NetworkCost NetworkCost::settled_at(const std::vector<double>& rates) const {
  if (!timing_) return *this;
  const std::vector<double> seconds = dynamic_seconds(timing_->spec, timing_->predict(rates));
  NetworkCost settled = *this;
  for (size_t i = 0; i < seconds.size(); ++i)
    settled.blocks_[i] = blocks_[i].through(rates[i], seconds[i] / timing_->static_s);
  return settled;
}

std::optional<double> NetworkCost::milliseconds(const std::vector<double>& rates) const {
  if (!timing_) return std::nullopt;
  return 1e3 * (rates.empty() ? timing_->static_s : timing_->predict(rates).dynamic_s);
}

}  // namespace lasnet
