#include "train/autocast.h"

#include <torch/torch.h>

#include <algorithm>

#include "base/stopwatch.h"

namespace lasnet {
namespace {

/// Pairs of timings: the shortest of each kind counts, so that other work on the machine decides nothing.
constexpr int kPairs = 5;

/// Seconds of a forward and backward pass of a 3x3 convolution, as a bottleneck's.
double convolution_seconds(bool bf16) {
  const torch::Tensor x = torch::ones({8, 64, 28, 28}).contiguous(at::MemoryFormat::ChannelsLast);
  const torch::Tensor weight =
      torch::ones({64, 64, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
  const Stopwatch watch;
  {
    const AutocastScope precision(bf16);
    torch::conv2d(x.detach().requires_grad_(), weight, {}, 1, 1).sum().backward();
  }
  return watch.seconds();
}

}  // namespace

bool computes_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

bool trains_faster_in_bf16() {
  if (!computes_bf16()) return false;
  double fp32 = std::numeric_limits<double>::max(), bf16 = fp32;
  for (int i = 0; i <= kPairs; ++i) {
    const double first = convolution_seconds(false), second = convolution_seconds(true);
    if (i == 0) continue;  // plans and buffers are made
    fp32 = std::min(fp32, first);
    bf16 = std::min(bf16, second);
  }
  return bf16 < fp32;
}

}  // namespace lasnet
