// Masks of a batch as differentiable tensors: patch logits -> decisions -> mask M -> dilated mask D.
// The semantics are those of lasnet/mask.h (paper section 3.1); here they run densely over a batch, with
// gradients.
#pragma once

#include <torch/types.h>

#include "base/random.h"
#include "lasnet/model.h"

namespace lasnet {

/// The mean of x over the input pixels under each patch, [N, Cin, ceil(H'/S), ceil(W'/S)]. x: [N, Cin, H, W];
/// `stride` relates x to the output map H' = ceil(H / stride).
torch::Tensor pool_under_patches(const torch::Tensor& x, int granularity, int stride);

/// logit0 - logit1 of every patch, [N, 1, rows, cols]: the masker's 1x1 convolution, weight [2, Cin, 1, 1],
/// bias [2], of pool_under_patches.
torch::Tensor patch_logit_difference(const torch::Tensor& pooled, const torch::Tensor& weight,
                                     const torch::Tensor& bias);

/// Differences of two standard Gumbel samples, i.e. standard logistic samples. With several processes `shape`
/// is of a process's images, `first` among the `total` of a batch, and the samples are those that one process
/// would give them.
torch::Tensor logistic_noise(torch::IntArrayRef shape, Random& random);
torch::Tensor logistic_noise(torch::IntArrayRef shape, int64_t first, int64_t total, Random& random);

/// Hard Gumbel-softmax over two logits with straight-through gradient (paper section 3.4). With two classes
/// the softmax of (logits + gumbel) / temperature is sigmoid((difference + noise) / temperature), where the
/// noise is logistic. Values are exactly 0 or 1; the gradient is the sigmoid's.
torch::Tensor sample_patches(const torch::Tensor& difference, const torch::Tensor& noise, double temperature);

/// 1 where difference >= 0, else 0: the decision at inference. No gradient.
torch::Tensor decide_patches(const torch::Tensor& difference);

/// Repeats [N, 1, rows, cols] over S x S pixels, clipped to `map`: M [N, 1, map.height, map.width].
torch::Tensor expand_to_map(const torch::Tensor& patches, int granularity, MapSize map);

/// D [N, 1, input.height, input.width]: where a 3x3 stride-s convolution with padding 1 reads for active
/// outputs. A mask of 0 and 1 gets gradients as from a max-pool whose equal maxima share the gradient. A
/// library's max-pool gives it to the first of them, which in masks would be the pixel at the top left.
torch::Tensor dilate(const torch::Tensor& mask, int stride, MapSize input);

}  // namespace lasnet
