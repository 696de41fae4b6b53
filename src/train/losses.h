// Compute accounting and the loss terms of dynamic fine-tuning (paper section 3.4; method).
#pragma once

#include <torch/types.h>

#include "train/curves.h"
#include "train/masked_net.h"
#include "train/network_cost.h"

namespace lasnet {

/// What the masks of N images compute in the B dynamic blocks, [N, B] each.
struct MaskShares {
  torch::Tensor nonempty;  ///< 1 where any patch is active, else 0; without a gradient
  torch::Tensor dilated;   ///< mean of D
  torch::Tensor active;    ///< mean of M

  explicit MaskShares(const MaskedOutput& output);
  /// Rows for the three of them, [3, B].
  explicit MaskShares(const torch::Tensor& means);

  /// Of these images together, [3, B].
  torch::Tensor means() const;
  /// r of each block, of these images together.
  std::vector<double> rates() const;
};

/// Each row's mean over all images.
class MaskMeans {
 public:
  void add(const MaskedOutput& output);

  int64_t images() const { return images_; }
  MaskShares shares() const;          ///< [1, B]
  std::vector<double> rates() const;  ///< of the blocks

 private:
  torch::Tensor sum_;
  int64_t images_ = 0;
};

/// A network's cost, as a function of its masks that can be differentiated: each block's terms, times what
/// its masks compute. Masks are on `device`.
class CostAccount {
 public:
  /// Exact where nothing is active and where everything is.
  explicit CostAccount(const NetworkCost& cost, torch::Device device = torch::kCPU);
  /// Exact at these rates of the blocks, and near them.
  CostAccount(const NetworkCost& cost, const std::vector<double>& rates, torch::Device device = torch::kCPU);

  /// F per image, [N]: its cost over the static network's.
  torch::Tensor network_ratios(const MaskShares& masks) const;
  torch::Tensor network_ratios(const MaskedOutput& output) const;
  /// f_l of the images together, [B]: a block's cost over its own at full activity, masker and projection in
  /// both.
  torch::Tensor block_ratios(const MaskShares& masks) const;
  /// What a block's masks decide on, over the cost of the static network.
  const std::vector<double>& masked_shares() const { return masked_shares_; }

 private:
  CostAccount(const NetworkCost& cost, const std::vector<BlockCost::Terms>& blocks, torch::Device device);
  /// Of each image and dynamic block, [N, B].
  torch::Tensor block_costs(const MaskShares& masks) const;

  std::vector<double> masked_shares_;
  double fixed_ = 0;  ///< share of stem, head and static blocks
  // Per dynamic block [B], as shares of the static network's cost.
  torch::Tensor always_, nonempty_, dilated_, active_, full_;
};

/// The cost of the means over the static network's, exact there.
double cost_ratio(const NetworkCost& cost, const MaskMeans& masks);

/// (F - target)^2 with F the batch mean.
torch::Tensor flops_loss(const torch::Tensor& network_ratios, double target);

/// Mean over blocks of max(0, f - up)^2 + max(0, low - f)^2.
torch::Tensor bounds_loss(const torch::Tensor& block_ratios, Bounds bounds);

/// T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch. Logits [N, classes].
torch::Tensor distillation_loss(const torch::Tensor& student, const torch::Tensor& teacher,
                                double temperature);

/// Mean over maps of |student - teacher|^2 / |teacher|^2. Maps [N, C, H, W]. `mean_squares` are those of the
/// teacher's maps over the whole batch, where these are of a share of it.
torch::Tensor feature_loss(const std::vector<torch::Tensor>& student,
                           const std::vector<torch::Tensor>& teacher, const torch::Tensor& mean_squares);
torch::Tensor mean_squares(const std::vector<torch::Tensor>& maps);

/// Mean over the batch; labels int64 [N].
torch::Tensor classification_loss(const torch::Tensor& logits, const torch::Tensor& labels, double smoothing);

}  // namespace lasnet
