#include "train/head_fit.h"

#include <cmath>

#include "train/autocast.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

constexpr int kSteps = 400;
constexpr double kMomentum = 0.9;
constexpr double kDecay = 3e-3;
constexpr double kLeastDeviation = 1e-12;

/// The largest eigenvalue of x^T x / N, by power iteration.
double largest_eigenvalue(const torch::Tensor& x) {
  torch::Tensor direction = torch::ones({x.size(1)}) / std::sqrt(static_cast<double>(x.size(1)));
  double value = 0;
  for (int i = 0; i < 20; ++i) {
    direction = x.t().mv(x.mv(direction)) / static_cast<double>(x.size(0));
    value = direction.norm().item<double>();
    direction = direction / std::max(value, 1e-12);
  }
  return value;
}

/// Softmax regression by gradient descent with momentum; [classes, features + 1], the last column being 1's.
torch::Tensor regress(const torch::Tensor& x, const torch::Tensor& labels, int64_t classes) {
  const torch::Tensor wanted = torch::one_hot(labels, classes).to(torch::kFloat32);
  torch::Tensor weights = torch::zeros({x.size(1), classes}), velocity = torch::zeros_like(weights);
  // The loss's curvature is at most half the largest eigenvalue of the covariance.
  const double rate = 2.0 / (largest_eigenvalue(x) + kDecay);
  for (int step = 0; step < kSteps; ++step) {
    const torch::Tensor error = torch::softmax(x.mm(weights), 1) - wanted;
    const torch::Tensor gradient = x.t().mm(error) / static_cast<double>(x.size(0)) + kDecay * weights;
    velocity = kMomentum * velocity - rate * gradient;
    weights = weights + velocity;
  }
  return weights.t();
}

}  // namespace

std::optional<double> fit_head(MaskedNet& net, BatchStream images, bool mixed_precision,
                               const std::function<bool()>& proceed) {
  torch::NoGradGuard no_gradient;
  std::vector<torch::Tensor> features, labels;
  while (std::optional<Batch> batch = images.next()) {
    if (!proceed()) return std::nullopt;
    const AutocastScope precision(mixed_precision);
    const MaskedOutput output = net.forward(batch->images, {.kind = MaskPolicy::Kind::dense}, false);
    features.push_back(output.features.to(torch::kCPU));
    labels.push_back(batch->labels);
  }
  const torch::Tensor x = torch::cat(features), y = torch::cat(labels);
  // One scale for all: a feature that hardly ever moves must not get a large weight. If none does, so be it.
  const torch::Tensor mean = x.mean(0);
  const torch::Tensor deviation = (x - mean).square().mean().sqrt().clamp_min(kLeastDeviation);
  const torch::Tensor seen = torch::cat({(x - mean) / deviation, torch::ones({x.size(0), 1})}, 1);
  const torch::Tensor fitted = regress(seen, y, net.spec().arch.classes);

  Weights state = net.state();
  const torch::Tensor weight = fitted.narrow(1, 0, x.size(1)) / deviation;
  state[net.spec().head_name + ".weight"] = from_torch(weight);
  state[net.spec().head_name + ".bias"] = from_torch(fitted.select(1, x.size(1)) - weight.mv(mean));
  net.load(state);
  return seen.mm(fitted.t()).argmax(1).eq(y).to(torch::kFloat64).mean().item<double>();
}

}  // namespace lasnet
