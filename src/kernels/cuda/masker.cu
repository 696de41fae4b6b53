// Logit difference of each patch, and its decision.
//
//   difference(n, i, j) = weight . mean over the patch's input pixels of x + bias,  active iff difference >=
//   0
//
// A warp takes a patch; its lanes take vectors of 16 bytes of channels, so that a pixel is read in whole
// cache lines. The order of each sum depends on nothing but the patch: a decision does not depend on the
// batch. If the dot products already rode in the first convolution (ConvCall::dots), only their mean is left
// to take.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

struct Patch {
  int64_t index;
  int image, row, col;
};

__device__ Patch patch_of(const ListGeometry& g, int64_t index) {
  auto image = static_cast<int>(index / g.patches()), within = static_cast<int>(index % g.patches());
  return {index, image, within / g.patch_cols, within % g.patch_cols};
}

__device__ void decide(const MaskerCall& call, int64_t patch, float sum, const Window& window) {
  float difference =
      sum / static_cast<float>((window.bottom - window.top) * (window.right - window.left)) + call.bias;
  call.differences[patch] = difference;
  call.patches[patch] = *call.force != 0 ? call.forced[patch] : difference >= 0;
}

/// This lane's share of weight . (sum of x over the window).
template <class T>
__device__ float lane_dot(const MaskerCall& call, int image, const Window& window) {
  const ListGeometry& g = call.geometry;
  float dot = 0;
  for (int c = static_cast<int>(threadIdx.x) % 32 * kVector<T>; c < call.x.pitch; c += 32 * kVector<T>) {
    float sums[kVector<T>] = {};
    for (int y = window.top; y < window.bottom; ++y) {
      int64_t pixel = bordered(g.input_height, g.input_width, image, y, window.left);
      const T* x = static_cast<const T*>(call.x.data) + pixel * call.x.pitch + c;
      for (int i = window.left; i < window.right; ++i, x += call.x.pitch) {
        float values[kVector<T>];
        load_vector(x, values);
        for (int k = 0; k < kVector<T>; ++k) sums[k] += values[k];
      }
    }
    for (int k = 0; k < kVector<T>; ++k) dot += sums[k] * call.weight[c + k];
  }
  return dot;
}

template <class T>
__global__ void __launch_bounds__(kThreads) masker_kernel(MaskerCall call) {
  const ListGeometry& g = call.geometry;
  int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (index >= static_cast<int64_t>(g.images) * g.patches()) return;  // whole warps
  Patch patch = patch_of(g, index);
  Window window = masker_window(g, patch.row, patch.col);
  float sum = warp_sum(lane_dot<T>(call, patch.image, window));
  if (threadIdx.x % 32 == 0) decide(call, index, sum, window);
}

__global__ void __launch_bounds__(kThreads) pool_dots_kernel(MaskerCall call, const float* dots) {
  const ListGeometry& g = call.geometry;
  int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= static_cast<int64_t>(g.images) * g.patches()) return;
  Patch patch = patch_of(g, index);
  Window window = masker_window(g, patch.row, patch.col);
  float sum = 0;
  for (int y = window.top; y < window.bottom; ++y) {
    const float* row = dots + bordered(g.input_height, g.input_width, patch.image, y, 0);
    for (int x = window.left; x < window.right; ++x) sum += row[x];
  }
  decide(call, index, sum, window);
}

int64_t patch_count(const ListGeometry& g) { return int64_t{g.images} * g.patches(); }

}  // namespace

void masker(Stream& stream, Precision precision, const MaskerCall& call) {
  LaunchShape shape{(patch_count(call.geometry) + kWarps - 1) / kWarps, kThreads};
  if (precision == Precision::fp16) return launch(stream, masker_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, masker_kernel<Brain>, shape, call);
  launch(stream, masker_kernel<float>, shape, call);
}

void pool_dots(Stream& stream, const MaskerCall& call, const float* dots) {
  launch(stream, pool_dots_kernel,
         LaunchShape{(patch_count(call.geometry) + kThreads - 1) / kThreads, kThreads}, call, dots);
}

}  // namespace lasnet::cuda
