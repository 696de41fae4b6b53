// What the kernels of maskers share: a patch's window, the sums of its pixels, its decision.
#pragma once

#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernel_shapes.h"
#include "backends/cuda/kernels/kernels.h"

namespace lasnet::cuda {

/// Channels of a vector of every lane.
template <class T>
inline constexpr int kWarpChannels = 32 * kVector<T>;

/// A patch's input pixels.
struct MaskerPatch {
  int index = 0;
  int height = 0, width = 0;
  int64_t first = 0;  ///< element of the first pixel

  __device__ MaskerPatch(const ListGeometry& g, const DeviceMap& x, int patch) : index(patch) {
    int image = index / g.patches(), within = index % g.patches();
    Window window = masker_window(g, within / g.patch_cols, within % g.patch_cols);
    height = window.bottom - window.top, width = window.right - window.left;
    first = static_cast<int64_t>(bordered(g.input_height, g.input_width, image, window.top, window.left)) *
            x.pitch;
  }
};

/// What a decision about a patch follows, beside the difference; read before the decision is due.
struct PatchRule {
  DecisionRule rule;
  uint8_t forced;

  __device__ PatchRule(const MaskerTarget& target, int patch)
      : rule(*target.rule), forced(target.forced[patch]) {}

  __device__ uint8_t decision(float difference) const {
    return rule.force != 0 ? forced : difference >= rule.threshold;
  }
};

/// `sum` is that of weighted channels over the patch's pixels.
__device__ inline void decide(const MaskerTarget& target, const MaskerPatch& patch, const PatchRule& rule,
                              float sum) {
  float difference = sum / static_cast<float>(patch.height * patch.width) + target.bias;
  target.differences[patch.index] = difference;
  target.patches[patch.index] = rule.decision(difference);
}

/// Up to kRows x kCols pixels of a patch, kVectors vectors of each, read at once: no load waits for another,
/// or hangs on a condition (the last row, column and vector stand in for those that there are not).
template <class T, int kVectors, int kRows, int kCols>
class PixelReads {
 public:
  /// Vectors of channels from `channel` on, a warp's width from each other.
  __device__ PixelReads(const T* first, const DeviceMap& x, int64_t row_elements, int height, int width,
                        int channel)
      : height_(height), width_(width) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const T* from = first + least(channel + v * kWarpChannels<T>, x.pitch - kVector<T>);
#pragma unroll
      for (int y = 0; y < kRows; ++y) {
#pragma unroll
        for (int i = 0; i < kCols; ++i)
          words_[v][y][i] =
              *reinterpret_cast<const uint4*>(from + least(y, height - 1) * row_elements +
                                              static_cast<int64_t>(least(i, width - 1)) * x.pitch);
      }
    }
  }

  /// Row by row. What there is not adds zero, which changes no bit: a sum that starts at 0 is never -0.
  __device__ void add(int vector, float (&sums)[kVector<T>]) const {
#pragma unroll
    for (int y = 0; y < kRows; ++y) {
#pragma unroll
      for (int i = 0; i < kCols; ++i) {
        uint4 words = words_[vector][y][i];
        if (y >= height_ || i >= width_) words = {};  // no branch that its load could be moved behind
        float values[kVector<T>];
        unpack_vector<T>(words, values);
        for (int k = 0; k < kVector<T>; ++k) sums[k] += values[k];
      }
    }
  }

 private:
  int height_, width_;
  uint4 words_[kVectors][kRows][kCols];
};

/// Adds vectors of a patch of at most kSide x kSide.
template <class T, int kVectors, int kSide>
__device__ void add_small_patch(const T* first, const DeviceMap& x, int64_t row_elements,
                                const MaskerPatch& patch, int channel, float (&sums)[kVectors][kVector<T>]) {
  constexpr int kRows = kSide == 4 ? 2 : kSide;  // at once, as registers go
#pragma unroll(kRows == kSide ? kSide : 1)
  for (int y = 0; y < kSide; y += kRows) {
    if (y > 0 && y >= patch.height) break;
    PixelReads<T, kVectors, kRows, kSide> pixels(first + y * row_elements, x, row_elements, patch.height - y,
                                                 patch.width, channel);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) pixels.add(v, sums[v]);
  }
}

/// Adds a vector of those of a larger patch's rows that fall to a warp: `warp`, and every `warps` after it.
template <class T>
__device__ void add_rows(const T* first, const DeviceMap& x, int64_t row_elements, const MaskerPatch& patch,
                         int channel, int warp, int warps, float (&sums)[kVector<T>]) {
  for (int y = warp; y < patch.height; y += warps) {
    for (int i = 0; i < patch.width; i += kMaskerStrip) {
      const T* strip = first + y * row_elements + static_cast<int64_t>(i) * x.pitch;
      PixelReads<T, 1, 1, kMaskerStrip>(strip, x, row_elements, 1, patch.width - i, channel).add(0, sums);
    }
  }
}

/// A vector's share of the sum that decides.
template <int kCount>
__device__ float weighted(const float (&weights)[kCount], const float (&sums)[kCount]) {
  float dot = 0;
  for (int k = 0; k < kCount; ++k) dot += sums[k] * weights[k];
  return dot;
}

}  // namespace lasnet::cuda
