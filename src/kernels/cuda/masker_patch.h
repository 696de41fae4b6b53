// What the kernels of maskers share: a patch's window, the sums of its pixels, its decision.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {

/// A patch's input pixels.
struct MaskerPatch {
  int64_t index = 0;
  int height = 0, width = 0;
  int64_t first = 0;  ///< element of the first pixel

  __device__ MaskerPatch(const ListGeometry& g, const DeviceMap& x, int64_t patch) : index(patch) {
    auto image = static_cast<int>(index / g.patches()), within = static_cast<int>(index % g.patches());
    Window window = masker_window(g, within / g.patch_cols, within % g.patch_cols);
    height = window.bottom - window.top, width = window.right - window.left;
    first = static_cast<int64_t>(bordered(g.input_height, g.input_width, image, window.top, window.left)) *
            x.pitch;
  }
};

/// `sum` is that of weighted channels over the patch's pixels.
__device__ inline void decide(const MaskerTarget& target, const MaskerPatch& patch, float sum) {
  float difference = sum / static_cast<float>(patch.height * patch.width) + target.bias;
  target.differences[patch.index] = difference;
  target.patches[patch.index] = *target.force != 0 ? target.forced[patch.index] : difference >= 0;
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

/// Adds the pixels of a patch of at most kSide x kSide, reading kRows of its rows at once.
template <class T, int kSide, int kRows = kSide>
__device__ void add_small_patch(const T* x, int pitch, int row_elements, const MaskerPatch& patch,
                                float (&sums)[kVector<T>]) {
#pragma unroll(kRows)
  for (int y = 0; y < kSide; ++y)
    add_pixels<T, kSide>(x + y * row_elements, pitch, y < patch.height ? patch.width : 0, sums);
}

/// Adds those of a larger patch's rows that fall to a warp: `warp`, and every `warps` after it.
template <class T>
__device__ void add_rows(const T* x, int pitch, int64_t row_elements, const MaskerPatch& patch, int warp,
                         int warps, float (&sums)[kVector<T>]) {
  constexpr int kStrip = 8;  // pixels of a row that are read at once
  for (int y = warp; y < patch.height; y += warps) {
    const T* row = x + y * row_elements;
    for (int i = 0; i < patch.width; i += kStrip)
      add_pixels<T, kStrip>(row + static_cast<int64_t>(i) * pitch, pitch, patch.width - i, sums);
  }
}

/// A few channels' share of the sum that decides.
template <int kCount>
__device__ float weighted(const float* weight, const float (&sums)[kCount]) {
  float dot = 0;
  for (int k = 0; k < kCount; ++k) dot += sums[k] * weight[k];
  return dot;
}

}  // namespace lasnet::cuda
