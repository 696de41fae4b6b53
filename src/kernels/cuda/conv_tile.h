// What the two convolution kernels share: tiles, the pipeline that brings their operands to shared memory,
// the epilogue.
//
//   out[p, o] = epilogue(bias[o] + sum over taps t, elements i of in[in_pixel[p] * pitch + offset[t] + i] *
//   w[t, i, o])
//
// A row's base pointer is computed once per tile; the taps are constant offsets from there into a
// zero-bordered map, so the gather is plain 16-byte cp.async without a border test. A tile mixes patches and
// images as the list has them. Blocks are persistent: they read the list's length on the device and take
// every gridDim-th tile, channel tiles of the same pixels next to each other, so that the second one finds
// its rows in L2. Rows past the list's end repeat its last pixel and are not stored. An output value's sum
// runs over the reduction in one order, whatever the tile.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {

/// Bytes between a tile's rows in shared memory: 64 of data, and 16 that spread eight rows over all banks.
inline constexpr int kRowBytes = kStepBytes + 16;

template <class T>
inline constexpr int kStepElements = kStepBytes / static_cast<int>(sizeof(T));

/// Position in a convolution's work.
struct TilePlace {
  int64_t pixel;  ///< first row
  int channel;    ///< first column
};

struct TileGrid {
  int64_t count, tiles;
  int columns;
};

__device__ inline TileGrid tile_grid(const ConvCall& call, int pixels, int channels) {
  int64_t count = *call.count;
  int columns = (call.out_channels + channels - 1) / channels;
  return {count, (count + pixels - 1) / pixels * columns, columns};
}

__device__ inline TilePlace tile_place(const TileGrid& grid, int64_t tile, int pixels, int channels) {
  return {tile / grid.columns * pixels, static_cast<int>(tile % grid.columns) * channels};
}

/// Copies the operands of one step: `kPixels` rows of 64 bytes, and the packed weights of `kChannels` / 32
/// slices.
template <class T, int kPixels, int kChannels, int kThreads>
class TileLoader {
 public:
  static constexpr int kStageBytes = kPixels * kRowBytes + kChannels / kSlice * kSliceStepBytes;

  __device__ TileLoader(const ConvCall& call, const TileGrid& grid, const TilePlace& place) : call_(call) {
    int thread = static_cast<int>(threadIdx.x);
    steps_per_tap_ = (call.run + kStepElements<T> - 1) / kStepElements<T>;
    steps_ = steps_per_tap_ * call.taps;
    segment_ = thread % kSegments * kVector<T>;
    first_channel_ = call.group_out > 0 ? slice_input(place.channel, call.group_in, call.group_out) : 0;
    for (int i = 0; i < kRows; ++i) {
      int64_t p = place.pixel + thread / kSegments + i * kRowStep;
      p = p < grid.count ? p : grid.count - 1;
      rows_[i] = static_cast<const T*>(call.in) + static_cast<int64_t>(call.in_pixels[p]) * call.in_pitch +
                 first_channel_ + segment_;
    }
    weights_ = static_cast<const unsigned char*>(call.weights) +
               static_cast<int64_t>(place.channel / kSlice) * steps_ * kSliceStepBytes;
  }

  __device__ int steps() const { return steps_; }

  /// Issues the copies of the next step; steps come in order.
  __device__ void load_next(unsigned char* stage) {
    int element = within_ * kStepElements<T>;
    load_rows(stage, element);
    load_weights(stage + kPixels * kRowBytes);
    ++step_;
    if (++within_ == steps_per_tap_) {
      within_ = 0;
      ++tap_;
    }
  }

 private:
  static constexpr int kSegments = kStepBytes / 16;
  static constexpr int kRowStep = kThreads / kSegments;
  static constexpr int kRows = kPixels / kRowStep;
  static constexpr int kSliceVectors = kSliceStepBytes / 16;
  static constexpr int kVectors = kChannels / kSlice * kSliceVectors / kThreads;
  static_assert(kPixels % kRowStep == 0 && kChannels / kSlice * kSliceVectors % kThreads == 0);

  __device__ void load_rows(unsigned char* stage, int element) {
    int thread = static_cast<int>(threadIdx.x);
    bool valid = element + segment_ < call_.run && first_channel_ + element + segment_ < row_elements();
    int64_t offset = call_.tap_offsets[tap_] + element;
    unsigned char* to = stage + thread / kSegments * kRowBytes + thread % kSegments * 16;
    for (int i = 0; i < kRows; ++i)
      copy_async(to + i * kRowStep * kRowBytes, rows_[i] + (valid ? offset : 0), valid);
  }

  /// A grouped slice's run may end beyond the pixel's channels.
  __device__ int row_elements() const { return call_.group_out > 0 ? call_.in_pitch : call_.run; }

  __device__ void load_weights(unsigned char* to) {
    for (int i = 0; i < kVectors; ++i) {
      int vector = static_cast<int>(threadIdx.x) + i * kThreads, slice = vector / kSliceVectors;
      const unsigned char* from = weights_ + (static_cast<int64_t>(slice) * steps_ + step_) * kSliceStepBytes;
      copy_async(to + vector * 16, from + vector % kSliceVectors * 16, true);
    }
  }

  const ConvCall& call_;
  const T* rows_[kRows];
  const unsigned char* weights_;
  int segment_, first_channel_, steps_per_tap_, steps_;
  int step_ = 0, tap_ = 0, within_ = 0;
};

/// Runs the pipeline over a tile's reduction: compute(stage, step) for each step, `kStages` - 1 steps of
/// copies ahead. Ends with a barrier: the stages may be overwritten.
template <int kStages, class Loader, class Compute>
__device__ inline void run_pipeline(Loader& loader, unsigned char* stages, Compute&& compute) {
  int steps = loader.steps();
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) loader.load_next(stages + s * Loader::kStageBytes);
    commit_copies();
  }
  for (int step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    __syncthreads();
    // The stage that the previous step read is free now.
    if (step + kStages - 1 < steps)
      loader.load_next(stages + (step + kStages - 1) % kStages * Loader::kStageBytes);
    commit_copies();
    compute(stages + step % kStages * Loader::kStageBytes, step);
  }
  wait_copies<0>();
  __syncthreads();
}

/// The masker's dot product of one row, riding along: thread i < kPixels keeps row i's.
template <class T, int kPixels>
class MaskerDot {
 public:
  __device__ MaskerDot(const ConvCall& call, const TilePlace& place)
      : weight_(place.channel == 0 && static_cast<int>(threadIdx.x) < kPixels ? call.masker_weight
                                                                              : nullptr) {}

  __device__ void add(const unsigned char* stage, int step) {
    if (weight_ == nullptr) return;
    const auto* row = reinterpret_cast<const T*>(stage + threadIdx.x * kRowBytes);
    const float* weight = weight_ + step * kStepElements<T>;
    for (int i = 0; i < kStepElements<T>; i += kVector<T>) {
      float values[kVector<T>];
      load_vector(row + i, values);
      for (int k = 0; k < kVector<T>; ++k) dot_ += values[k] * weight[i + k];
    }
  }

  __device__ void store(const ConvCall& call, const TileGrid& grid, const TilePlace& place) const {
    int64_t p = place.pixel + threadIdx.x;
    if (weight_ != nullptr && p < grid.count) call.dots[call.in_pixels[p]] = dot_;
  }

 private:
  const float* weight_;
  float dot_ = 0;
};

/// Adds bias (and identity), applies the ReLU and stores one vector of channels of list entry p.
template <class T>
__device__ inline void finish(const ConvCall& call, int64_t p, int channel, float (&values)[kVector<T>]) {
  int pixel = call.out_pixels[p];
  bool is_inverted = pixel < 0;
  if (is_inverted) pixel = ~pixel;
  T* out = static_cast<T*>(call.out) + static_cast<int64_t>(pixel) * call.out_pitch + channel;
  for (int k = 0; k < kVector<T>; ++k) values[k] += call.bias[channel + k];
  if (call.epilogue == Epilogue::bias_add_relu) {
    float identity[kVector<T>];
    load_vector(out, identity);
    for (int k = 0; k < kVector<T>; ++k) values[k] += identity[k];
  }
  if (call.epilogue != Epilogue::bias && !(call.epilogue == Epilogue::projection && is_inverted)) {
    for (int k = 0; k < kVector<T>; ++k) values[k] = relu(values[k]);
  }
  store_vector(out, values);
}

/// Launchers of the kernels of one kind.
void conv_fp32(Stream& stream, const CudaTile& tile, int64_t max_pixels, const ConvCall& call);
void conv_tensor(Stream& stream, Precision precision, const CudaTile& tile, int64_t max_pixels,
                 const ConvCall& call);

}  // namespace lasnet::cuda
