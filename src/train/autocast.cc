#include "train/autocast.h"

#include <torch/torch.h>

#include <algorithm>

#include "base/stopwatch.h"

namespace lasnet {
namespace {

/// Pairs of timings: the shortest of each kind counts, so that other work on the machine decides nothing.
constexpr int kPairs = 5;

/// Seconds of a forward and backward pass of a 3x3 convolution, as a bottleneck's.
double convolution_seconds(bool bf16, at::Device device) {
  const torch::Tensor x =
      torch::ones({8, 64, 28, 28}).contiguous(at::MemoryFormat::ChannelsLast).to(device).requires_grad_();
  const torch::Tensor weight =
      torch::ones({64, 64, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).to(device).requires_grad_();
  (void)(x.sum() + weight.sum()).item<float>();  // waits for the device, as below
  const Stopwatch watch;
  {
    const AutocastScope precision(bf16);
    torch::conv2d(x, weight, {}, 1, 1).sum().backward();
  }
  (void)(x.grad().sum() + weight.grad().sum()).item<float>();
  return watch.seconds();
}

}  // namespace

bool computes_bf16(at::Device device) {
  if (!device.is_cpu()) return true;
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

bool trains_faster_in_bf16(at::Device device) {
  if (!computes_bf16(device)) return false;
  double fp32 = std::numeric_limits<double>::max(), bf16 = fp32;
  for (int i = 0; i <= kPairs; ++i) {
    const double first = convolution_seconds(false, device), second = convolution_seconds(true, device);
    if (i == 0) continue;  // plans and buffers are made
    fp32 = std::min(fp32, first);
    bf16 = std::min(bf16, second);
  }
  return bf16 < fp32;
}

}  // namespace lasnet
