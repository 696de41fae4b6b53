// What a network costs as a function of its masks: MACs, or the time that the latency model predicts. Losses,
// allocation and control know no other difference between the two.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/geometry.h"
#include "train/deployment.h"

namespace lasnet {

/// A dynamic block's cost over that of the static network. It is linear in what masks compute, plus a curve
/// over the rate. MACs have no curve, and times are nothing else.
class BlockCost {
 public:
  using Terms = BlockMacs::Terms;

  explicit BlockCost(const Terms& terms) : terms_(terms) {}
  /// Costs at rates from 0 to 1 in even steps, at least two.
  explicit BlockCost(std::vector<double> curve) : curve_(std::move(curve)) {}

  double at(double rate, double dilated_rate) const;
  /// The cost as terms alone, exact at this rate and with the slope that it has there. A slope is never below
  /// 0.
  Terms near(double rate) const;
  /// As terms alone, exact where nothing is active and where everything is.
  Terms overall() const;
  /// The same but for a constant: what `predicted` says at this rate.
  BlockCost through(double rate, double predicted) const;

 private:
  /// The curve around a rate.
  struct Line {
    double value = 0, slope = 0;
  };
  Line line_at(double rate) const;

  Terms terms_;
  std::vector<double> curve_;
};

class NetworkCost {
 public:
  static NetworkCost macs(const ModelSpec& spec, MapSize image);
  /// By the latency model: of each block its own program's time over the rate, in eleven points, where all
  /// blocks have that rate. Throws Error as predict_latency does.
  static NetworkCost time(const ModelSpec& spec, const Deployment& deployment);

  /// Of the dynamic blocks, in network order.
  const std::vector<BlockCost>& blocks() const { return blocks_; }
  /// Of stem, head and static blocks.
  double fixed() const { return fixed_; }
  /// Where nothing is active.
  double least() const;
  /// What shares are of: "MACs" or "predicted time".
  std::string unit() const { return timing_ ? "predicted time" : "MACs"; }

  /// The same, through what is predicted for these rates of the blocks: a block's time depends on the
  /// schedules of those around it. MACs stay as they are.
  NetworkCost settled_at(const std::vector<double>& rates) const;

  /// What the latency model predicts for these rates, or without any for the static network. Nothing for
  /// MACs.
  std::optional<double> milliseconds(const std::vector<double>& rates) const;

 private:
  struct Timing {
    ModelSpec spec;
    Deployment deployment;
    double static_s = 0;

    /// One rate for each dynamic block.
    NetworkLatency predict(const std::vector<double>& rates) const;
  };

  std::vector<BlockCost> blocks_;
  double fixed_ = 0;
  std::shared_ptr<const Timing> timing_;  ///< of times
};

}  // namespace lasnet
