// Logit difference of each patch, and its decision.
//
//   difference(n, i, j) = weight . mean over the patch's input pixels of x + bias,  active iff difference >=
//   0
//
// Four warps take a patch: a pixel and 32 vectors of 16 bytes of channels at a time, so that a pixel is read
// in whole cache lines and several reads are on their way. The order of each sum depends on nothing but the
// patch: a decision does not depend on the batch. If the dot products already rode in the first convolution
// (ConvCall::dots), only their mean is left to take.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPatchWarps = 4;
constexpr int kPatchesPerBlock = kThreads / 32 / kPatchWarps;

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

/// This lane's share of weight . (sum of x over the window): pixel and channels (p, c) go to warp (p + c *
/// pixels) % 4.
template <class T>
__device__ float lane_dot(const MaskerCall& call, int image, const Window& window) {
  const ListGeometry& g = call.geometry;
  int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % kPatchWarps;
  int width = window.right - window.left, pixels = (window.bottom - window.top) * width;
  int64_t first = bordered(g.input_height, g.input_width, image, window.top, window.left);
  float dot = 0;
  for (int chunk = 0; chunk * 32 * kVector<T> < call.x.pitch; ++chunk) {
    int c = (chunk * 32 + lane) * kVector<T>;
    if (c >= call.x.pitch) continue;
    const T* x = static_cast<const T*>(call.x.data) + first * call.x.pitch + c;
    float sums[kVector<T>] = {};
    // The first pixel >= 0 that is the warp's.
    int begin = (warp + kPatchWarps - chunk * pixels % kPatchWarps) % kPatchWarps;
#pragma unroll 4
    for (int p = begin; p < pixels; p += kPatchWarps) {
      int64_t pixel = p / width * (g.input_width + 2) + p % width;
      float values[kVector<T>];
      load_vector(x + pixel * call.x.pitch, values);
      for (int k = 0; k < kVector<T>; ++k) sums[k] += values[k];
    }
    for (int k = 0; k < kVector<T>; ++k) dot += sums[k] * call.weight[c + k];
  }
  return dot;
}

template <class T>
__global__ void __launch_bounds__(kThreads) masker_kernel(MaskerCall call) {
  begin_kernel();
  auto* partial = shared_memory<float>();
  const ListGeometry& g = call.geometry;
  int warp = static_cast<int>(threadIdx.x) / 32;
  int64_t index = static_cast<int64_t>(blockIdx.x) * kPatchesPerBlock + warp / kPatchWarps;
  bool exists = index < static_cast<int64_t>(g.images) * g.patches();
  Patch patch = patch_of(g, exists ? index : 0);
  Window window = masker_window(g, patch.row, patch.col);
  float sum = warp_sum(lane_dot<T>(call, patch.image, window));
  if (threadIdx.x % 32 == 0) partial[warp] = sum;
  __syncthreads();
  if (!exists || static_cast<int>(threadIdx.x) % (32 * kPatchWarps) != 0) return;
  for (int i = 1; i < kPatchWarps; ++i) sum += partial[warp + i];
  decide(call, index, sum, window);
}

__global__ void __launch_bounds__(kThreads) pool_dots_kernel(MaskerCall call, const float* dots) {
  begin_kernel();
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
  LaunchShape shape{(patch_count(call.geometry) + kPatchesPerBlock - 1) / kPatchesPerBlock, kThreads,
                    kThreads / 32 * static_cast<int>(sizeof(float))};
  if (precision == Precision::fp16) return launch(stream, masker_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, masker_kernel<Brain>, shape, call);
  launch(stream, masker_kernel<float>, shape, call);
}

void pool_dots(Stream& stream, const MaskerCall& call, const float* dots) {
  launch(stream, pool_dots_kernel,
         LaunchShape{(patch_count(call.geometry) + kThreads - 1) / kThreads, kThreads}, call, dots);
}

}  // namespace lasnet::cuda
