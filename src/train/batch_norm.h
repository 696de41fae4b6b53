// BatchNorm in training, over a process's images or over those of all processes.
#pragma once

#include <torch/types.h>

#include "train/world.h"

namespace lasnet {

/// Of every BatchNorm, as PyTorch has them: what a batch weighs in running statistics, and what is added to a
/// variance.
inline constexpr double kNormMomentum = 0.1, kNormEpsilon = 1e-5;

/// `gamma` and `beta` may be undefined; mean and variance are the running ones.
struct NormTensors {
  torch::Tensor gamma, beta, mean, variance;
  torch::Tensor seen_mean = {}, seen_variance = {};  ///< what `measuring` finds; else undefined
};

/// How statistics are taken.
struct NormPolicy {
  bool training = false;  ///< of the batch, and the running ones move; else they are the running ones
  double momentum = kNormMomentum;  ///< what a batch weighs in the running ones
  /// Whose processes share the batch; null: statistics are of a process's images alone, by libtorch's own
  /// kernel. In a world of one they differ by rounding only.
  World* world = nullptr;
  /// On running statistics: `momentum` moves the tensors' seen ones to those of the batch, which change
  /// nothing.
  bool measuring = false;
};

/// x: [N, C, H, W].
torch::Tensor batch_norm(const torch::Tensor& x, const NormTensors& norm, const NormPolicy& policy);

}  // namespace lasnet
