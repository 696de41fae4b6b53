// Logit difference of each patch, and its decision.
//
//   difference(n, i, j) = weight . mean over the patch's input pixels of x + bias,  active iff difference >=
//   0
//
// Patches of 1, 2 x 2 and 4 x 4 input pixels take a warp each, larger ones a block, whose warps take rows.
// Lanes take vectors of 16 bytes of channels, so that a pixel is read in whole cache lines, and all of a
// small patch's pixels at once. The order of a sum depends on the patch only: a decision does not depend on
// the batch.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kStrip = 8;  ///< pixels of a large patch's row that are read at once

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

/// Adds up to kPixels neighbours to `sums`.
template <class T, int kPixels>
__device__ void add_pixels(const T* x, int pitch, int pixels, float (&sums)[kVector<T>]) {
  float values[kPixels][kVector<T>] = {};
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    if (i < pixels) load_vector(x + static_cast<int64_t>(i) * pitch, values[i]);
  }
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    for (int k = 0; k < kVector<T>; ++k) sums[k] += values[i][k];
  }
}

template <class T>
__device__ float weighted(const MaskerCall& call, int channel, const float (&sums)[kVector<T>]) {
  float dot = 0;
  for (int k = 0; k < kVector<T>; ++k) dot += sums[k] * call.weight[channel + k];
  return dot;
}

/// First pixel of a window.
template <class T>
__device__ const T* window_begin(const MaskerCall& call, int image, const Window& window) {
  const ListGeometry& g = call.geometry;
  int64_t pixel = bordered(g.input_height, g.input_width, image, window.top, window.left);
  return static_cast<const T*>(call.x.data) + pixel * call.x.pitch;
}

/// Patches of kSide x kSide input pixels, or less at the edges. At most 64 registers for small ones: beside a
/// convolution's blocks of the `split` tile there must be room for one of these.
template <class T, int kSide>
__global__ void __launch_bounds__(kThreads, kSide == 4 ? 3 : 4) small_patches_kernel(MaskerCall call) {
  begin_kernel();
  const ListGeometry& g = call.geometry;
  int lane = static_cast<int>(threadIdx.x) % 32;
  int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (index >= static_cast<int64_t>(g.images) * g.patches()) return;  // whole warps
  Patch patch = patch_of(g, index);
  Window window = masker_window(g, patch.row, patch.col);
  int width = window.right - window.left, height = window.bottom - window.top;
  int row_elements = (g.input_width + 2) * call.x.pitch;
  const T* x = window_begin<T>(call, patch.image, window);
  float dot = 0;
#pragma unroll(kSide == 1 ? 4 : kSide == 2 ? 2 : 1)
  for (int c = lane * kVector<T>; c < call.x.pitch; c += 32 * kVector<T>) {
    float sums[kVector<T>] = {};
#pragma unroll
    for (int y = 0; y < kSide; ++y)
      add_pixels<T, kSide>(x + y * row_elements + c, call.x.pitch, y < height ? width : 0, sums);
    dot += weighted<T>(call, c, sums);
  }
  dot = warp_sum(dot);
  if (lane == 0) decide(call, index, dot, window);
}

template <class T>
__global__ void __launch_bounds__(kThreads) large_patches_kernel(MaskerCall call) {
  begin_kernel();
  auto* partial = shared_memory<float>();
  const ListGeometry& g = call.geometry;
  int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  Patch patch = patch_of(g, blockIdx.x);
  Window window = masker_window(g, patch.row, patch.col);
  int width = window.right - window.left, height = window.bottom - window.top;
  int64_t row_elements = static_cast<int64_t>(g.input_width + 2) * call.x.pitch;
  const T* x = window_begin<T>(call, patch.image, window);
  float dot = 0;
  for (int c = lane * kVector<T>; c < call.x.pitch; c += 32 * kVector<T>) {
    float sums[kVector<T>] = {};
    for (int y = warp; y < height; y += kWarps) {
      const T* row = x + y * row_elements + c;
      for (int i = 0; i < width; i += kStrip)
        add_pixels<T, kStrip>(row + static_cast<int64_t>(i) * call.x.pitch, call.x.pitch, width - i, sums);
    }
    dot += weighted<T>(call, c, sums);
  }
  dot = warp_sum(dot);
  if (lane == 0) partial[warp] = dot;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kWarps; ++i) dot += partial[i];
  decide(call, blockIdx.x, dot, window);
}

int64_t patch_count(const ListGeometry& g) { return int64_t{g.images} * g.patches(); }

template <class T>
void launch_masker(Stream& stream, const MaskerCall& call) {
  const ListGeometry& g = call.geometry;
  int64_t patches = patch_count(g);
  LaunchShape small{(patches + kWarps - 1) / kWarps, kThreads};
  switch (g.granularity * g.stride) {
    case 1:
      return launch(stream, small_patches_kernel<T, 1>, small, call);
    case 2:
      return launch(stream, small_patches_kernel<T, 2>, small, call);
    case 4:
      return launch(stream, small_patches_kernel<T, 4>, small, call);
    default:
      return launch(stream, large_patches_kernel<T>,
                    LaunchShape{patches, kThreads, kWarps * static_cast<int>(sizeof(float))}, call);
  }
}

}  // namespace

void masker(Stream& stream, Precision precision, const MaskerCall& call) {
  if (precision == Precision::fp16) return launch_masker<Half>(stream, call);
  if (precision == Precision::bf16) return launch_masker<Brain>(stream, call);
  launch_masker<float>(stream, call);
}

}  // namespace lasnet::cuda
