// Convolution over a list on tensor cores of compute capability 9.0 (wgmma): fp16 or bf16 products, float32
// sums. The formula is conv_tile.h's.
//
// A tile's sums are transposed: its rows are channels, 64 of a warpgroup's, and its columns are pixels, whose
// number the list's length decides. So 128 or 256 channels share the rows that are gathered, and a
// multiprocessor can take its share of the list at once: what moves from the second-level cache to it bounds
// these layers, and tiles of 128 x 128 move half as much again. Both operands are multiplied from shared
// memory, where they lie as SharedOperand says. The epilogue transposes eight by eight values in registers,
// so that it reads and writes 16 bytes of a pixel's channels at once. Packed weights: pack_hopper_weights.
#include "backends/cuda/kernels/tensor_store.h"

namespace lasnet::cuda {
namespace {

constexpr int kStageVectors = kHopperStepBytes / 16;          ///< of a row
constexpr int kBlockBytes = kHopperBlock * kHopperStepBytes;  ///< a warpgroup's weights of a stage
constexpr int kProductBytes = 32;                             ///< of reduction per product
constexpr int kWarpgroup = 128;

template <int kBlocksValue, int kPixelsValue, int kStagesValue>
struct HopperTile {
  static constexpr int kBlocks = kBlocksValue, kPixels = kPixelsValue, kStages = kStagesValue;
  static constexpr int kChannels = kBlocks * kHopperBlock, kThreads = kBlocks * kWarpgroup;
  static constexpr int kMaxTeams = 4 / kBlocks;  ///< as registers allow
  static constexpr int kWeightsBytes = kBlocks * kBlockBytes;
  static constexpr int kStageBytes = kWeightsBytes + kPixels * kHopperStepBytes;
  /// Of stages and listed rows, in whole operands.
  LASNET_HOST_DEVICE static constexpr int team_bytes() {
    return kStages * kStageBytes + (kPixels * 16 + 1023) / 1024 * 1024;
  }
};
/// kBlocks: of `hopper` tiles 2, of `hopper_wide` ones 4. Stages as shared memory allows.
template <int kBlocks, int kPixels>
using HopperOf = HopperTile<kBlocks, kPixels, kBlocks == 4 ? 4 : 3>;
template <int kBlocks>
LASNET_HOST_DEVICE constexpr int highest_team_bytes() {
  return HopperOf<kBlocks, 160>::team_bytes();
}
static_assert(kFittedHopper.channels == 2 * kHopperBlock && kFittedHopperWide.channels == 4 * kHopperBlock);

/// Copies the operands of a stage: weights, and rows behind them.
template <class T, class Tile>
class HopperLoader {
  static constexpr int kRowStep = Tile::kThreads / kStageVectors;
  static constexpr int kRows = (Tile::kPixels + kRowStep - 1) / kRowStep;
  static constexpr int kStageElements = kHopperStepBytes / static_cast<int>(sizeof(T));

 public:
  static constexpr int kStageBytes = Tile::kStageBytes;

  __device__ HopperLoader(const ConvCall& call, const TilePlace& place) : call_(&call) {
    int thread = team_thread<Tile::kThreads>(), vector = thread % kStageVectors;
    row_ = first_row();
    steps_per_tap_ = (call.run + kStageElements - 1) / kStageElements;
    steps_ = steps_per_tap_ * call.taps;
    weights_ = static_cast<const unsigned char*>(call.weights) +
               static_cast<int64_t>(place.channel / kHopperBlock) * steps_ * kBlockBytes + thread * 16;
    rows_to_ = Tile::kWeightsBytes + row_ * kHopperStepBytes + (vector ^ row_ % 8) * 16;
    element_ = vector * kVector<T>;
  }

  using Entries = RowEntries<kRows, kRowStep>;
  /// This thread's first row.
  __device__ static int first_row() { return team_thread<Tile::kThreads>() / kStageVectors; }

  /// Finds the rows; entries beyond `listed` may be anything.
  __device__ void find_rows(const Entries& entries, int listed) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (row_ + i * kRowStep < listed) listed_ |= 1u << i;
      rows_[i] = static_cast<const T*>(call_->in) +
                 static_cast<int64_t>(entries.pixels[i]) * call_->in_pitch + element_;
    }
  }

  __device__ int stages() const { return steps_; }
  __device__ static void publish() { publish_to_products(); }

  /// Issues the copies of the weights of one more stage.
  __device__ void load_weights(unsigned char* stage) {
    constexpr int kPerBlock = kBlockBytes / 16 / Tile::kThreads;
    static_assert(kPerBlock * Tile::kThreads * 16 == kBlockBytes);
    stage += team_thread<Tile::kThreads>() * 16;
#pragma unroll
    for (int i = 0; i < kPerBlock * Tile::kBlocks; ++i) {
      int block = i / kPerBlock, within = i % kPerBlock * Tile::kThreads * 16;
      copy_async(stage + block * kBlockBytes + within,
                 weights_ + static_cast<int64_t>(block) * steps_ * kBlockBytes + within, true);
    }
    weights_ += kBlockBytes;
  }

  /// Issues the copies of the rows of one more stage.
  __device__ void load_rows(unsigned char* stage) {
    int element = within_ * kStageElements;
    bool valid = element + element_ < call_->run;
    int offset = valid ? call_->tap_offsets[tap_] + element : 0;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (Tile::kPixels % kRowStep != 0 && row_ + i * kRowStep >= Tile::kPixels) continue;
      copy_async(stage + rows_to_ + i * kRowStep * kHopperStepBytes, rows_[i] + offset,
                 valid && (listed_ >> i & 1) != 0);
    }
    if (++within_ == steps_per_tap_) within_ = 0, ++tap_;
  }

 private:
  const ConvCall* call_;
  const T* rows_[kRows];
  unsigned listed_ = 0;           ///< a bit per row: others are zeros, and cost no traffic
  const unsigned char* weights_;  ///< of the next stage
  int row_, rows_to_;             ///< this thread's first one; where it goes in a stage
  int element_, steps_per_tap_, steps_;
  int tap_ = 0, within_ = 0;  ///< of the next stage's rows
};

/// A thread's sums, as multiply_async leaves them.
template <class Tile>
using ChannelSums = float[Tile::kPixels / 2];

template <class Tile, Precision P>
__device__ void multiply_stage(const unsigned char* stage, bool adds, ChannelSums<Tile>& sums) {
  int block = team_thread<Tile::kThreads>() / kWarpgroup;
  SharedOperand weights(stage + block * kBlockBytes), rows(stage + Tile::kWeightsBytes);
  begin_products();
#pragma unroll
  for (int k = 0; k < kHopperStepBytes; k += kProductBytes)
    multiply_async<P, Tile::kPixels>(sums, weights.from(k), rows.from(k), adds || k > 0);
  commit_products();
}

/// Of 16 pixels of a warp's 16 channels, a lane's part: 8 channels of one.
template <class T>
struct LaneVector {
  T* place = nullptr;  ///< null: not stored
  bool is_linear = false;

  template <class Tile>
  __device__ void find(const ConvCall& call, const TeamTile& tile, const ListedRows<Tile>& rows, int band,
                       int channel) {
    int row = band * 16 + lane_index() / 2 % 2 * 8 + lane_index() / 4, pixel = rows.out[tile.turn][row];
    bool is_stored = row < tile.listed && channel < call.out_channels;
    place = is_stored ? out_vector<T>(call, pixel, channel) : nullptr;
    is_linear = cuda::is_linear(call, pixel);
  }
};

/// Stores a tile. Of as many pixels as registers allow, reads do not wait for each other.
template <bool kAdds, class Tile, class T>
__device__ void store_tile(const ConvCall& call, const TeamTile& tile, const ListedRows<Tile>& rows,
                           const ChannelSums<Tile>& sums) {
  constexpr int kBands = Tile::kPixels / 16, kAtOnce = Tile::kPixels <= 96 ? 3 : Tile::kPixels <= 128 ? 2 : 1;
  int lane = lane_index();
  int first = tile.place.channel + team_thread<Tile::kThreads>() / 32 * 16;
  const float bias[2] = {call.bias[first + lane / 4], call.bias[first + 8 + lane / 4]};
#pragma unroll
  for (int band = 0; band < kBands; band += kAtOnce) {
    LaneVector<T> own[kAtOnce];
    uint4 added[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce && band + i < kBands; ++i) {
      own[i].find(call, tile, rows, band + i, first + lane % 2 * 8);
      if (kAdds && own[i].place != nullptr) added[i] = *reinterpret_cast<const uint4*>(own[i].place);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce && band + i < kBands; ++i) {
      uint32_t identity[kColumns] = {added[i].x, added[i].y, added[i].z, added[i].w};
      if (kAdds) exchange(identity);
      uint32_t words[kColumns];
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {  // 8 channels, of two, of 8 pixels, of two
        const float* sum = &sums[(2 * (band + i) + j / 2) * 4 + j % 2 * 2];
        float values[2] = {sum[0] + bias[j % 2], sum[1] + bias[j % 2]};
        if (kAdds) {
          float before[2];
          unpack_word<T>(transpose_matrix(identity[j]), before);
          values[0] += before[0], values[1] += before[1];
        }
        words[j] = transpose_matrix(pack_word<T>(values));
      }
      exchange(words);
      if (own[i].place == nullptr) continue;
      uint32_t at_least = own[i].is_linear ? kMinPair<T> : 0;
      *reinterpret_cast<uint4*>(own[i].place) = {
          max_of_pairs<T>(words[0], at_least), max_of_pairs<T>(words[1], at_least),
          max_of_pairs<T>(words[2], at_least), max_of_pairs<T>(words[3], at_least)};
    }
  }
}

/// A stage is free when the products after it have been waited for, so copies run one stage less ahead.
template <class Tile, Precision P>
__device__ void compute_tiles(const ConvCall& call, int team_bytes) {
  using T = typename ElementOf<P>::Type;
  using TilePipeline = Pipeline<Tile, Tile::kStages, HopperLoader<T, Tile>, Tile::kStages - 2>;
  unsigned char* memory = team_memory<Tile>(team_bytes);
  auto& rows = *reinterpret_cast<ListedRows<Tile>*>(memory + Tile::kStages * Tile::kStageBytes);
  ChannelSums<Tile> sums;
  let_successor_start();
  unsigned team = threadIdx.x / Tile::kThreads, teams = blockDim.x / Tile::kThreads;
  unsigned index = blockIdx.x + gridDim.x * team;
  TilePlace first = tile_place(call, index, Tile::kPixels, Tile::kChannels);
  TilePipeline pipeline(call, memory, first);
  wait_for_predecessor();
  auto entries = TilePipeline::listed_entries(call, first);  // beside the list's length, not after it
  auto count = static_cast<unsigned>(*call.count);
  TeamTile tile(first, count, 0, true);
  if (tile.listed == 0) return pipeline.abandon();
  rows.fetch(call, tile.place, tile.turn);
  pipeline.start(entries, tile.listed);
  for (;;) {
    index += gridDim.x * teams;
    TeamTile next(tile_place(call, index, Tile::kPixels, Tile::kChannels), count, 1 - tile.turn, false);
    bool is_last = next.listed == 0;
    for (int s = 0; s < pipeline.stages(); ++s) {
      pipeline.arrive();
      if (s == 0 && !is_last) rows.fetch(call, next.place, next.turn);
      multiply_stage<Tile, P>(pipeline.stage(s), s > 0, sums);
      wait_products<1>();
      pipeline.refill(s);
    }
    wait_products<0>();
    pipeline.finish();
    if (!is_last) {
      pipeline.begin(next.place);
      pipeline.start(TilePipeline::fetched_entries(rows.in[next.turn]), next.listed);
    }
    if (call.epilogue == Epilogue::bias_add_relu) {
      store_tile<true, Tile, T>(call, tile, rows, sums);
    } else {
      store_tile<false, Tile, T>(call, tile, rows, sums);
    }
    if (is_last) return;
    tile = next;
  }
}

/// Tiles of the height that the list asks for, in memory for the highest.
template <int kBlocks, Precision P>
__global__ void __launch_bounds__(4 * kWarpgroup, 1) conv_hopper_kernel(ConvCall call) {
  if (kHasWarpgroupProducts) {
    int team_bytes = highest_team_bytes<kBlocks>();
    begin_kernel();
    int height = kBlocks == 4 ? listed_height<kFittedHopperWide>(call) : listed_height<kFittedHopper>(call);
    switch (height) {
      case 160:
        return compute_tiles<HopperOf<kBlocks, 160>, P>(call, team_bytes);
      case 128:
        return compute_tiles<HopperOf<kBlocks, 128>, P>(call, team_bytes);
      case 112:
        return compute_tiles<HopperOf<kBlocks, 112>, P>(call, team_bytes);
      case 96:
        return compute_tiles<HopperOf<kBlocks, 96>, P>(call, team_bytes);
      case 80:
        return compute_tiles<HopperOf<kBlocks, 80>, P>(call, team_bytes);
      default:
        return compute_tiles<HopperOf<kBlocks, 64>, P>(call, team_bytes);
    }
  }
}

/// Memory for the highest tiles, blocks for the lowest.
template <int kBlocks>
void launch_blocks(Stream& stream, Precision precision, const ConvCall& call) {
  launch_persistent<HopperOf<kBlocks, 64>>(stream,
                                           precision == Precision::fp16
                                               ? conv_hopper_kernel<kBlocks, Precision::fp16>
                                               : conv_hopper_kernel<kBlocks, Precision::bf16>,
                                           highest_team_bytes<kBlocks>(), call);
}

}  // namespace

void conv_hopper(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call) {
  if (tile.shape == CudaTileShape::hopper_wide) {
    launch_blocks<4>(stream, precision, call);
  } else {
    launch_blocks<2>(stream, precision, call);
  }
}

}  // namespace lasnet::cuda
