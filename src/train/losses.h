// Compute accounting and the loss terms of dynamic fine-tuning (paper section 3.4; method).
#pragma once

#include <torch/types.h>

#include "lasnet/geometry.h"
#include "train/curves.h"
#include "train/masked_net.h"

namespace lasnet {

/// MACs at one image size as differentiable functions of the activation rates. A block costs
/// BlockMacs::terms at mean(D) and mean(M).
class MacAccount {
 public:
  MacAccount(const ModelSpec& spec, MapSize image);

  /// F per image, [N]: MACs over the static network's.
  torch::Tensor network_ratios(const MaskedOutput& output) const;
  /// What masks decide on: a block's MACs over those of the static network.
  const std::vector<double>& masked_shares() const { return masked_shares_; }
  /// A dynamic block's MACs, masker and projection included, at these rates.
  double block_share(size_t block, double rate, double dilated_rate) const;
  /// Those of stem, head and static blocks.
  double fixed_share() const { return fixed_; }
  /// f_l of the batch, [B]: a block's MACs over its own at full activity, masker and projection in both.
  torch::Tensor block_ratios(const MaskedOutput& output) const;

 private:
  /// MACs of each image and dynamic block, [N, B].
  torch::Tensor block_costs(const MaskedOutput& output) const;

  std::vector<double> masked_shares_;
  double fixed_ = 0;  ///< share of stem, head and static blocks
  // Per dynamic block [B], as shares of the static network's MACs.
  torch::Tensor always_, nonempty_, dilated_, active_, full_;
};

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
