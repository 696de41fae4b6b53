// The classifier: logits(n, o) = weight(o) . features(n) + bias(o), in float32.
//
// A warp takes one class, or four where images are many, and up to eight images: it reads weights and
// features 16 bytes per lane, and keeps a sum for each pair. A block's warps take several of both, so that
// they find in the first-level cache what others have read. The order of a sum depends on nothing but the
// number of features.
#include <iterator>

#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernel_shapes.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

template <int kClasses, int kImages, int kImageWarps>
__global__ void __launch_bounds__(32 * kHeadClassWarps * kImageWarps) head_kernel(HeadCall call) {
  begin_kernel();
  int lane = lane_index(), warp = warp_index();
  int first_class = (static_cast<int>(blockIdx.x) * kHeadClassWarps + warp % kHeadClassWarps) * kClasses;
  int first = (static_cast<int>(blockIdx.y) * kImageWarps + warp / kHeadClassWarps) * kImages;
  if (first_class >= call.classes || first >= call.images) return;  // whole warps
  const float* weight = call.weight + static_cast<int64_t>(first_class) * call.pitch;
  const float* features = call.features + static_cast<int64_t>(first) * call.pitch;
  int images = call.images - first < kImages ? call.images - first : kImages;
  int classes = call.classes - first_class < kClasses ? call.classes - first_class : kClasses;
  float sums[kImages * kClasses] = {};
#pragma unroll(kClasses == 1 ? 4 : 1)
  for (int c = lane * 4; c < call.pitch; c += kHeadStep) {
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
        for (int k = 0; k < 4; ++k) sums[n * kClasses + o] += w[o][k] * x[n][k];
      }
    }
  }
  // A lane for each pair.
  float sum = 0;
  if constexpr (kImages * kClasses == 32) {
    sum = warp_sums(sums);
  } else {
    for (int i = 0; i < kImages * kClasses; ++i) {
      float of_pair = warp_sum(sums[i]);
      sum = lane == i ? of_pair : sum;
    }
  }
  int n = lane / kClasses, o = lane % kClasses;
  if (n >= images || o >= classes) return;
  call.logits[static_cast<int64_t>(first + n) * call.logits_pitch + first_class + o] =
      sum + call.bias[first_class + o];
}

template <int kShape>
void launch_head(Stream& stream, const HeadCall& call) {
  constexpr HeadShape shape = kHeadShapes[kShape];
  constexpr int kBlockClasses = kHeadClassWarps * shape.classes,
                kBlockImages = shape.image_warps * shape.images;
  launch(stream, head_kernel<shape.classes, shape.images, shape.image_warps>,
         LaunchShape{ceil_div(call.classes, kBlockClasses), 32 * kHeadClassWarps * shape.image_warps, 0,
                     ceil_div(call.images, kBlockImages)},
         call);
}

}  // namespace

void head(Stream& stream, const HeadCall& call) {
  static_assert(std::size(kHeadShapes) == 3);
  switch (head_shape_of(call.images)) {
    case 0:
      return launch_head<0>(stream, call);
    case 1:
      return launch_head<1>(stream, call);
    default:
      return launch_head<2>(stream, call);
  }
}

}  // namespace lasnet::cuda
