// Convolution over a list in float32, on CUDA cores. The formula is conv_tile.h's.
//
// A thread keeps kRows x kColumns sums in registers. Its rows lie kPixels / kRows apart, so that the four
// rows a warp reads at once fall into different banks; its columns are vectors of four, and eight lanes cover
// a slice's 32 channels with one 128-byte read and one 128-byte store. Per four steps of the reduction a
// thread reads kRows + kColumns vectors from shared memory for 4 * kRows * kColumns multiplications: 1 to 16
// with the 8 x 8 tiles, so that the arithmetic and not shared memory is the bound. Two stages of shared
// memory, at most 37 KiB: nothing here needs more than sm_60. Packed weights: [slice][step][16][32].
#include "kernels/cuda/conv_tile.h"

namespace lasnet::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kLanes = kSlice / 4;  ///< threads that cover a slice's channels

/// kSlicesPerThread: slices a thread has columns in. Threads along the channels: kChannels / (4 *
/// kSlicesPerThread).
template <int kPixelsValue, int kChannelsValue, int kRowsValue, int kSlicesPerThreadValue>
struct Fp32Tile {
  static constexpr int kPixels = kPixelsValue, kChannels = kChannelsValue;
  static constexpr int kRows = kRowsValue, kSlicesPerThread = kSlicesPerThreadValue;
  static constexpr int kColumns = 4 * kSlicesPerThread;
  static constexpr int kSliceStep = kChannels / kSlice / kSlicesPerThread;  ///< between a thread's slices
  static constexpr int kRowThreads = kPixels / kRows;
  static constexpr int kThreads = kRowThreads * kSliceStep * kLanes;
  using Loader = TileLoader<float, kPixels, kChannels, kThreads>;
};
using Tall = Fp32Tile<128, 64, 8, 2>;
using Medium = Fp32Tile<64, 64, 8, 2>;
using Small = Fp32Tile<64, 32, 4, 1>;
static_assert(Tall::kThreads == 128 && Medium::kThreads == 64 && Small::kThreads == 128);

/// A thread's place in its tile.
struct Corner {
  int row, slice, column;
};

template <class Tile>
__device__ Corner corner() {
  int thread = static_cast<int>(threadIdx.x);
  int row = thread / kLanes % Tile::kRowThreads, slice = thread / (kLanes * Tile::kRowThreads);
  return {row, slice, thread % kLanes * 4};
}

template <class Tile>
__device__ void multiply_step(const unsigned char* stage, const Corner& at,
                              float (&sums)[Tile::kRows][Tile::kColumns]) {
  const unsigned char* weights = stage + Tile::kPixels * kRowBytes<1>;
#pragma unroll
  for (int k = 0; k < kStepElements<float>; k += 4) {
    float a[Tile::kRows][4];
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      load_vector(reinterpret_cast<const float*>(stage + (at.row + i * Tile::kRowThreads) * kRowBytes<1>) + k,
                  a[i]);
    }
#pragma unroll
    for (int step = 0; step < 4; ++step) {
#pragma unroll
      for (int j = 0; j < Tile::kSlicesPerThread; ++j) {
        float b[4];
        load_vector(
            reinterpret_cast<const float*>(weights + (at.slice + j * Tile::kSliceStep) * kSliceStepBytes) +
                (k + step) * kSlice + at.column,
            b);
#pragma unroll
        for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
          for (int q = 0; q < 4; ++q) sums[i][4 * j + q] += a[i][step] * b[q];
        }
      }
    }
  }
}

template <class Tile>
__device__ void compute_tile(const ConvCall& call, Pipeline<kStages, typename Tile::Loader>& pipeline,
                             const TilePlace& place) {
  Corner at = corner<Tile>();
  float sums[Tile::kRows][Tile::kColumns] = {};
  pipeline.start();
  for (int s = 0; s < pipeline.stages(); ++s) {
    pipeline.arrive();
    pipeline.refill(s);
    multiply_step<Tile>(pipeline.stage(s), at, sums);
  }
  pipeline.finish();
  int64_t count = *call.count;
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
    int64_t p = place.pixel + at.row + i * Tile::kRowThreads;
    if (p >= count) continue;
    int pixel = call.out_pixels[p];
#pragma unroll
    for (int j = 0; j < Tile::kSlicesPerThread; ++j) {
      int channel = place.channel + (at.slice + j * Tile::kSliceStep) * kSlice + at.column;
      float values[4] = {sums[i][4 * j], sums[i][4 * j + 1], sums[i][4 * j + 2], sums[i][4 * j + 3]};
      if (channel < call.out_channels) finish<float>(call, pixel, channel, values);
    }
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 2) conv_fp32_kernel(ConvCall call) {
  auto* stages = shared_memory<unsigned char>();
  using TilePipeline = Pipeline<kStages, typename Tile::Loader>;
  run_tiles<Tile>(
      call, [&](const TilePlace& place) { return TilePipeline(call, stages, place); },
      [&](TilePipeline& pipeline, const TilePlace& place) { compute_tile<Tile>(call, pipeline, place); });
}

template <class Tile>
void launch_tiles(Stream& stream, const ConvCall& call) {
  launch_persistent<Tile>(stream, conv_fp32_kernel<Tile>, kStages * Tile::Loader::kStageBytes, call);
}

}  // namespace

void conv_fp32(Stream& stream, const CudaTile& tile, const ConvCall& call) {
  switch (tile.shape) {
    case CudaTileShape::tall:
      return launch_tiles<Tall>(stream, call);
    case CudaTileShape::medium:
      return launch_tiles<Medium>(stream, call);
    default:
      return launch_tiles<Small>(stream, call);
  }
}

void conv(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call) {
  if (precision == Precision::fp32) return conv_fp32(stream, tile, call);
  conv_tensor(stream, precision, tile, call);
}

}  // namespace lasnet::cuda
