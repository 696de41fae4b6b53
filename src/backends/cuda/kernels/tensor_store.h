// Storing a tile of a convolution on tensor cores: from mma.sync's fragments to 16-byte vectors of channels,
// with what they are added to on the way.
#pragma once

#include "backends/cuda/kernels/tensor_tile.h"

namespace lasnet::cuda {

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

  __device__ void fetch(const ConvCall& call, const TeamTile& tile, const ListedRows<Tile>& rows,
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

/// A lane's column of a row, as it lies in memory.
template <class T>
using ColumnWords = uint4[kMmaChannels / kVector<T>];

/// What a lane's columns of these bands are added to.
template <class Tile, class T>
using AddedWords = ColumnWords<T>[kBandsAtOnce<Tile, T>][2];

/// Reads it, from shared memory if it was fetched.
template <class Tile, class T>
__device__ void load_added(const ConvCall& call, const TeamTile& tile, const ListedRows<Tile>& rows,
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
  __device__ void finish(const float (&fragments)[kColumns][4], int half, bool without_relu,
                         ColumnWords<T>& words) const {
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
      rows[j] = max_of_pairs<T>(pack_word<T>(values), without_relu ? kMinPair<T> : 0);
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
  __device__ SliceRows(const ConvCall& call, int channel, int lane) {
    load_floats(call.bias + channel + lane % kColumns * kMmaChannels, bias_);
  }

  template <bool kAdds>
  __device__ void finish(const float (&fragments)[kColumns][4], int half, bool without_relu,
                         ColumnWords<float>& words) const {
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
        if (!without_relu) values[k] = relu(values[k]);
      }
      store_vector(reinterpret_cast<float*>(&words[v]), values);
    }
  }

 private:
  float bias_[kMmaChannels];
};

/// Stores a tile from its fragments.
template <bool kAdds, class Tile, class T>
__device__ void store_rows(const ConvCall& call, const TeamTile& tile, const ListedRows<Tile>& rows,
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
          slice.template finish<kAdds>(sums[s][first + i], half, is_linear(call, pixel), words[i][half]);
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

  __device__ PartVector(const ConvCall& call, const TeamTile& tile)
      : row(thread_row()),
        channel(tile.place.channel + team_thread<Tile::kThreads>() % kVectorsPerRow * kVector<T>),
        exists(row < least(Tile::kPixels, tile.listed) && channel < call.out_channels) {}

  __device__ static int thread_row() { return team_thread<Tile::kThreads>() / kVectorsPerRow; }

  /// Starts to read what it is added to.
  __device__ void read(const ConvCall& call, int pixel) {
    if (exists) added = *reinterpret_cast<const uint4*>(out_vector<T>(call, pixel, channel));
  }

  /// Adds the parts, `rows`, and stores their sum.
  __device__ void store(const ConvCall& call, const TeamTile& tile, int pixel, const float* rows) const {
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

}  // namespace lasnet::cuda
