#include "train/batch_norm.h"

#include <torch/csrc/autograd/custom_function.h>

namespace lasnet {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const std::vector<int64_t> kPixels = {0, 2, 3};

torch::Tensor by_channel(const torch::Tensor& values) { return values.view({1, -1, 1, 1}); }

struct Statistics {
  torch::Tensor mean, variance;  ///< [C]
  double count = 0;
};

/// Of the pixels of all processes. In double precision, where the difference of two large numbers is still
/// exact enough.
Statistics statistics_of(const torch::Tensor& x, World& world) {
  const auto count = static_cast<double>(x.numel() / x.size(1));
  const torch::Tensor values = x.to(torch::kFloat32);
  const torch::Tensor mean = values.mean(kPixels).to(torch::kFloat64);
  const torch::Tensor variance = values.var(kPixels, /*unbiased=*/false).to(torch::kFloat64);
  torch::Tensor sums =
      torch::cat({mean * count, (variance + mean.square()) * count, torch::full({1}, count, mean.options())});
  world.sum(sums);
  const int64_t channels = x.size(1);
  const double all = sums[2 * channels].item<double>();
  const torch::Tensor whole = sums.narrow(0, 0, channels) / all;
  return {.mean = whole.to(torch::kFloat32),
          .variance =
              (sums.narrow(0, channels, channels) / all - whole.square()).clamp_min(0).to(torch::kFloat32),
          .count = all};
}

/// Normalises with statistics that depend on the pixels of all processes, and so do its gradients.
class SharedNorm : public torch::autograd::Function<SharedNorm> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x, const torch::Tensor& gamma,
                               const torch::Tensor& beta, const torch::Tensor& mean,
                               const torch::Tensor& variance, double count, World* world) {
    context->save_for_backward({x, gamma, mean, variance});
    context->saved_data["count"] = count;
    context->saved_data["world"] = reinterpret_cast<int64_t>(world);
    return torch::batch_norm(x, gamma, beta, mean, variance, /*training=*/false, /*momentum=*/0, kNormEpsilon,
                             /*cudnn_enabled=*/false);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &gamma = saved[1];
    const torch::Tensor gradient = gradients[0].to(torch::kFloat32);
    const torch::Tensor scale = (saved[3] + kNormEpsilon).rsqrt();
    const torch::Tensor normalised = (x.to(torch::kFloat32) - by_channel(saved[2])) * by_channel(scale);
    const torch::Tensor of_beta = gradient.sum(kPixels), of_gamma = (gradient * normalised).sum(kPixels);
    torch::Tensor sums = torch::cat({of_beta, of_gamma});
    reinterpret_cast<World*>(context->saved_data["world"].toInt())->sum(sums);
    sums /= context->saved_data["count"].toDouble();
    const int64_t channels = x.size(1);
    const torch::Tensor centred = gradient - by_channel(sums.narrow(0, 0, channels)) -
                                  normalised * by_channel(sums.narrow(0, channels, channels));
    return {(centred * by_channel(scale * gamma)).to(x.scalar_type()), of_gamma, of_beta, {}, {}, {}, {}};
  }
};

void move_running(const NormTensors& norm, const Statistics& now, double momentum) {
  const torch::NoGradGuard no_gradient;
  torch::Tensor mean = norm.mean, variance = norm.variance;
  mean.mul_(1 - momentum).add_(now.mean, momentum);
  variance.mul_(1 - momentum).add_(now.variance * (now.count / std::max(now.count - 1, 1.0)), momentum);
}

}  // namespace

torch::Tensor batch_norm(const torch::Tensor& x, const NormTensors& norm, const NormPolicy& policy) {
  if (policy.measuring && norm.seen_mean.defined()) {
    const torch::NoGradGuard no_gradient;
    torch::batch_norm(x, {}, {}, norm.seen_mean, norm.seen_variance, /*training=*/true, policy.momentum,
                      kNormEpsilon, /*cudnn_enabled=*/false);
  }
  if (!policy.training || policy.world == nullptr) {
    return torch::batch_norm(x, norm.gamma, norm.beta, norm.mean, norm.variance, policy.training,
                             policy.momentum, kNormEpsilon, torch::globalContext().userEnabledCuDNN());
  }
  const Statistics now = statistics_of(x.detach(), *policy.world);
  move_running(norm, now, policy.momentum);
  const torch::Tensor gamma = norm.gamma.defined() ? norm.gamma : torch::ones_like(now.mean);
  const torch::Tensor beta = norm.beta.defined() ? norm.beta : torch::zeros_like(now.mean);
  return SharedNorm::apply(x, gamma, beta, now.mean, now.variance, now.count, policy.world);
}

}  // namespace lasnet
