// The oracle: every operator as plain loops over dense NHWC tensors [N, H, W, C], summed in double. Never
// tuned.
#pragma once

#include <vector>

#include "lasnet/mask.h"
#include "lasnet/tensor.h"

namespace lasnet::reference {

/// [N, C, H, W] -> [N, H, W, C].
Tensor nchw_to_nhwc(const TensorView& x);
/// [N, H, W, C] -> [N, C, H, W].
Tensor nhwc_to_nchw(const TensorView& x);

/// y = conv(x, weight [out, in / groups, k, k]) + bias [out]; padding k / 2 * dilation, square stride.
Tensor conv2d(const Tensor& x, const Tensor& weight, const std::vector<float>& bias, int stride, int groups,
              int dilation = 1);

void relu(Tensor& x);

/// 3x3, stride 2, padding 1 (padding never wins).
Tensor max_pool(const Tensor& x);

/// Mean over H and W: [N, C].
Tensor average_pool(const Tensor& x);

/// x [N, in] times weight [out, in] transposed, plus bias: [N, out].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

/// Masker logits' difference per patch [N, rows, cols]: mean of x over the patch window, then weight [2, C,
/// 1, 1] and bias [2] (paper eq. 1 with the pooling first).
Tensor masker_differences(const Tensor& x, const PatchGrid& grid, int stride, const Tensor& weight,
                          const Tensor& bias);

/// Squeeze-and-Excitation's two layers: weights [squeeze, C, 1, 1] and [C, squeeze, 1, 1] with their biases.
struct SqueezeExcite {
  const Tensor& fc1_weight;
  const Tensor& fc1_bias;
  const Tensor& fc2_weight;
  const Tensor& fc2_bias;
};

/// z * sigmoid(fc2(ReLU(fc1(mean of z)))), the mean per image and channel over the pixels where pool_mask
/// [N, H, W] is 1 (0 where there is none).
Tensor squeeze_excite(const Tensor& z, const ByteTensor& pool_mask, const SqueezeExcite& layers);

/// identity + mask * body where mask [N, H', W'] multiplies all channels, then ReLU.
Tensor masked_residual(const Tensor& identity, const Tensor& body, const ByteTensor& mask);

}  // namespace lasnet::reference
