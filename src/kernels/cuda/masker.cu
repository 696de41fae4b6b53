// Logit difference of each patch, and its decision.
//
//   difference(n, i, j) = weight . mean over the patch's input pixels of x + bias,  active iff difference >=
//   0
//
// A warp, or four for large patches, takes a patch: a pixel and 32 vectors of 16 bytes of channels at a time,
// so that a pixel is read in whole cache lines, and four such reads at once. The order of a sum depends on
// the block's geometry only: a decision does not depend on the batch. If the dot products already rode in the
// first convolution (ConvCall::dots), only their mean is left to take.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUnrolled = 4;
constexpr int kLargePatch = 16;  ///< pixels; from here on with four warps

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

/// Goes through a window's pixels and, for each 32 vectors of channels, through them again.
struct Walk {
  int width, height, row_stride;  ///< pixels
  int chunk = 0, y = 0, x = 0;

  __device__ void advance(int pixels) {
    for (x += pixels; x >= width; x -= width) ++y;
    for (; y >= height; y -= height) ++chunk;
  }
  __device__ int64_t pixel() const { return static_cast<int64_t>(y) * row_stride + x; }
};

/// This lane's share of weight . (sum of x over the window), of the items that are this warp's.
template <class T, int kPatchWarps>
__device__ float lane_dot(const MaskerCall& call, int image, const Window& window) {
  const ListGeometry& g = call.geometry;
  int lane = static_cast<int>(threadIdx.x) % 32;
  int64_t first = bordered(g.input_height, g.input_width, image, window.top, window.left);
  const T* x = static_cast<const T*>(call.x.data) + first * call.x.pitch;
  Walk walk{window.right - window.left, window.bottom - window.top, g.input_width + 2};
  walk.advance(static_cast<int>(threadIdx.x) / 32 % kPatchWarps);
  float dot = 0;
  while (walk.chunk * 32 * kVector<T> < call.x.pitch) {
    float values[kUnrolled][kVector<T>] = {};
    int channels[kUnrolled];
#pragma unroll
    for (int i = 0; i < kUnrolled; ++i) {
      channels[i] = (walk.chunk * 32 + lane) * kVector<T>;
      if (channels[i] < call.x.pitch) load_vector(x + walk.pixel() * call.x.pitch + channels[i], values[i]);
      walk.advance(kPatchWarps);
    }
#pragma unroll
    for (int i = 0; i < kUnrolled; ++i) {
      if (channels[i] >= call.x.pitch) continue;
      for (int k = 0; k < kVector<T>; ++k) dot += values[i][k] * call.weight[channels[i] + k];
    }
  }
  return dot;
}

template <class T, int kPatchWarps>
__global__ void __launch_bounds__(kThreads) masker_kernel(MaskerCall call) {
  begin_kernel();
  auto* partial = shared_memory<float>();
  const ListGeometry& g = call.geometry;
  int warp = static_cast<int>(threadIdx.x) / 32;
  int64_t index = static_cast<int64_t>(blockIdx.x) * (kThreads / 32 / kPatchWarps) + warp / kPatchWarps;
  bool exists = index < static_cast<int64_t>(g.images) * g.patches();
  Patch patch = patch_of(g, exists ? index : 0);
  Window window = masker_window(g, patch.row, patch.col);
  float sum = warp_sum(lane_dot<T, kPatchWarps>(call, patch.image, window));
  if constexpr (kPatchWarps > 1) {
    if (threadIdx.x % 32 == 0) partial[warp] = sum;
    __syncthreads();
  }
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

template <class T, int kPatchWarps>
void launch_masker(Stream& stream, const MaskerCall& call) {
  constexpr int kPatches = kThreads / 32 / kPatchWarps;
  launch(stream, masker_kernel<T, kPatchWarps>,
         LaunchShape{(patch_count(call.geometry) + kPatches - 1) / kPatches, kThreads,
                     kThreads / 32 * static_cast<int>(sizeof(float))},
         call);
}

template <class T>
void launch_masker(Stream& stream, const MaskerCall& call) {
  const ListGeometry& g = call.geometry;
  int side = g.granularity * g.stride;
  if (side * side >= kLargePatch) return launch_masker<T, 4>(stream, call);
  launch_masker<T, 1>(stream, call);
}

}  // namespace

void masker(Stream& stream, Precision precision, const MaskerCall& call) {
  if (precision == Precision::fp16) return launch_masker<Half>(stream, call);
  if (precision == Precision::bf16) return launch_masker<Brain>(stream, call);
  launch_masker<float>(stream, call);
}

void pool_dots(Stream& stream, const MaskerCall& call, const float* dots) {
  launch(stream, pool_dots_kernel,
         LaunchShape{(patch_count(call.geometry) + kThreads - 1) / kThreads, kThreads}, call, dots);
}

}  // namespace lasnet::cuda
