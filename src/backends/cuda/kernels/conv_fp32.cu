// Convolution over a list in float32, on CUDA cores. The formula is conv_tile.h's.
//
// A thread keeps kRows x kColumns sums in registers. Its rows lie kRowThreads apart, so that the four rows a
// warp reads at once fall into different banks; its columns are vectors of four, and eight lanes cover a
// slice's 32 channels with one 128-byte read and one 128-byte store. Per four elements of the reduction a
// thread reads kRows + kColumns vectors from shared memory for 4 * kRows * kColumns multiplications: 1 to 16
// with 8 x 8, so that the arithmetic and not shared memory is the bound.
//
// How many tiles a multiprocessor gets is a small number, and its last ones leave it partly idle. So tiles of
// the shape `fitted` are as high as the list asks for: 48, 40 or 32 pixels, whichever is done first
// (conv_shape.h). Two stages of shared memory, at most 27 KiB: nothing here needs more than sm_60. Packed
// weights: [slice][step][16][32].
#include "backends/cuda/kernels/conv_tile.h"

namespace lasnet::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kLanes = kSlice / 4;  ///< threads that cover a slice's channels

/// kSlicesPerThread: slices a thread has columns in. Threads along the channels: kChannels / (4 *
/// kSlicesPerThread). kSteps: of the reduction, in a stage.
template <int kPixelsValue, int kChannelsValue, int kRowsValue, int kSlicesPerThreadValue, int kStepsValue,
          int kMaxTeamsValue>
struct Fp32Tile {
  static constexpr int kPixels = kPixelsValue, kChannels = kChannelsValue;
  static constexpr int kRows = kRowsValue, kSlicesPerThread = kSlicesPerThreadValue;
  static constexpr int kSteps = kStepsValue, kMaxTeams = kMaxTeamsValue;
  static constexpr int kColumns = 4 * kSlicesPerThread;
  static constexpr int kSliceStep = kChannels / kSlice / kSlicesPerThread;  ///< between a thread's slices
  static constexpr int kRowThreads = kPixels / kRows;
  static constexpr int kThreads = kRowThreads * kSliceStep * kLanes;
  using Loader = TileLoader<float, kPixels, kChannels, kThreads, kSteps>;
  static constexpr int kTeamBytes = kStages * Loader::kStageBytes;
};
using Medium = Fp32Tile<64, 64, 8, 2, 1, 1>;
using Small = Fp32Tile<64, 32, 4, 1, 2, 5>;
constexpr int kFittedRowThreads = 8, kFittedTeams = 8;
template <int kPixels>
using Fitted = Fp32Tile<kPixels, kFittedFp32.channels, kPixels / kFittedRowThreads, 2, 1, kFittedTeams>;
static_assert(Medium::kThreads == 64 && Small::kThreads == 128);
// In one kernel.
static_assert(Fitted<48>::kThreads == Fitted<40>::kThreads && Fitted<40>::kThreads == Fitted<32>::kThreads);
static_assert(Fitted<48>::kTeamBytes >= Fitted<40>::kTeamBytes &&
              Fitted<40>::kTeamBytes >= Fitted<32>::kTeamBytes);

/// A thread's sums.
template <class Tile>
using Sums = float[Tile::kRows][Tile::kColumns];

/// A thread's place in its tile.
struct Corner {
  int row, slice, column;
};

template <class Tile>
__device__ Corner corner() {
  int thread = team_thread<Tile::kThreads>();
  int row = thread / kLanes % Tile::kRowThreads, slice = thread / (kLanes * Tile::kRowThreads);
  return {row, slice, thread % kLanes * 4};
}

template <class Tile>
__device__ void multiply_step(const unsigned char* rows, const unsigned char* weights, Sums<Tile>& sums) {
#pragma unroll
  for (int k = 0; k < kStepElements<float>; k += 4) {
    float a[Tile::kRows][4];
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const unsigned char* row = rows + i * Tile::kRowThreads * kRowBytes<Tile::kSteps>;
      load_vector(reinterpret_cast<const float*>(row) + k, a[i]);
    }
#pragma unroll
    for (int q = 0; q < 4; ++q) {
#pragma unroll
      for (int j = 0; j < Tile::kSlicesPerThread; ++j) {
        const unsigned char* slice = weights + j * Tile::kSliceStep * Tile::Loader::kSliceBytes;
        float b[4];
        load_vector(reinterpret_cast<const float*>(slice) + (k + q) * kSlice, b);
#pragma unroll
        for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
          for (int c = 0; c < 4; ++c) sums[i][4 * j + c] += a[i][q] * b[c];
        }
      }
    }
  }
}

template <class Tile>
__device__ void multiply_stage(const unsigned char* stage, const Corner& at, Sums<Tile>& sums) {
  const unsigned char* rows = stage + at.row * kRowBytes<Tile::kSteps>;
  const unsigned char* weights =
      stage + Tile::Loader::kRowsBytes + at.slice * Tile::Loader::kSliceBytes + at.column * sizeof(float);
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step)
    multiply_step<Tile>(rows + step * kStepBytes, weights + step * kSliceStepBytes, sums);
}

/// Stores a tile. Of as many rows as registers allow, reads do not wait for each other.
template <class Tile>
__device__ void store_sums(const ConvCall& call, const TilePlace& place, int listed, const Corner& at,
                           Sums<Tile>& sums) {
  constexpr int kAtOnce = Tile::kRows > 6 ? Tile::kRows / 2 : Tile::kRows;
  static_assert(Tile::kRows % kAtOnce == 0);
  int channels[Tile::kSlicesPerThread];
  float bias[Tile::kSlicesPerThread][4];
#pragma unroll
  for (int j = 0; j < Tile::kSlicesPerThread; ++j) {
    channels[j] = place.channel + (at.slice + j * Tile::kSliceStep) * kSlice + at.column;
    load_floats(call.bias + channels[j], bias[j]);
  }
#pragma unroll
  for (int first = 0; first < Tile::kRows; first += kAtOnce) {
    int pixels[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      int row = at.row + (first + i) * Tile::kRowThreads;
      pixels[i] = call.out_pixels[place.pixel + least(row, listed - 1)];
    }
    float identity[kAtOnce][Tile::kSlicesPerThread][4] = {};
    if (call.epilogue == Epilogue::bias_add_relu) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kSlicesPerThread; ++j) {
          bool is_channel = channels[j] < call.out_channels;
          bool is_listed = at.row + (first + i) * Tile::kRowThreads < listed;
          const float* from = out_vector<float>(call, pixels[i], is_channel ? channels[j] : 0);
          load_vector(discarded_unless(is_channel && is_listed, from), identity[i][j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (at.row + (first + i) * Tile::kRowThreads >= listed) break;
#pragma unroll
      for (int j = 0; j < Tile::kSlicesPerThread; ++j) {
        if (channels[j] >= call.out_channels) break;
        const float* own = &sums[first + i][4 * j];
        float values[4] = {own[0], own[1], own[2], own[3]};
        finish<float>(call, pixels[i], channels[j], values, bias[j], identity[i][j]);
      }
    }
  }
}

/// The team's tiles, one after the other: reading ahead, as conv_tensor.cu does, takes registers that a
/// tile's sums need, and made networks 7 % slower on an H100.
template <class Tile>
__device__ void compute_tiles(const ConvCall& call) {
  let_successor_start();
  unsigned char* memory = team_memory<Tile>(Tile::kTeamBytes);
  unsigned team = threadIdx.x / Tile::kThreads, teams = blockDim.x / Tile::kThreads;
  bool is_first = true;
  for (unsigned index = blockIdx.x + gridDim.x * team;; index += gridDim.x * teams) {
    TilePlace place = tile_place(call, index, Tile::kPixels, Tile::kChannels);
    if (!is_first && place.pixel >= static_cast<unsigned>(*call.count)) return;
    Pipeline<Tile, kStages, typename Tile::Loader> pipeline(call, memory, place);
    if (is_first) wait_for_predecessor();
    auto entries = pipeline.listed_entries(call, place);
    if (is_first && place.pixel >= static_cast<unsigned>(*call.count)) return pipeline.abandon();
    is_first = false;
    pipeline.start(entries, static_cast<int>(*call.count - place.pixel));
    Corner at = corner<Tile>();
    Sums<Tile> sums = {};
    for (int s = 0; s < pipeline.stages(); ++s) {
      pipeline.arrive();
      pipeline.refill(s);
      multiply_stage<Tile>(pipeline.stage(s), at, sums);
    }
    pipeline.finish();
    store_sums<Tile>(call, place, static_cast<int>(*call.count - place.pixel), at, sums);
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kMaxTeams* Tile::kThreads, 1) conv_fp32_kernel(ConvCall call) {
  compute_tiles<Tile>(call);
}

__global__ void __launch_bounds__(kFittedTeams* Fitted<48>::kThreads, 1)
    conv_fp32_fitted_kernel(ConvCall call) {
  begin_kernel();
  switch (listed_height<kFittedFp32>(call)) {
    case 48:
      return compute_tiles<Fitted<48>>(call);
    case 40:
      return compute_tiles<Fitted<40>>(call);
    default:
      return compute_tiles<Fitted<32>>(call);
  }
}

}  // namespace

void conv_fp32(Stream& stream, const CudaTile& tile, const ConvCall& call) {
  switch (tile.shape) {
    case CudaTileShape::fitted:
      // Memory for the highest, blocks for the lowest.
      return launch_persistent<Fitted<32>>(stream, conv_fp32_fitted_kernel, Fitted<48>::kTeamBytes, call);
    case CudaTileShape::medium:
      return launch_persistent<Medium>(stream, conv_fp32_kernel<Medium>, Medium::kTeamBytes, call);
    default:
      return launch_persistent<Small>(stream, conv_fp32_kernel<Small>, Small::kTeamBytes, call);
  }
}

void conv(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call) {
  if (precision == Precision::fp32) return conv_fp32(stream, tile, call);
  if (order_of(tile.shape) == AccumulationOrder::warpgroup) return conv_hopper(stream, precision, tile, call);
  conv_tensor(stream, precision, tile, call);
}

}  // namespace lasnet::cuda
