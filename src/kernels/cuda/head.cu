// The classifier: logits(n, o) = weight(o) . features(n) + bias(o), in float32.
//
// A warp takes one class, or four where images are many, and up to eight images: it reads weights and
// features 16 bytes per lane, and keeps a sum for each pair. The order of a sum depends on nothing but the
// number of features.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

template <int kClasses, int kImages>
__global__ void __launch_bounds__(kThreads) head_kernel(HeadCall call) {
  begin_kernel();
  int lane = static_cast<int>(threadIdx.x) % 32;
  int first_class = (static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32) * kClasses;
  int first = static_cast<int>(blockIdx.y) * kImages;
  if (first_class >= call.classes) return;  // whole warps
  const float* weight = call.weight + static_cast<int64_t>(first_class) * call.pitch;
  const float* features = call.features + static_cast<int64_t>(first) * call.pitch;
  int images = call.images - first < kImages ? call.images - first : kImages;
  int classes = call.classes - first_class < kClasses ? call.classes - first_class : kClasses;
  float sums[kImages][kClasses] = {};
#pragma unroll(kClasses == 1 ? 4 : 1)
  for (int c = lane * 4; c < call.pitch; c += 32 * 4) {
    // All loads before the first use: one under a condition would wait for those before it, so the last class
    // and image stand in for those that there are not.
    float w[kClasses][4], x[kImages][4];
#pragma unroll
    for (int o = 0; o < kClasses; ++o)
      load_vector(weight + static_cast<int64_t>(o < classes ? o : classes - 1) * call.pitch + c, w[o]);
#pragma unroll
    for (int n = 0; n < kImages; ++n)
      load_vector(features + static_cast<int64_t>(n < images ? n : images - 1) * call.pitch + c, x[n]);
#pragma unroll
    for (int n = 0; n < kImages; ++n) {
#pragma unroll
      for (int o = 0; o < kClasses; ++o) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[n][o] += w[o][k] * x[n][k];
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kImages; ++n) {
#pragma unroll
    for (int o = 0; o < kClasses; ++o) {
      float sum = warp_sum(sums[n][o]);
      int at = first_class + o;
      if (n < images && o < classes && lane == 0)
        call.logits[static_cast<int64_t>(first + n) * call.logits_pitch + at] = sum + call.bias[at];
    }
  }
}

template <int kClasses, int kImages>
void launch_head(Stream& stream, const HeadCall& call) {
  constexpr int kPerBlock = kWarps * kClasses;
  launch(stream, head_kernel<kClasses, kImages>,
         LaunchShape{(call.classes + kPerBlock - 1) / kPerBlock, kThreads, 0,
                     (call.images + kImages - 1) / kImages},
         call);
}

}  // namespace

void head(Stream& stream, const HeadCall& call) {
  if (call.images >= 8) return launch_head<4, 8>(stream, call);
  launch_head<1, 4>(stream, call);
}

}  // namespace lasnet::cuda
