// The classifier: logits(n, o) = weight(o) . features(n) + bias(o), in float32.
//
// A warp takes a class and up to eight images: it reads the class's weights once, 16 bytes per lane, and
// keeps a sum per image. One image thus has as many warps at work as there are classes. The order of a sum
// depends on nothing but the number of features.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kImages = 8;  ///< per warp

__global__ void __launch_bounds__(kThreads) head_kernel(HeadCall call) {
  begin_kernel();
  int lane = static_cast<int>(threadIdx.x) % 32;
  int o = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  int first = static_cast<int>(blockIdx.y) * kImages;
  if (o >= call.classes) return;  // whole warps
  const float* weight = call.weight + static_cast<int64_t>(o) * call.pitch;
  const float* features = call.features + static_cast<int64_t>(first) * call.pitch;
  int images = call.images - first < kImages ? call.images - first : kImages;
  float sums[kImages] = {};
  for (int c = lane * 4; c < call.pitch; c += 32 * 4) {
    float w[4];
    load_vector(weight + c, w);
#pragma unroll
    for (int n = 0; n < kImages; ++n) {
      if (n >= images) break;
      float x[4];
      load_vector(features + static_cast<int64_t>(n) * call.pitch + c, x);
#pragma unroll
      for (int k = 0; k < 4; ++k) sums[n] += w[k] * x[k];
    }
  }
#pragma unroll
  for (int n = 0; n < kImages; ++n) {
    float sum = warp_sum(sums[n]);
    if (n < images && lane == 0)
      call.logits[static_cast<int64_t>(first + n) * call.logits_pitch + o] = sum + call.bias[o];
  }
}

}  // namespace

void head(Stream& stream, const HeadCall& call) {
  launch(
      stream, head_kernel,
      LaunchShape{(call.classes + kWarps - 1) / kWarps, kThreads, 0, (call.images + kImages - 1) / kImages},
      call);
}

}  // namespace lasnet::cuda
