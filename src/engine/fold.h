// BatchNorm folded into convolutions, and the masker reduced to one dot product: what inference needs of the
// weights.
#pragma once

#include <vector>

#include "lasnet/model.h"

namespace lasnet {

inline constexpr double kBatchNormEpsilon = 1e-5;

/// y = conv(x, weight) + bias equals BatchNorm(conv(x)) on running statistics.
struct FoldedConv {
  Tensor weight;            ///< [out, in / groups, k, k]
  std::vector<float> bias;  ///< [out]
};

/// Folded in double precision. `weights` must have passed check_weights.
FoldedConv fold(const ConvSpec& conv, const Weights& weights);

/// logit0 - logit1 = weight . pooled + bias.
struct FoldedMasker {
  std::vector<float> weight;  ///< w0 - w1, [Cin]
  float bias = 0;             ///< b0 - b1
};

FoldedMasker fold_masker(const BlockSpec& block, const Weights& weights);

}  // namespace lasnet
