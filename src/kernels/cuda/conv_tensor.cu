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
#include "kernels/cuda/conv_tile.h"

namespace lasnet::cuda {
namespace {

constexpr int kMmaBytes = 32;  ///< of reduction per mma
constexpr int kMmaPixels = 16, kMmaChannels = 8;
constexpr int kColumns = kSlice / kMmaChannels;

template <int kPixelsValue, int kChannelsValue, int kWarpPixelsValue, int kWarpSlicesValue, int kStagesValue,
          int kMaxTeamsValue, int kSplitValue = 1>
struct TensorTile {
  static constexpr int kPixels = kPixelsValue, kChannels = kChannelsValue, kStages = kStagesValue;
  static constexpr int kWarpPixels = kWarpPixelsValue, kWarpSlices = kWarpSlicesValue, kSplit = kSplitValue;
  static constexpr int kMaxTeams = kMaxTeamsValue;  ///< on a multiprocessor, as registers allow
  static constexpr int kPixelWarps = kPixels / kWarpPixels;
  static constexpr int kChannelWarps = kChannels / kSlice / kWarpSlices;
  static constexpr int kThreads = 32 * kPixelWarps * kChannelWarps * kSplit;
  static constexpr int kBands = kWarpPixels / kMmaPixels;
  static constexpr bool kStoresFromStages = kSplit > 1;
  static constexpr int kSumPitch = kChannels + 4;  ///< floats between rows of sums in shared memory
  template <class T>
  using Loader = TileLoader<T, kPixels, kChannels, kThreads, kSplit>;
  template <class T>
  static constexpr int kStagesBytes = Loader<T>::kStageBytes* kStages;
  static constexpr int kSumBytes = kStoresFromStages ? 4 * kSplit * kPixels * kSumPitch : 0;
  /// Shared memory of stages, and of a divided reduction's sums later.
  template <class T>
  static constexpr int kWorkBytes = kStagesBytes<T> > kSumBytes ? kStagesBytes<T> : kSumBytes;
  template <class T>
  static constexpr int kOutputBytes = static_cast<int>(sizeof(T)) * kPixels* kChannels;
  /// Whether what is added to comes to shared memory beside the operands: where as many teams fit.
  template <class T>
  static constexpr bool kFetchesIdentity = kSplit == 1 && kOutputBytes<T> <= 16 << 10;
  static constexpr int kListedBytes = static_cast<int>(sizeof(ListedRows<TensorTile>));
  /// Of stages and rows, and of what is added to.
  template <class T>
  LASNET_HOST_DEVICE static constexpr int team_bytes(Epilogue epilogue) {
    bool fetches = kFetchesIdentity<T> && epilogue == Epilogue::bias_add_relu;
    return kWorkBytes<T> + kListedBytes + (fetches ? kOutputBytes<T> : 0);
  }
};
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

/// A warp's sums: [slice][16-pixel band][8-channel column][fragment].
template <class Tile>
using Sums = float[Tile::kWarpSlices][Tile::kBands][kColumns][4];

/// A warp's place in its tile.
struct WarpPlace {
  int pixel, slice, part, lane;
};

template <class Tile>
__device__ WarpPlace warp_place() {
  int warp = team_thread<Tile::kThreads>() / 32;
  return {warp % Tile::kPixelWarps * Tile::kWarpPixels,
          warp / Tile::kPixelWarps % Tile::kChannelWarps * Tile::kWarpSlices,
          warp / (Tile::kPixelWarps * Tile::kChannelWarps), static_cast<int>(threadIdx.x) % 32};
}

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

/// Calls function(slice, band, half) for every row of 32 channels of a warp's fragments: a lane has two
/// channels of each of its columns in row lane / 4 of an 8-row half of a band.
template <class Tile, class Function>
__device__ void for_fragment_rows(Function&& function) {
#pragma unroll
  for (int s = 0; s < Tile::kWarpSlices; ++s) {
#pragma unroll
    for (int i = 0; i < Tile::kBands; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) function(s, i, half);
    }
  }
}

template <class Tile>
__device__ void clear(Sums<Tile>& sums) {
  for_fragment_rows<Tile>([&](int s, int i, int half) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) sums[s][i][j][2 * half] = sums[s][i][j][2 * half + 1] = 0;
  });
}

/// A word of each of four columns -> all four of column lane % 4, in order: what lane k of the four gives is
/// its word of that column. Done again, it is undone.
__device__ inline void exchange(uint32_t (&words)[kColumns]) {
  static_assert(kColumns == 4);
#pragma unroll
  for (int distance = 1; distance < kColumns; distance *= 2) {
    bool upper = (threadIdx.x & static_cast<unsigned>(distance)) != 0;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      if ((j & distance) != 0) continue;
      uint32_t &low = words[j], &high = words[j | distance];
      uint32_t got = __shfl_xor_sync(kWholeWarp, upper ? low : high, distance);
      (upper ? low : high) = got;
    }
  }
}

/// Where a lane's vectors go after an exchange.
struct LanePlace {
  int row, channel;  ///< in the tile

  __device__ LanePlace(const WarpPlace& at, int s, int i, int half)
      : row(at.pixel + i * kMmaPixels + half * 8 + at.lane / 4),
        channel((at.slice + s) * kSlice + at.lane % kColumns * kMmaChannels) {}
};

/// A thread's own vectors of what the tile adds to, in shared memory: nobody else reads them.
template <class Tile, class T>
class Identity {
  static constexpr int kVectors = kMmaChannels / kVector<T>;

 public:
  __device__ explicit Identity(unsigned char* memory)
      : vectors_(reinterpret_cast<T*>(memory) + team_thread<Tile::kThreads>() * kVector<T>) {}

  __device__ T* vector(int s, int i, int half, int v) const {
    return vectors_ + (((s * Tile::kBands + i) * 2 + half) * kVectors + v) * Tile::kThreads * kVector<T>;
  }

  __device__ void fetch(const ConvCall& call, const TileTurn& tile, const ListedRows<Tile>& rows,
                        const WarpPlace& at) const {
    for_fragment_rows<Tile>([&](int s, int i, int half) {
      LanePlace lane(at, s, i, half);
      int channel = tile.place.channel + lane.channel;
      if (lane.row >= tile.listed || channel >= call.out_channels) return;
      const T* out = out_vector<T>(call, rows.out[tile.turn][lane.row], channel);
      for (int v = 0; v < kVectors; ++v) copy_async(vector(s, i, half, v), out + v * kVector<T>, true);
    });
  }

 private:
  T* vectors_;
};

/// Bands of a slice of which what is added to is read at once, as registers go: from memory, reads must not
/// wait for each other.
template <class Tile, class T>
inline constexpr int kBandsAtOnce = Tile::template kFetchesIdentity<T> || sizeof(T) == 4 ? 1 : Tile::kBands;

/// What a lane's vectors of these bands are added to, as it lies in memory.
template <class Tile, class T>
using AddedWords = uint4[kBandsAtOnce<Tile, T>][2][kMmaChannels / kVector<T>];

/// Reads it, from shared memory if it was fetched.
template <class Tile, class T>
__device__ void load_added(const ConvCall& call, const TileTurn& tile, const ListedRows<Tile>& rows,
                           const WarpPlace& at, int s, int first_band, Identity<Tile, T> identity,
                           AddedWords<Tile, T>& words) {
#pragma unroll
  for (int i = 0; i < kBandsAtOnce<Tile, T>; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      LanePlace lane(at, s, first_band + i, half);
      int channel = tile.place.channel + lane.channel;
      if (lane.row >= tile.listed || channel >= call.out_channels) continue;
#pragma unroll
      for (int v = 0; v < kMmaChannels / kVector<T>; ++v) {
        const T* from = Tile::template kFetchesIdentity<T>
                            ? identity.vector(s, first_band + i, half, v)
                            : out_vector<T>(call, rows.out[tile.turn][lane.row], channel + v * kVector<T>);
        words[i][half][v] = *reinterpret_cast<const uint4*>(from);
      }
    }
  }
}

/// Makes rows of a slice, as they are stored, from fragments: adds the bias and what is added to, applies the
/// ReLU, exchanges. Values of 16 bits: finished where the fragments are, so that words of two are exchanged
/// instead of floats.
template <class T>
class SliceRows {
 public:
  using Words = uint4[kMmaChannels / kVector<T>];

  /// `channel`: the slice's first.
  __device__ SliceRows(const ConvCall& call, int channel, int lane) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const float* own = call.bias + channel + j * kMmaChannels + lane % kColumns * 2;
      bias_[j][0] = own[0], bias_[j][1] = own[1];
    }
  }

  /// `words`: what the lane's column is added to, if kAdds; then the column. By all lanes.
  template <bool kAdds>
  __device__ void finish(const float (&fragments)[kColumns][4], int half, bool is_linear,
                         Words& words) const {
    uint32_t identity[kColumns] = {words[0].x, words[0].y, words[0].z, words[0].w};
    if (kAdds) exchange(identity);
    uint32_t rows[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      float values[2] = {fragments[j][2 * half] + bias_[j][0], fragments[j][2 * half + 1] + bias_[j][1]};
      if (kAdds) {
        float added[2];
        unpack_word<T>(identity[j], added);
        values[0] += added[0], values[1] += added[1];
      }
      rows[j] = max_of_pairs<T>(pack_word<T>(values), is_linear ? kLeastPair<T> : 0);
    }
    exchange(rows);
    words[0].x = rows[0], words[0].y = rows[1], words[0].z = rows[2], words[0].w = rows[3];
  }

 private:
  float bias_[kColumns][2];
};

template <>
class SliceRows<float> {
 public:
  using Words = uint4[2];

  __device__ SliceRows(const ConvCall& call, int channel, int lane) {
    load_floats(call.bias + channel + lane % kColumns * kMmaChannels, bias_);
  }

  template <bool kAdds>
  __device__ void finish(const float (&fragments)[kColumns][4], int half, bool is_linear,
                         Words& words) const {
    uint32_t first[kColumns], second[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      first[j] = as_bits(fragments[j][2 * half]);
      second[j] = as_bits(fragments[j][2 * half + 1]);
    }
    exchange(first), exchange(second);
    for (int v = 0; v < 2; ++v) {
      float values[4], added[4];
      unpack_vector<float>(words[v], added);
      for (int k = 0; k < 4; ++k) {
        values[k] = as_float(k % 2 == 0 ? first[2 * v + k / 2] : second[2 * v + k / 2]) + bias_[4 * v + k];
        if (kAdds) values[k] += added[k];
        if (!is_linear) values[k] = relu(values[k]);
      }
      store_vector(reinterpret_cast<float*>(&words[v]), values);
    }
  }

 private:
  float bias_[kMmaChannels];
};

/// Stores a tile from its fragments.
template <bool kAdds, class Tile, class T>
__device__ void store_rows(const ConvCall& call, const TileTurn& tile, const ListedRows<Tile>& rows,
                           const WarpPlace& at, const Sums<Tile>& sums, Identity<Tile, T> identity) {
  constexpr int kAtOnce = kBandsAtOnce<Tile, T>;
  static_assert(Tile::kBands % kAtOnce == 0);
#pragma unroll
  for (int s = 0; s < Tile::kWarpSlices; ++s) {
    int channel = tile.place.channel + LanePlace(at, s, 0, 0).channel;
    SliceRows<T> slice(call, tile.place.channel + (at.slice + s) * kSlice, at.lane);
#pragma unroll
    for (int first = 0; first < Tile::kBands; first += kAtOnce) {
      AddedWords<Tile, T> words = {};
      if (kAdds) load_added(call, tile, rows, at, s, first, identity, words);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int row = LanePlace(at, s, first + i, half).row, pixel = rows.out[tile.turn][row];
          bool is_linear =
              call.epilogue == Epilogue::bias || (call.epilogue == Epilogue::projection && pixel < 0);
          slice.template finish<kAdds>(sums[s][first + i], half, is_linear, words[i][half]);
          if (row >= tile.listed || channel >= call.out_channels) continue;
          T* out = out_vector<T>(call, pixel, channel);
#pragma unroll
          for (int v = 0; v < kMmaChannels / kVector<T>; ++v)
            *reinterpret_cast<uint4*>(out + v * kVector<T>) = words[i][half][v];
        }
      }
    }
  }
}

/// Fragments -> rows of floats in shared memory, those of each part of the reduction for themselves.
template <class Tile>
__device__ void spread(const WarpPlace& at, const Sums<Tile>& sums, float* rows) {
  for_fragment_rows<Tile>([&](int s, int i, int half) {
    int row = at.part * Tile::kPixels + at.pixel + i * kMmaPixels + half * 8 + at.lane / 4;
    float* to = rows + row * Tile::kSumPitch + (at.slice + s) * kSlice + at.lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      to[j * kMmaChannels] = sums[s][i][j][2 * half];
      to[j * kMmaChannels + 1] = sums[s][i][j][2 * half + 1];
    }
  });
}

/// The vector of a divided reduction's tile that a thread stores, and what it is added to; some threads have
/// none.
template <class Tile, class T>
struct PartVector {
  int row, channel;
  bool exists;
  uint4 added = {};

  static constexpr int kVectorsPerRow = Tile::kChannels / kVector<T>;
  static_assert(Tile::kPixels * kVectorsPerRow <= Tile::kThreads);

  __device__ PartVector(const ConvCall& call, const TileTurn& tile)
      : row(thread_row()),
        channel(tile.place.channel + team_thread<Tile::kThreads>() % kVectorsPerRow * kVector<T>),
        exists(row < least(Tile::kPixels, tile.listed) && channel < call.out_channels) {}

  __device__ static int thread_row() { return team_thread<Tile::kThreads>() / kVectorsPerRow; }

  /// Starts to read what it is added to.
  __device__ void read(const ConvCall& call, int pixel) {
    if (exists) added = *reinterpret_cast<const uint4*>(out_vector<T>(call, pixel, channel));
  }

  /// Adds the parts, `rows`, and stores their sum.
  __device__ void store(const ConvCall& call, const TileTurn& tile, int pixel, const float* rows) const {
    float values[kVector<T>] = {}, bias[kVector<T>], identity[kVector<T>];
    load_floats(call.bias + channel, bias);
    rows += row * Tile::kSumPitch + channel - tile.place.channel;
#pragma unroll
    for (int part = 0; part < Tile::kSplit; ++part) {
      float sums[kVector<T>];
      load_floats(rows + part * Tile::kPixels * Tile::kSumPitch, sums);
      for (int k = 0; k < kVector<T>; ++k) values[k] = part == 0 ? sums[k] : values[k] + sums[k];
    }
    unpack_vector<T>(added, identity);
    finish<T>(call, pixel, channel, values, bias, identity);
  }
};

/// Tiles whose sums are stored from registers.
template <class Tile, Precision P, class TilePipeline>
__device__ void run_whole_tiles(const ConvCall& call, unsigned char* memory, ListedRows<Tile>& rows) {
  using T = typename ElementOf<P>::Type;
  WarpPlace at = warp_place<Tile>();
  Identity<Tile, T> identity(memory + Tile::template kWorkBytes<T> + Tile::kListedBytes);
  bool fetches = Tile::template kFetchesIdentity<T> && call.epilogue == Epilogue::bias_add_relu;
  Sums<Tile> sums;
  auto begin = [](const TilePlace&) { return [](const TileTurn&) {}; };
  auto sum = [&](TilePipeline& pipeline, const TileTurn& tile, auto&& fetch_next) {
    clear<Tile>(sums);
    if (fetches && !tile.is_first) identity.fetch(call, tile, rows, at);
    reduce<Tile, P>(pipeline, at, sums, [&] {
      if (fetches && tile.is_first) identity.fetch(call, tile, rows, at);
      fetch_next();
    });
  };
  run_tiles<Tile, TilePipeline>(call, memory, rows, begin, sum, [&](const TileTurn& tile) {
    if (call.epilogue == Epilogue::bias_add_relu) {
      store_rows<true, Tile, T>(call, tile, rows, at, sums, identity);
    } else {
      store_rows<false, Tile, T>(call, tile, rows, at, sums, identity);
    }
  });
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
  auto begin = [&](const TilePlace& place) {
    int64_t entry = int64_t{place.pixel} + PartVector<Tile, T>::thread_row();
    int pixel = adds ? load_here(call.out_pixels + (entry < call.max_pixels ? entry : 0)) : 0;
    return [&, pixel](const TileTurn& tile) {
      PartVector<Tile, T> own(call, tile);
      if (adds) own.read(call, pixel);
      first_added = own.added;
    };
  };
  auto sum = [&](TilePipeline& pipeline, const TileTurn&, auto&& fetch_next) {
    clear<Tile>(sums);
    reduce<Tile, P>(pipeline, at, sums, fetch_next);
  };
  run_tiles<Tile, TilePipeline>(call, memory, rows, begin, sum, [&](const TileTurn& tile) {
    auto* parts = reinterpret_cast<float*>(memory);
    spread<Tile>(at, sums, parts);
    sync_team<Tile>();
    PartVector<Tile, T> own(call, tile);
    int pixel = own.exists ? rows.out[tile.turn][own.row] : 0;
    own.added = first_added;
    if (adds && !tile.is_first) own.read(call, pixel);
    if (own.exists) own.store(call, tile, pixel, parts);
    sync_team<Tile>();
  });
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
  }
}

}  // namespace

void conv_tensor(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call) {
  if (precision == Precision::fp16) return launch_shape<Precision::fp16>(stream, tile, call);
  if (precision == Precision::bf16) return launch_shape<Precision::bf16>(stream, tile, call);
  launch_shape<Precision::tf32>(stream, tile, call);
}

}  // namespace lasnet::cuda
