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
// its rows in L2. Rows past the list's end are zeros and are not stored.
//
// A stage of the pipeline holds kSplit consecutive steps of the reduction. With kSplit = 1 all warps share
// each step, and an output value's sum runs over the reduction in one order, whatever the tile. With more,
// warps divide the steps among them and their sums are added at the end, in order: for layers with too few
// tiles to go round.
//
// A block is one team of threads or several, each with tiles, memory and barriers of its own. One block of
// many teams fills a multiprocessor, so that tiles are dealt to multiprocessors evenly, wherever the device
// puts blocks: many small blocks of which some get no tile tend to idle side by side.
//
// Weights do not depend on the kernel before: a team's first ones are on their way before it waits for it.
// Where registers allow it (TeamTile), the next tile's entries of the list come to shared memory while one
// is computed, and its first stages while one is stored: reductions are short, and a read from memory takes
// as long as many steps.
#pragma once

#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {

/// Bytes between a tile's rows in shared memory: the data, and 16 that spread eight rows over all banks.
template <int kSplit>
inline constexpr int kRowBytes = kSplit* kStepBytes + 16;

template <class T>
inline constexpr int kStepElements = kStepBytes / static_cast<int>(sizeof(T));

/// This thread's index in its team.
template <int kThreads>
__device__ int team_thread() {
  return static_cast<int>(threadIdx.x) % kThreads;
}

/// Barrier of Tile's team. A block of one team takes one of the few named barriers of a multiprocessor,
/// others all.
template <class Tile>
__device__ void sync_team() {
  if constexpr (Tile::kMaxTeams == 1) {
    __syncthreads();
  } else {
    sync_threads_of(static_cast<int>(threadIdx.x) / Tile::kThreads, Tile::kThreads);
  }
}

/// The team's part of shared memory.
template <class Tile>
__device__ unsigned char* team_memory(int team_bytes) {
  return shared_memory<unsigned char>() + static_cast<int>(threadIdx.x) / Tile::kThreads * team_bytes;
}

/// Position in a convolution's work.
struct TilePlace {
  unsigned pixel;  ///< first row
  int channel;     ///< first column
};

LASNET_HOST_DEVICE inline int tile_columns(const ConvCall& call, int channels) {
  return (call.out_channels + channels - 1) / channels;
}

/// 32 bits count tiles and pixels: no device holds the outputs of 2^32.
__device__ inline TilePlace tile_place(const ConvCall& call, unsigned tile, int pixels, int channels) {
  unsigned columns = static_cast<unsigned>(tile_columns(call, channels)), row = tile / columns;
  return {row * static_cast<unsigned>(pixels), static_cast<int>(tile - row * columns) * channels};
}

/// A thread's entries of a tile's part of the list: every kStep-th from its row on.
template <int kRows, int kStep>
struct RowEntries {
  int32_t pixels[kRows];

  /// load(entry) reads one, of which `available` may be read.
  template <class Load>
  __device__ static RowEntries read(int row, int64_t available, Load&& load) {
    RowEntries own;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      int entry = row + i * kStep;
      own.pixels[i] = load(entry < available ? entry : 0);
    }
    return own;
  }
};

/// Copies the operands of a stage: rows of kSplit steps (kPixels, and those that threads copy along: zeros),
/// and the packed weights of `kChannels` / 32 slices. Whatever a thread can know before the loop, it keeps:
/// address arithmetic takes the issue slots that mma.sync needs.
template <class T, int kPixels, int kChannels, int kThreads, int kSplit = 1>
class TileLoader {
  static constexpr int kSegments = kSplit * kStepBytes / 16;
  static constexpr int kRowStep = kThreads / kSegments;
  static constexpr int kRows = (kPixels + kRowStep - 1) / kRowStep;

 public:
  static constexpr int kSliceBytes = kSplit * kSliceStepBytes;
  static constexpr int kRowsBytes = kRows * kRowStep * kRowBytes<kSplit>;
  static constexpr int kStageBytes = kRowsBytes + kChannels / kSlice * kSliceBytes;

  __device__ TileLoader(const ConvCall& call, const TilePlace& place) : call_(&call) {
    int thread = team_thread<kThreads>();
    steps_per_tap_ = (call.run + kStepElements<T> - 1) / kStepElements<T>;
    steps_ = steps_per_tap_ * call.taps;
    slice_stride_ = steps_ * kSliceStepBytes;
    weights_ = static_cast<const unsigned char*>(call.weights) + thread % kSliceVectors * 16 +
               static_cast<int64_t>(place.channel / kSlice + thread / kSliceVectors) * slice_stride_;
    weights_to_ = kRowsBytes + thread * 16;
    weight_step_ = thread % kSliceVectors / kStepVectors;
    rows_to_ = thread / kSegments * kRowBytes<kSplit> + thread % kSegments * 16;
    element_ = thread % (kStepBytes / 16) * kVector<T>;
    first_channel_ = call.group_out > 0 ? slice_input(place.channel, call.group_in, call.group_out) : 0;
    // A grouped slice's run may end beyond the pixel's channels.
    run_ = call.group_out > 0 && call.in_pitch - first_channel_ < call.run ? call.in_pitch - first_channel_
                                                                           : call.run;
    for (within_ = thread % kSegments / (kStepBytes / 16); within_ >= steps_per_tap_;
         within_ -= steps_per_tap_)
      ++tap_;
  }

  using Entries = RowEntries<kRows, kRowStep>;
  /// This thread's first row.
  __device__ static int first_row() { return team_thread<kThreads>() / kSegments; }

  /// Finds the rows; entries beyond `listed` may be anything.
  __device__ void find_rows(const Entries& entries, int listed) {
    int row = first_row();
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      int entry = row + i * kRowStep;
      if (entry < kPixels && entry < listed) listed_ |= 1u << i;
      rows_[i] = static_cast<const T*>(call_->in) +
                 static_cast<int64_t>(entries.pixels[i]) * call_->in_pitch + first_channel_ + element_;
    }
  }

  __device__ int stages() const { return (steps_ + kSplit - 1) / kSplit; }

  /// Between a thread's copies and the barrier after which others read them.
  __device__ static void publish() {}

  /// Issues the copies of the weights of one more stage.
  __device__ void load_weights(unsigned char* stage) {
    constexpr int kVectors = kChannels / kSlice * kSliceVectors / kThreads;
    constexpr int kPerSlice = kThreads < kSliceVectors ? kSliceVectors / kThreads : 1;
    constexpr int kSlicesAtOnce = kThreads < kSliceVectors ? 1 : kThreads / kSliceVectors;
    static_assert(kChannels / kSlice * kSliceVectors % kThreads == 0);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      int within = i % kPerSlice * kThreads;  // vectors of the slice
      bool valid = kSplit == 1 || weight_step_ + within / kStepVectors < steps_;
      const unsigned char* from = weights_ + i / kPerSlice * kSlicesAtOnce * slice_stride_ + within * 16;
      copy_async(stage + weights_to_ + i * kThreads * 16, valid ? from : weights_, valid);
    }
    weight_step_ += kSplit;
    weights_ += kSplit * kSliceStepBytes;
  }

  /// Issues the copies of the rows of one more stage.
  __device__ void load_rows(unsigned char* stage) {
    int element = within_ * kStepElements<T>;
    bool valid = tap_ < call_->taps && element + element_ < run_;
    int offset = valid ? call_->tap_offsets[tap_] + element : 0;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
      copy_async(stage + rows_to_ + i * kRowStep * kRowBytes<kSplit>, rows_[i] + offset,
                 valid && (listed_ >> i & 1) != 0);
    for (within_ += kSplit; within_ >= steps_per_tap_; within_ -= steps_per_tap_) ++tap_;
  }

 private:
  static constexpr int kStepVectors = kSliceStepBytes / 16;
  static constexpr int kSliceVectors = kSliceBytes / 16;

  const ConvCall* call_;
  const T* rows_[kRows];
  unsigned listed_ = 0;           ///< a bit per row: others are zeros, and cost no traffic
  const unsigned char* weights_;  ///< of the next stage
  int slice_stride_;              ///< bytes
  int rows_to_, weights_to_;      ///< in a stage
  int first_channel_, element_, run_;
  int steps_per_tap_, steps_;
  int weight_step_;           ///< of the next stage's weights
  int tap_ = 0, within_ = 0;  ///< of this thread's step in the next stage's rows
};

/// A tile's part of the list, in the team's shared memory: of the tile that is computed and of the one after
/// it, in turn.
template <class Tile>
struct ListedRows {
  int32_t in[2][Tile::kPixels], out[2][Tile::kPixels];

  /// Starts the copies of a tile's entries; what lies beyond the list is not used.
  __device__ void fetch(const ConvCall& call, const TilePlace& place, int turn) {
    static_assert(Tile::kThreads >= Tile::kPixels);
    int row = team_thread<Tile::kThreads>();
    if (row >= Tile::kPixels) return;
    int64_t entry = int64_t{place.pixel} + row;
    if (entry >= call.max_pixels) entry = 0;
    copy_word_async(&in[turn][row], call.in_pixels + entry);
    copy_word_async(&out[turn][row], call.out_pixels + entry);
  }
};

/// A tile's operands on their way: stage after stage, `kAhead` of them ahead. In order: start, then for each
/// stage arrive, refill and reads of stage(s) until the next arrive (with kAhead = kStages - 2: the one after
/// it), at last finish; then begin for another tile.
template <class Tile, int kStages, class Loader, int kAhead = kStages - 1>
class Pipeline {
 public:
  using Entries = typename Loader::Entries;

  __device__ Pipeline(const ConvCall& call, unsigned char* memory, const TilePlace& place)
      : call_(call), loader_(call, place), memory_(memory) {
    load_first_weights();
  }

  /// Weights first: they may be read before the kernel before this one has ended.
  __device__ void begin(const TilePlace& place) {
    loader_ = Loader(call_, place);
    load_first_weights();
  }

  /// A tile's entries in the list, or in shared memory. Any tile's, listed or not: what lies beyond the list
  /// is not used.
  __device__ static Entries listed_entries(const ConvCall& call, const TilePlace& place) {
    int64_t first = place.pixel < call.max_pixels ? place.pixel : 0;
    return Entries::read(Loader::first_row(), call.max_pixels - first,
                         [&](int entry) { return load_here(call.in_pixels + first + entry); });
  }
  __device__ static Entries fetched_entries(const int32_t (&entries)[Tile::kPixels]) {
    return Entries::read(Loader::first_row(), Tile::kPixels, [&](int entry) { return entries[entry]; });
  }

  __device__ int stages() const { return loader_.stages(); }
  __device__ const unsigned char* stage(int s) const { return memory_ + s % kStages * Loader::kStageBytes; }

  /// As find_rows.
  __device__ void start(const Entries& entries, int listed) {
    loader_.find_rows(entries, listed);
    for (int s = 0; s < kAhead; ++s) {
      if (s < stages()) loader_.load_rows(slot(s));
      commit_copies();
    }
  }

  /// Waits for a stage; all threads are done with the one before it.
  __device__ void arrive() {
    wait_copies<kAhead - 1>();
    Loader::publish();
    sync_team<Tile>();
  }

  /// Starts the copies of the last stage that fits: after arrive for stage s, in the place of one that is
  /// done with.
  __device__ void refill(int s) {
    int next = s + kAhead;
    if (next < stages()) {
      loader_.load_weights(slot(next));
      loader_.load_rows(slot(next));
    }
    commit_copies();
  }

  /// All threads are done: the memory may be used for something else.
  __device__ void finish() {
    wait_copies<0>();
    sync_team<Tile>();
  }

  /// Instead of all this, if the tile has no rows.
  __device__ void abandon() {
    commit_copies();
    wait_copies<0>();
  }

 private:
  __device__ unsigned char* slot(int s) { return memory_ + s % kStages * Loader::kStageBytes; }
  __device__ void load_first_weights() {
    for (int s = 0; s < kAhead; ++s) {
      if (s < stages()) loader_.load_weights(slot(s));
    }
  }

  const ConvCall& call_;
  Loader loader_;
  unsigned char* memory_;
};

/// A tile that its team works on. Teams of all blocks take tiles in turn, and a kernel that reads ahead has
/// two of them: once all threads have arrived at the first stage of a tile, it fetches the entries of the
/// next one; when it has the sums, it starts the next one's operands, and stores the sums from registers
/// meanwhile. What is stored from the memory of the stages is stored before that. The last reads of a tile's
/// rows are before the next one's first arrive.
struct TeamTile {
  TilePlace place;
  int listed;     ///< entries from its first row to the list's end; 0: there is no such tile
  int turn;       ///< of its ListedRows
  bool is_first;  ///< of the team: its entries arrive with its first stage

  /// Of a list of `count` entries.
  __device__ TeamTile(const TilePlace& at, unsigned count, int its_turn, bool first)
      : place(at),
        listed(at.pixel < count ? static_cast<int>(count - at.pixel) : 0),
        turn(its_turn),
        is_first(first) {}
};

/// One vector of channels of an output pixel as the list has it.
template <class T>
__device__ inline T* out_vector(const ConvCall& call, int pixel, int channel) {
  if (pixel < 0) pixel = ~pixel;
  return static_cast<T*>(call.out) + static_cast<int64_t>(pixel) * call.out_pitch + channel;
}

/// Whether an output pixel, as the list has it, goes without the ReLU.
__device__ inline bool is_linear(const ConvCall& call, int pixel) {
  return call.epilogue == Epilogue::bias || (call.epilogue == Epilogue::projection && pixel < 0);
}

/// Adds bias (and identity), applies the ReLU and stores the vector. `pixel`: as the list has it.
template <class T>
__device__ inline void finish(const ConvCall& call, int pixel, int channel, float (&values)[kVector<T>],
                              const float (&bias)[kVector<T>], const float (&identity)[kVector<T>]) {
  for (int k = 0; k < kVector<T>; ++k) values[k] += bias[k];
  if (call.epilogue == Epilogue::bias_add_relu) {
    for (int k = 0; k < kVector<T>; ++k) values[k] += identity[k];
  }
  if (!is_linear(call, pixel)) {
    for (int k = 0; k < kVector<T>; ++k) values[k] = relu(values[k]);
  }
  store_vector(out_vector<T>(call, pixel, channel), values);
}

/// The height of `fitted` tiles for the list. After wait_for_predecessor. Handed over in shared memory: what
/// the compiler knows of it, it keeps in registers that the tiles need.
template <const FittedHeights& kHeights>
__device__ int listed_height(const ConvCall& call) {
  constexpr FittedHeights heights = kHeights;
  auto* height = shared_memory<int>();
  if (threadIdx.x == 0) {
    *height = fitted_height(heights, *call.count, tile_columns(call, heights.channels),
                            static_cast<int>(gridDim.x));
  }
  __syncthreads();
  int chosen = *height;
  __syncthreads();
  return chosen;
}

/// Starts Tile's kernel with as many teams and blocks as fit the device and the work.
template <class Tile>
void launch_persistent(Stream& stream, void (*kernel)(ConvCall), int64_t team_bytes, const ConvCall& call) {
  int64_t tiles = ceil_div(call.max_pixels, Tile::kPixels) * tile_columns(call, Tile::kChannels);
  PersistentShape shape = persistent_shape(reinterpret_cast<const void*>(kernel),
                                           {Tile::kThreads, team_bytes, Tile::kMaxTeams}, tiles);
  launch(stream, kernel, LaunchShape{shape.blocks, shape.teams * Tile::kThreads, shape.teams * team_bytes},
         call);
}

/// Launchers of the kernels of one kind.
void conv_fp32(Stream& stream, const CudaTile& tile, const ConvCall& call);
void conv_tensor(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call);

}  // namespace lasnet::cuda
