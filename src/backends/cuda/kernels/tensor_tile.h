// A tile of a convolution on tensor cores: how its outputs are dealt to warps, and to lanes as mma.sync
// leaves them.
#pragma once

#include "backends/cuda/kernels/conv_tile.h"

namespace lasnet::cuda {

inline constexpr int kMmaBytes = 32;  ///< of reduction per mma
inline constexpr int kMmaPixels = 16, kMmaChannels = 8;
inline constexpr int kColumns = kSlice / kMmaChannels;

/// kSplit: parts of the reduction, which warps divide among them.
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
          warp / (Tile::kPixelWarps * Tile::kChannelWarps), lane_index()};
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

}  // namespace lasnet::cuda
