// Sums gradients over the processes in buckets, while the backward pass goes on.
#pragma once

#include <memory>
#include <vector>

#include "train/masked_net.h"
#include "train/world.h"

namespace lasnet {

class GradientSum {
 public:
  /// In a world of one it does nothing. The world has to outlive it.
  GradientSum(World& world, const std::vector<NamedTensor>& parameters);

  /// Before a backward pass: a bucket is sent as soon as all its gradients are there.
  void begin();
  /// After it: returns when all gradients are sums.
  void finish();

 private:
  struct Buckets;
  std::shared_ptr<Buckets> buckets_;  ///< null in a world of one
};

}  // namespace lasnet
