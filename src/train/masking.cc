#include "train/masking.h"

#include <cmath>

namespace lasnet {
namespace {

/// A patch larger than the map is clipped to it, which keeps kernel sizes legal for any granularity.
int64_t clipped(int64_t extent, int64_t limit) { return std::min(extent, limit); }

torch::Tensor pool_patches(const torch::Tensor& x, int64_t window) {
  int64_t height = clipped(window, x.size(2));
  int64_t width = clipped(window, x.size(3));
  if (height == 1 && width == 1) return x;
  return torch::avg_pool2d(x, {height, width}, {height, width}, /*padding=*/0, /*ceil_mode=*/true,
                           /*count_include_pad=*/false);
}

}  // namespace

torch::Tensor pool_under_patches(const torch::Tensor& x, int granularity, int stride) {
  return pool_patches(x, int64_t{granularity} * stride);
}

torch::Tensor patch_logit_difference(const torch::Tensor& pooled, const torch::Tensor& weight,
                                     const torch::Tensor& bias) {
  // One output channel instead of two, and the same dot product that the engine computes.
  return torch::conv2d(pooled, weight[0].sub(weight[1]).unsqueeze(0), bias[0].sub(bias[1]).unsqueeze(0));
}

torch::Tensor logistic_noise(torch::IntArrayRef shape, Random& random) {
  return logistic_noise(shape, 0, shape[0], random);
}

torch::Tensor logistic_noise(torch::IntArrayRef shape, int64_t first, int64_t total, Random& random) {
  torch::Tensor noise = torch::empty(shape, torch::kFloat32);
  const int64_t of_image = noise.numel() / std::max<int64_t>(shape[0], 1);
  const auto skip = [&](int64_t images) {
    for (int64_t i = 0; i < images * of_image; ++i) random.uniform();
  };
  skip(first);
  float* values = noise.data_ptr<float>();
  for (int64_t i = 0; i < noise.numel(); ++i) {
    double u = random.uniform() + 0x1.0p-54;  // never 0, and below 1
    values[i] = static_cast<float>(std::log(u / (1.0 - u)));
  }
  skip(total - first - shape[0]);
  return noise;
}

torch::Tensor sample_patches(const torch::Tensor& difference, const torch::Tensor& noise,
                             double temperature) {
  torch::Tensor perturbed = difference + noise;
  torch::Tensor soft = torch::sigmoid(perturbed / temperature);
  // soft - soft is exactly 0, so the value stays exactly hard.
  return decide_patches(perturbed) + (soft - soft.detach());
}

torch::Tensor decide_patches(const torch::Tensor& difference) {
  return difference.detach().ge(0).to(difference.scalar_type());
}

torch::Tensor expand_to_map(const torch::Tensor& patches, int granularity, MapSize map) {
  int64_t height = clipped(granularity, map.height);
  int64_t width = clipped(granularity, map.width);
  if (height == 1 && width == 1) return patches;
  int64_t n = patches.size(0), rows = patches.size(2), cols = patches.size(3);
  // A broadcast, because its backward is a plain sum (repeat_interleave's is a scattered add).
  return patches.reshape({n, 1, rows, 1, cols, 1})
      .expand({n, 1, rows, height, cols, width})
      .reshape({n, 1, rows * height, cols * width})
      .narrow(2, 0, map.height)
      .narrow(3, 0, map.width);
}

namespace {

/// Output (y, x) moves to input (s*y, s*x), zeros between.
torch::Tensor spread(const torch::Tensor& mask, int stride, MapSize input) {
  if (stride == 1) return mask;
  int64_t n = mask.size(0), height = mask.size(2), width = mask.size(3);
  return torch::constant_pad_nd(mask.reshape({n, 1, height, 1, width, 1}),
                                {0, stride - 1, 0, 0, 0, stride - 1})
      .reshape({n, 1, height * stride, width * stride})
      .narrow(2, 0, input.height)
      .narrow(3, 0, input.width);
}

/// Sums over 3x3 windows.
torch::Tensor window_sums(const torch::Tensor& x) {
  return torch::avg_pool2d(x, /*kernel_size=*/3, /*stride=*/1, /*padding=*/1, /*ceil_mode=*/false,
                           /*count_include_pad=*/true, /*divisor_override=*/1);
}

/// The mean of those mask pixels of each window that are as large as its largest: a function of the maximum's
/// value whose gradient the ties share.
torch::Tensor mean_of_largest(const torch::Tensor& mask, const torch::Tensor& dilated, int stride,
                              MapSize input) {
  torch::Tensor hard = mask.detach();
  auto mean_over = [&](const torch::Tensor& pixels) {
    torch::Tensor count = window_sums(spread(pixels, stride, input));
    return window_sums(spread(mask * pixels, stride, input)) / count.clamp_min(1);
  };
  return torch::where(dilated.gt(0), mean_over(hard), mean_over(torch::ones_like(hard)));
}

}  // namespace

torch::Tensor dilate(const torch::Tensor& mask, int stride, MapSize input) {
  torch::Tensor dilated =
      torch::max_pool2d(spread(mask.detach(), stride, input), /*kernel_size=*/3, /*stride=*/1,
                        /*padding=*/1);
  if (!torch::GradMode::is_enabled() || !mask.requires_grad()) return dilated;
  torch::Tensor shared = mean_of_largest(mask, dilated, stride, input);
  // shared - shared is exactly 0, so the value stays the maximum.
  return dilated + (shared - shared.detach());
}

}  // namespace lasnet
