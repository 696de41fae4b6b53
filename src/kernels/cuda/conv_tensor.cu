// Convolution over a list on tensor cores: TF32, fp16 or bf16 products, float32 sums. The formula is
// conv_tile.h's.
//
// A warp owns kWarpPixels x 32 outputs, one slice of channels. A step's 64 bytes of reduction are two
// mma.sync deep in every format (16 values of 16 bits or 8 of 32 each), so one kernel serves all of them:
// rows come to registers by ldmatrix (80 bytes between rows: no bank conflict), weights are packed in the
// order of mma fragments and need one conflict-free 16-byte read for two 8-channel columns. Four stages are
// in flight. The sums leave through shared memory, so that the identity is read and the result written in
// whole 16-byte vectors of channels. Packed weights: [slice][step][half of the step][pair of columns][lane][2
// columns x 2 words].
#include "kernels/cuda/conv_tile.h"

namespace lasnet::cuda {
namespace {

constexpr int kStages = 4;
constexpr int kMmaBytes = 32;  ///< of reduction per mma
constexpr int kMmaPixels = 16, kMmaChannels = 8;
constexpr int kColumns = kSlice / kMmaChannels;

template <int kPixelsValue, int kChannelsValue, int kWarpPixelsValue>
struct TensorTile {
  static constexpr int kPixels = kPixelsValue, kChannels = kChannelsValue, kWarpPixels = kWarpPixelsValue;
  static constexpr int kPixelWarps = kPixels / kWarpPixels;
  static constexpr int kThreads = 32 * kPixelWarps * (kChannels / kSlice);
  static constexpr int kBands = kWarpPixels / kMmaPixels;
  static constexpr int kSumPitch = kChannels + 4;  ///< floats between rows of sums in shared memory
  template <class T>
  using Loader = TileLoader<T, kPixels, kChannels, kThreads>;
  template <class T>
  static constexpr int64_t shared_bytes() {
    int64_t stages = kStages * Loader<T>::kStageBytes, sums = int64_t{4} * kPixels * kSumPitch;
    return stages > sums ? stages : sums;
  }
};
using Wide = TensorTile<128, 128, 64>;
using Tall = TensorTile<128, 64, 64>;
using Small = TensorTile<64, 32, 16>;
static_assert(Wide::kThreads == 256 && Tall::kThreads == 128 && Small::kThreads == 128);

/// A warp's sums: [16-pixel band][8-channel column][fragment].
template <class Tile>
using Sums = float[Tile::kBands][kColumns][4];

/// A warp's place in its tile.
struct WarpPlace {
  int pixel, slice, lane;
};

template <class Tile>
__device__ WarpPlace warp_place() {
  int warp = static_cast<int>(threadIdx.x) / 32;
  return {warp % Tile::kPixelWarps * Tile::kWarpPixels, warp / Tile::kPixelWarps,
          static_cast<int>(threadIdx.x) % 32};
}

template <class Tile, Precision P>
__device__ void multiply_step(const unsigned char* stage, const WarpPlace& at, Sums<Tile>& sums) {
  const unsigned char* weights =
      stage + Tile::kPixels * kRowBytes + at.slice * kSliceStepBytes + at.lane * 16;
  const unsigned char* rows = stage + (at.pixel + at.lane % 16) * kRowBytes + at.lane / 16 * 16;
#pragma unroll
  for (int part = 0; part < kStepBytes / kMmaBytes; ++part) {
    uint32_t a[Tile::kBands][4];
#pragma unroll
    for (int i = 0; i < Tile::kBands; ++i) {
      load_matrices(a[i], rows + i * kMmaPixels * kRowBytes + part * kMmaBytes);
      if constexpr (P == Precision::tf32) {
#pragma unroll
        for (int k = 0; k < 4; ++k) round_to_tf32(a[i][k]);
      }
    }
#pragma unroll
    for (int pair = 0; pair < kColumns / 2; ++pair) {
      uint4 b = *reinterpret_cast<const uint4*>(weights + (part * (kColumns / 2) + pair) * 32 * 16);
#pragma unroll
      for (int i = 0; i < Tile::kBands; ++i) {
        multiply_add<P>(sums[i][2 * pair], a[i], b.x, b.y);
        multiply_add<P>(sums[i][2 * pair + 1], a[i], b.z, b.w);
      }
    }
  }
}

/// Fragments -> rows of floats in shared memory.
template <class Tile>
__device__ void spread(const WarpPlace& at, const Sums<Tile>& sums, float* rows) {
#pragma unroll
  for (int i = 0; i < Tile::kBands; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      float* to = rows + (at.pixel + i * kMmaPixels + at.lane / 4) * Tile::kSumPitch + at.slice * kSlice +
                  j * kMmaChannels + at.lane % 4 * 2;
      to[0] = sums[i][j][0];
      to[1] = sums[i][j][1];
      to[8 * Tile::kSumPitch] = sums[i][j][2];
      to[8 * Tile::kSumPitch + 1] = sums[i][j][3];
    }
  }
}

template <class Tile, class T>
__device__ void store_rows(const ConvCall& call, const TileGrid& grid, const TilePlace& place,
                           const float* rows) {
  constexpr int kVectorsPerRow = Tile::kChannels / kVector<T>;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kPixels * kVectorsPerRow; i += Tile::kThreads) {
    int row = i / kVectorsPerRow, column = i % kVectorsPerRow * kVector<T>;
    int64_t p = place.pixel + row;
    if (p >= grid.count || place.channel + column >= call.out_channels) continue;
    float values[kVector<T>];
#pragma unroll
    for (int k = 0; k < kVector<T>; k += 4) {
      float four[4];
      load_vector(rows + row * Tile::kSumPitch + column + k, four);
      for (int q = 0; q < 4; ++q) values[k + q] = four[q];
    }
    finish<T>(call, p, place.channel + column, values);
  }
}

template <class Tile, Precision P>
__device__ void compute_tile(const ConvCall& call, const TileGrid& grid, const TilePlace& place) {
  using T = typename ElementOf<P>::Type;
  auto* stages = shared_memory<unsigned char>();
  WarpPlace at = warp_place<Tile>();
  Sums<Tile> sums = {};
  typename Tile::template Loader<T> loader(call, grid, place);
  MaskerDot<T, Tile::kPixels> dot(call, place);
  run_pipeline<kStages>(loader, stages, [&](const unsigned char* stage, int step) {
    multiply_step<Tile, P>(stage, at, sums);
    dot.add(stage, step);
  });
  dot.store(call, grid, place);
  auto* rows = shared_memory<float>();
  spread<Tile>(at, sums, rows);
  __syncthreads();
  store_rows<Tile, T>(call, grid, place, rows);
  __syncthreads();
}

template <class Tile, Precision P>
__global__ void __launch_bounds__(Tile::kThreads, 2) conv_tensor_kernel(ConvCall call) {
  if (kHasTensorCores) {  // instantiated in every case, so that all constants are used
    TileGrid grid = tile_grid(call, Tile::kPixels, Tile::kChannels);
    for (int64_t tile = blockIdx.x; tile < grid.tiles; tile += gridDim.x) {
      compute_tile<Tile, P>(call, grid, tile_place(grid, tile, Tile::kPixels, Tile::kChannels));
    }
  }
}

template <class Tile, Precision P>
void launch_tiles(Stream& stream, int64_t max_pixels, const ConvCall& call) {
  int64_t columns = (call.out_channels + Tile::kChannels - 1) / Tile::kChannels;
  int64_t tiles = (max_pixels + Tile::kPixels - 1) / Tile::kPixels * columns;
  int64_t shared = Tile::template shared_bytes<typename ElementOf<P>::Type>();
  auto* kernel = conv_tensor_kernel<Tile, P>;
  int64_t blocks = persistent_blocks(reinterpret_cast<const void*>(kernel), Tile::kThreads, shared, tiles);
  launch(stream, kernel, LaunchShape{blocks, Tile::kThreads, shared}, call);
}

template <Precision P>
void launch_shape(Stream& stream, const CudaTile& tile, int64_t max_pixels, const ConvCall& call) {
  switch (tile.shape) {
    case CudaTileShape::wide:
      return launch_tiles<Wide, P>(stream, max_pixels, call);
    case CudaTileShape::tall:
      return launch_tiles<Tall, P>(stream, max_pixels, call);
    case CudaTileShape::small:
      return launch_tiles<Small, P>(stream, max_pixels, call);
  }
}

}  // namespace

void conv_tensor(Stream& stream, Precision precision, const CudaTile& tile, int64_t max_pixels,
                 const ConvCall& call) {
  if (precision == Precision::fp16) return launch_shape<Precision::fp16>(stream, tile, max_pixels, call);
  if (precision == Precision::bf16) return launch_shape<Precision::bf16>(stream, tile, max_pixels, call);
  launch_shape<Precision::tf32>(stream, tile, max_pixels, call);
}

}  // namespace lasnet::cuda
