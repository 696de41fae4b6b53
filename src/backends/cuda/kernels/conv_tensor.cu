// Convolution over a list on tensor cores: TF32, fp16 or bf16 products, float32 sums. The formula is
// conv_tile.h's.
//
// A warp owns kWarpPixels x kWarpSlices * 32 outputs. A step's 64 bytes of reduction are two mma.sync deep in
// every format (16 values of 16 bits or 8 of 32 each), so one kernel serves all of them: rows come to
// registers by ldmatrix (80 bytes between rows: no bank conflict), weights are packed in the order of mma
// fragments and need one conflict-free 16-byte read for two 8-channel columns. The sums' fragments are
// exchanged among four lanes, so that the identity is read and the result written in 16-byte vectors of
// channels, and shared memory is free for the next tile; those of a divided reduction are added there.
// Packed weights: [slice][step][half of the step][pair of columns][lane][2 columns x 2 words].
#include "backends/cuda/kernels/tensor_store.h"

namespace lasnet::cuda {
namespace {

using Wide = TensorTile<128, 128, 64, 2, 4, 2>;
using Tall = TensorTile<128, 64, 64, 1, 4, 3>;
using Medium = TensorTile<64, 64, 32, 1, 4, 4>;
using Small = TensorTile<64, 32, 16, 1, 4, 5>;
using Split = TensorTile<32, 32, 16, 1, 3, 1, 8>;
/// `fitted`: where 16-pixel bands do not divide among two warps, each takes all of them.
template <int kPixels>
using Fitted =
    TensorTile<kPixels, 128, kPixels % 32 == 0 ? kPixels / 2 : kPixels, kPixels % 32 == 0 ? 2 : 1, 4, 2>;
static_assert(Wide::kThreads == 128 && Tall::kThreads == 128 && Medium::kThreads == 128 &&
              Small::kThreads == 128 && Split::kThreads == 512);

/// A warp's operands of half a step.
template <class Tile>
struct Fragments {
  uint32_t a[Tile::kBands][4];
  uint4 b[Tile::kWarpSlices][kColumns / 2];
};

template <class Tile, Precision P>
__device__ void load_fragments(const unsigned char* stage, int half, const WarpPlace& at,
                               Fragments<Tile>& fragments) {
  constexpr int kPitch = kRowBytes<Tile::kSplit>;
  constexpr int kWeightsAt = Tile::template Loader<typename ElementOf<P>::Type>::kRowsBytes;
  const unsigned char* rows = stage + (at.pixel + at.lane % 16) * kPitch + at.part * kStepBytes +
                              half * kMmaBytes + at.lane / 16 * 16;
#pragma unroll
  for (int i = 0; i < Tile::kBands; ++i) {
    load_matrices(fragments.a[i], rows + i * kMmaPixels * kPitch);
    if constexpr (P == Precision::tf32) {
#pragma unroll
      for (int k = 0; k < 4; ++k) round_to_tf32(fragments.a[i][k]);
    }
  }
  const unsigned char* weights = stage + kWeightsAt + (at.slice * Tile::kSplit + at.part) * kSliceStepBytes +
                                 half * (kSliceStepBytes / 2) + at.lane * 16;
#pragma unroll
  for (int s = 0; s < Tile::kWarpSlices; ++s) {
#pragma unroll
    for (int pair = 0; pair < kColumns / 2; ++pair) {
      fragments.b[s][pair] =
          *reinterpret_cast<const uint4*>(weights + s * Tile::kSplit * kSliceStepBytes + pair * 32 * 16);
    }
  }
}

template <class Tile, Precision P>
__device__ void multiply(const Fragments<Tile>& fragments, Sums<Tile>& sums) {
#pragma unroll
  for (int s = 0; s < Tile::kWarpSlices; ++s) {
#pragma unroll
    for (int pair = 0; pair < kColumns / 2; ++pair) {
      const uint4& b = fragments.b[s][pair];
#pragma unroll
      for (int i = 0; i < Tile::kBands; ++i) {
        multiply_add<P>(sums[s][i][2 * pair], fragments.a[i], b.x, b.y);
        multiply_add<P>(sums[s][i][2 * pair + 1], fragments.a[i], b.z, b.w);
      }
    }
  }
}

/// The tile's reduction. A half step's operands come to registers while the one before is multiplied.
/// arrived(): all threads are at the first stage.
template <class Tile, Precision P, class TilePipeline, class Arrived>
__device__ void reduce(TilePipeline& pipeline, const WarpPlace& at, Sums<Tile>& sums, Arrived&& arrived) {
  Fragments<Tile> first, second;
  pipeline.arrive();
  arrived();
  load_fragments<Tile, P>(pipeline.stage(0), 0, at, first);
  for (int s = 0; s < pipeline.stages(); ++s) {
    load_fragments<Tile, P>(pipeline.stage(s), 1, at, second);
    pipeline.refill(s);
    multiply<Tile, P>(first, sums);
    if (s + 1 < pipeline.stages()) {
      pipeline.arrive();
      load_fragments<Tile, P>(pipeline.stage(s + 1), 0, at, first);
    }
    multiply<Tile, P>(second, sums);
  }
  pipeline.finish();
}

/// Tiles whose sums are stored from registers.
template <class Tile, Precision P, class TilePipeline>
__device__ void run_whole_tiles(const ConvCall& call, unsigned char* memory, ListedRows<Tile>& rows) {
  using T = typename ElementOf<P>::Type;
  WarpPlace at = warp_place<Tile>();
  Identity<Tile, T> identity(memory + Tile::template kWorkBytes<T> + Tile::kListedBytes);
  bool fetches = Tile::template kFetchesIdentity<T> && call.epilogue == Epilogue::bias_add_relu;
  Sums<Tile> sums;
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
    clear<Tile>(sums);
    if (fetches && !tile.is_first) identity.fetch(call, tile, rows, at);
    reduce<Tile, P>(pipeline, at, sums, [&] {
      if (fetches && tile.is_first) identity.fetch(call, tile, rows, at);
      if (!is_last) rows.fetch(call, next.place, next.turn);
    });
    if (!is_last) {
      pipeline.begin(next.place);
      pipeline.start(TilePipeline::fetched_entries(rows.in[next.turn]), next.listed);
    }
    if (call.epilogue == Epilogue::bias_add_relu) {
      store_rows<true, Tile, T>(call, tile, rows, at, sums, identity);
    } else {
      store_rows<false, Tile, T>(call, tile, rows, at, sums, identity);
    }
    if (is_last) return;
    tile = next;
  }
}

/// Tiles whose reduction is divided: for small batches, of which a team has one tile mostly. What that adds
/// to is read while its rows are on their way.
template <class Tile, Precision P, class TilePipeline>
__device__ void run_divided_tiles(const ConvCall& call, unsigned char* memory, ListedRows<Tile>& rows) {
  using T = typename ElementOf<P>::Type;
  WarpPlace at = warp_place<Tile>();
  bool adds = call.epilogue == Epilogue::bias_add_relu;
  Sums<Tile> sums;
  uint4 first_added = {};
  let_successor_start();
  unsigned team = threadIdx.x / Tile::kThreads, teams = blockDim.x / Tile::kThreads;
  unsigned index = blockIdx.x + gridDim.x * team;
  TilePlace first = tile_place(call, index, Tile::kPixels, Tile::kChannels);
  TilePipeline pipeline(call, memory, first);
  wait_for_predecessor();
  auto entries = TilePipeline::listed_entries(call, first);  // beside the list's length, not after it
  int64_t entry = int64_t{first.pixel} + PartVector<Tile, T>::thread_row();
  int first_pixel = adds ? load_here(call.out_pixels + (entry < call.max_pixels ? entry : 0)) : 0;
  auto count = static_cast<unsigned>(*call.count);
  TeamTile tile(first, count, 0, true);
  if (tile.listed == 0) return pipeline.abandon();
  rows.fetch(call, tile.place, tile.turn);
  pipeline.start(entries, tile.listed);
  {
    PartVector<Tile, T> own(call, tile);
    if (adds) own.read(call, first_pixel);
    first_added = own.added;
  }
  for (;;) {
    index += gridDim.x * teams;
    TeamTile next(tile_place(call, index, Tile::kPixels, Tile::kChannels), count, 1 - tile.turn, false);
    bool is_last = next.listed == 0;
    clear<Tile>(sums);
    reduce<Tile, P>(pipeline, at, sums, [&] {
      if (!is_last) rows.fetch(call, next.place, next.turn);
    });
    auto* parts = reinterpret_cast<float*>(memory);
    spread<Tile>(at, sums, parts);
    sync_team<Tile>();
    PartVector<Tile, T> own(call, tile);
    int pixel = own.exists ? rows.out[tile.turn][own.row] : 0;
    own.added = first_added;
    if (adds && !tile.is_first) own.read(call, pixel);
    if (own.exists) own.store(call, tile, pixel, parts);
    sync_team<Tile>();
    if (is_last) return;
    pipeline.begin(next.place);
    pipeline.start(TilePipeline::fetched_entries(rows.in[next.turn]), next.listed);
    tile = next;
  }
}

template <class Tile, Precision P>
__device__ void compute_tiles(const ConvCall& call, int team_bytes) {
  using T = typename ElementOf<P>::Type;
  using TilePipeline = Pipeline<Tile, Tile::kStages, typename Tile::template Loader<T>>;
  unsigned char* memory = team_memory<Tile>(team_bytes);
  auto& rows = *reinterpret_cast<ListedRows<Tile>*>(memory + Tile::template kWorkBytes<T>);
  if constexpr (Tile::kStoresFromStages) {
    run_divided_tiles<Tile, P, TilePipeline>(call, memory, rows);
  } else {
    run_whole_tiles<Tile, P, TilePipeline>(call, memory, rows);
  }
}

/// Threads that registers are dealt to. A divided reduction leaves what a masker's block beside it takes.
template <class Tile>
inline constexpr int kBoundThreads = Tile::kMaxTeams* Tile::kThreads + (Tile::kSplit > 1 ? 128 : 0);

template <class Tile, Precision P>
__global__ void __launch_bounds__(kBoundThreads<Tile>, 1) conv_tensor_kernel(ConvCall call) {
  if (kHasTensorCores) {  // instantiated in every case, so that all constants are used
    compute_tiles<Tile, P>(call, Tile::template team_bytes<typename ElementOf<P>::Type>(call.epilogue));
  }
}

/// Of the height that takes most.
template <class T>
LASNET_HOST_DEVICE constexpr int fitted_team_bytes(Epilogue epilogue) {
  int most = 0;
  for (int bytes :
       {Fitted<128>::template team_bytes<T>(epilogue), Fitted<96>::template team_bytes<T>(epilogue),
        Fitted<80>::template team_bytes<T>(epilogue), Fitted<64>::template team_bytes<T>(epilogue)})
    most = bytes > most ? bytes : most;
  return most;
}
static_assert(Fitted<128>::kChannels == kFittedTensor.channels);
static_assert(Fitted<128>::kThreads == 128 && Fitted<96>::kThreads == 128 && Fitted<80>::kThreads == 128 &&
              Fitted<64>::kThreads == 128);

template <Precision P>
__global__ void __launch_bounds__(kBoundThreads<Fitted<128>>, 1) conv_tensor_fitted_kernel(ConvCall call) {
  if (kHasTensorCores) {
    int team_bytes = fitted_team_bytes<typename ElementOf<P>::Type>(call.epilogue);
    begin_kernel();
    switch (listed_height<kFittedTensor>(call)) {
      case 128:
        return compute_tiles<Fitted<128>, P>(call, team_bytes);
      case 96:
        return compute_tiles<Fitted<96>, P>(call, team_bytes);
      case 80:
        return compute_tiles<Fitted<80>, P>(call, team_bytes);
      default:
        return compute_tiles<Fitted<64>, P>(call, team_bytes);
    }
  }
}

template <class Tile, Precision P>
void launch_tiles(Stream& stream, const ConvCall& call) {
  using T = typename ElementOf<P>::Type;
  launch_persistent<Tile>(stream, conv_tensor_kernel<Tile, P>, Tile::template team_bytes<T>(call.epilogue),
                          call);
}

template <Precision P>
void launch_shape(Stream& stream, const CudaTile& tile, const ConvCall& call) {
  switch (tile.shape) {
    case CudaTileShape::wide:
      return launch_tiles<Wide, P>(stream, call);
    case CudaTileShape::tall:
      return launch_tiles<Tall, P>(stream, call);
    case CudaTileShape::medium:
      return launch_tiles<Medium, P>(stream, call);
    case CudaTileShape::small:
      return launch_tiles<Small, P>(stream, call);
    case CudaTileShape::split:
      return launch_tiles<Split, P>(stream, call);
    case CudaTileShape::fitted:  // memory for the highest, blocks for the lowest
      return launch_persistent<Fitted<64>>(stream, conv_tensor_fitted_kernel<P>,
                                           fitted_team_bytes<typename ElementOf<P>::Type>(call.epilogue),
                                           call);
    case CudaTileShape::hopper:
    case CudaTileShape::hopper_wide:
      break;  // conv_hopper.cu
  }
}

}  // namespace

void conv_tensor(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call) {
  if (precision == Precision::fp16) return launch_shape<Precision::fp16>(stream, tile, call);
  if (precision == Precision::bf16) return launch_shape<Precision::bf16>(stream, tile, call);
  launch_shape<Precision::tf32>(stream, tile, call);
}

}  // namespace lasnet::cuda
