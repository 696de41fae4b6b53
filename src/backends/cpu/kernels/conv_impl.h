// Convolution as an implicit GEMM over listed pixels. sum[pixel, channel] = sum over taps and input channels
// of in[centre(pixel) + offset(tap), c] * weight[tap, c, channel]. Included by kernels_impl.h.
//
// A task is a run of pixels x some blocks of output channels. For each block the reduction is cut into
// slices. A slice's weights stay in L1 while register tiles (pixels x vectors of channels) pass over the
// task's pixels. Between slices the sums wait in scratch.
//
// A tile also prefetches three things: its share of the next slice's weights, the next tile's input pixels,
// and the output that it is about to write. The next slice's weights follow in memory.
//
// The vector type says what is summed and, with first_sum, what sums begin with. Words of an input pixel are
// multiplied, one by one, with the weights of V::kWidth output channels: floats, or four bytes at once.
// Before this file, whoever includes it defines store_tile<V, M, NV>, the epilogue.

/// Words, or packed weights, in a cache line: the step of the prefetches.
constexpr int64_t kLine = 16;
constexpr int64_t kLineBytes = 64;

/// Reduction steps between two tests of a loop.
constexpr int kUnroll = 2;

std::atomic<uint64_t> conv_task_count{0};

/// Pixels in a register tile that holds NV vectors of channels per pixel.
template <class V, int NV>
constexpr int tile_pixels() {
  return V::kTilePixels[NV - 1];
}

constexpr int kMaxTilePixels = 16;

/// A task's pixels as addresses, shared by all its channel blocks.
template <class V>
struct TaskPixels {
  const typename V::Word* rows[kMaxTaskPixels + kMaxTilePixels];   ///< centre of each pixel's window
  const typename V::Word* extra[kMaxTaskPixels + kMaxTilePixels];  ///< centre of its extra window
  typename V::Out* outs[kMaxTaskPixels];
  int64_t count = 0;
  int64_t extra_count = 0;  ///< the first pixels have an extra reduction

  TaskPixels(const typename V::Call& call, const ConvTask& task) : count(task.pixel_end - task.pixel_begin) {
    extra_count = std::clamp<int64_t>(call.extra.count - task.pixel_begin, 0, count);
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = call.in + call.pixels.in[task.pixel_begin + i] * call.in_pitch;
      outs[i] = call.out + call.pixels.out[task.pixel_begin + i] * call.out_pitch;
    }
    for (int64_t i = 0; i < extra_count; ++i) {
      extra[i] = call.extra.in + call.extra.pixels[task.pixel_begin + i] * call.extra.in_pitch;
    }
    // The last tile asks for the rows after it.
    std::fill_n(rows + count, kMaxTilePixels, rows[count - 1]);
    if (extra_count > 0) std::fill_n(extra + extra_count, kMaxTilePixels, extra[extra_count - 1]);
  }
};

/// The reduction of one channel block: `taps` runs of `run` words.
template <class V>
struct Reduction {
  const typename V::Word* const* rows;  ///< of the task's pixels
  const int64_t* tap_offsets;
  int64_t taps, run;
  int64_t input;  ///< first word read
};

/// A slice of the reduction for one channel block.
template <class V>
struct SliceCall {
  const Reduction<V>* reduction;
  int64_t begin, end;                 ///< the slice
  int64_t tap, within;                ///< run in which it begins, and where there
  const typename V::Weight* weights;  ///< at `begin`
  const typename V::Conv* conv;
  const float* bias;                  ///< at the block's channels
  const typename V::Partial* starts;  ///< what sums begin with, of all channels
  const TaskPixels<V>* pixels;
  typename V::Partial* sums;  ///< [pixels, NV * kWidth], between slices
  int channel;
  typename V::Epilogue epilogue;
  bool first, last;
  bool prefetch_rows;  ///< the input may be far away
  int prefetch_lines;  ///< of the next slice's weights for each line of input
};

template <class V, int M, int NV>
[[gnu::always_inline]] inline void multiply(const typename V::Word* const (&in)[M], int64_t k,
                                            const typename V::Weight* weights,
                                            typename V::Sum (&acc)[M][NV]) {
  typename V::Weights b[NV];
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) b[j] = V::load_weights(weights + j * V::kWeightStep);
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) {
    const typename V::Factor a = V::broadcast(in[i][k]);
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = V::multiply_add(a, b[j], acc[i][j]);
  }
}

/// Contiguous words [offset, offset + length) of each row; asks for the same of the next tile's rows.
template <class V, int M, int NV>
[[gnu::always_inline]] inline void accumulate_run(const typename V::Word* const* rows, int64_t offset,
                                                  int64_t length, const typename V::Weight*& weights,
                                                  bool prefetch_rows, int prefetch_lines,
                                                  const typename V::Weight*& prefetch,
                                                  typename V::Sum (&acc)[M][NV]) {
  const typename V::Word* in[M];
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) in[i] = rows[i] + offset;
  const typename V::Weight* w = weights;
  int64_t k = 0;
  for (; k + kLine <= length; k += kLine) {
    for (int line = 0; line < prefetch_lines; ++line, prefetch += kLine) __builtin_prefetch(prefetch, 0, 2);
    if (prefetch_rows) {
      LASNET_UNROLL
      for (int i = 0; i < M; ++i) __builtin_prefetch(rows[M + i] + offset + k, 0, 3);
    }
    for (int64_t step = 0; step < kLine; step += kUnroll) {
      LASNET_UNROLL
      for (int u = 0; u < kUnroll; ++u, w += NV * V::kWeightStep)
        multiply<V, M, NV>(in, k + step + u, w, acc);
    }
  }
  for (; k < length; ++k, w += NV * V::kWeightStep) multiply<V, M, NV>(in, k, w, acc);
  weights = w;
}

/// `count` register tiles of M pixels from the task's pixel `p` on. Returns where the prefetch of weights
/// stands.
template <class V, int M, int NV>
const typename V::Weight* tiles(const SliceCall<V>& call, int64_t p, int64_t count,
                                const typename V::Weight* prefetch) {
  constexpr int64_t kOutLine = kLineBytes / sizeof(typename V::Out);
  const Reduction<V>& reduction = *call.reduction;
  const typename V::Weight* prefetch_end = call.weights + 2 * (call.end - call.begin) * NV * V::kWeightStep;
  for (; count > 0; --count, p += M) {
    typename V::Partial* sums = call.sums + p * NV * V::kWidth;
    typename V::Out* const* outs = call.pixels->outs + p;
    typename V::Sum acc[M][NV];
    LASNET_UNROLL
    for (int i = 0; i < M; ++i) {
      LASNET_UNROLL
      for (int j = 0; j < NV; ++j) {
        acc[i][j] = call.first ? V::first_sum(call.starts, call.channel + j * V::kWidth)
                               : V::load_sum(sums + (i * NV + j) * V::kWidth);
      }
    }
    if (call.last) {
      LASNET_UNROLL
      for (int i = 0; i < M; ++i) {
        LASNET_UNROLL
        for (int j = 0; j < NV * V::kWidth; j += kOutLine)
          __builtin_prefetch(outs[i] + call.channel + j, 1, 3);
      }
    }
    if (call.prefetch_rows && reduction.run < kLine) {  // too short to prefetch as it goes
      const typename V::Word* const* next = reduction.rows + p + M;
      const int64_t last_tap = reduction.tap_offsets[reduction.taps - 1] + reduction.input;
      LASNET_UNROLL
      for (int i = 0; i < M; ++i) __builtin_prefetch(next[i] + last_tap, 0, 3);
    }
    const typename V::Weight* weights = call.weights;
    int prefetch_lines = prefetch < prefetch_end ? call.prefetch_lines : 0;
    int64_t tap = call.tap, within = call.within;
    for (int64_t k = call.begin; k < call.end; ++tap, within = 0) {
      int64_t length = std::min(reduction.run - within, call.end - k);
      accumulate_run<V, M, NV>(reduction.rows + p, reduction.tap_offsets[tap] + reduction.input + within,
                               length, weights, call.prefetch_rows, prefetch_lines, prefetch, acc);
      k += length;
    }
    if (call.last) {
      store_tile<V, M, NV>(*call.conv, call.bias, call.channel, call.epilogue, outs, acc);
      continue;
    }
    LASNET_UNROLL
    for (int i = 0; i < M; ++i) {
      LASNET_UNROLL
      for (int j = 0; j < NV; ++j) V::store_sum(sums + (i * NV + j) * V::kWidth, acc[i][j]);
    }
  }
  return prefetch;
}

template <class V, int NV>
using TilesFunction = const typename V::Weight* (*)(const SliceCall<V>&, int64_t, int64_t,
                                                    const typename V::Weight*);

/// tiles<V, m, NV> for m = 1 ... tile_pixels.
template <class V, int NV, int... M>
TilesFunction<V, NV> select_tiles(int64_t pixels, std::integer_sequence<int, M...>) {
  static constexpr TilesFunction<V, NV> kTiles[] = {&tiles<V, M + 1, NV>...};
  return kTiles[pixels - 1];
}

/// One slice over pixels [begin, end) of the task, in tiles of even size: no nearly empty last one.
template <class V, int NV>
void conv_slice(SliceCall<V>& call, int64_t begin, int64_t end) {
  constexpr int kTile = tile_pixels<V, NV>();
  constexpr auto kSizes = std::make_integer_sequence<int, kTile>();
  if (begin == end) return;
  int64_t count = (end - begin + kTile - 1) / kTile;
  int64_t size = (end - begin) / count, larger = (end - begin) % count;
  call.prefetch_lines = static_cast<int>((NV * V::kWeightStep + count - 1) / count);
  const typename V::Weight* prefetch = call.weights + (call.end - call.begin) * NV * V::kWeightStep;
  if (larger > 0) prefetch = select_tiles<V, NV>(size + 1, kSizes)(call, begin, larger, prefetch);
  select_tiles<V, NV>(size, kSizes)(call, begin + larger * (size + 1), count - larger, prefetch);
}

/// All pixels of a task for one channel block of NV vectors.
template <class V, int NV>
void conv_block(const typename V::Call& call, const TaskPixels<V>& pixels, const ChannelBlock& block,
                bool new_input, typename V::Partial* scratch) {
  const typename V::Conv& conv = *call.conv;
  const Reduction<V> reductions[] = {
      {pixels.rows, call.tap_offsets, conv.taps, block.run, block.input},
      {pixels.extra, call.extra.tap_offsets, conv.extra_taps, conv.extra_run, 0}};
  const typename V::Weight* weights = conv.weights.data() + block.weights;
  for (int r = 0; r < (conv.extra_taps > 0 ? 2 : 1); ++r) {
    const Reduction<V>& reduction = reductions[r];
    int64_t length = reduction.taps * reduction.run;
    SliceCall<V> slice{.reduction = &reduction,
                       .begin = 0,
                       .end = 0,
                       .tap = 0,
                       .within = 0,
                       .weights = weights,
                       .conv = &conv,
                       .bias = nullptr,
                       .starts = nullptr,
                       .pixels = &pixels,
                       .sums = scratch,
                       .channel = block.channel,
                       .epilogue = call.epilogue,
                       .first = r == 0,
                       .last = false,
                       .prefetch_rows = new_input,
                       .prefetch_lines = 0};
    for (; slice.begin < length; slice.begin = slice.end, slice.first = false) {
      slice.end = std::min(slice.begin + kReductionSlice, length);
      slice.tap = slice.begin / reduction.run;
      slice.within = slice.begin % reduction.run;
      slice.weights = weights;
      // Pixels with an extra reduction end in it, the others here.
      slice.last = r == 1 && slice.end == length;
      slice.bias = conv.extra_bias.data() + block.channel;
      slice.starts = V::starts(conv, true);
      conv_slice<V, NV>(slice, 0, pixels.extra_count);
      slice.last = slice.end == length;
      slice.bias = conv.bias.data() + block.channel;
      slice.starts = V::starts(conv, false);
      if (r == 0) conv_slice<V, NV>(slice, pixels.extra_count, pixels.count);
      weights += (slice.end - slice.begin) * NV * V::kWeightStep;
    }
  }
}

template <class V, int NV = V::kRegisterChannels>
void conv_any_block(const typename V::Call& call, const TaskPixels<V>& pixels, const ChannelBlock& block,
                    bool new_input, typename V::Partial* scratch) {
  if constexpr (NV > 1) {
    if (block.width < NV * V::kWidth)
      return conv_any_block<V, NV - 1>(call, pixels, block, new_input, scratch);
  }
  conv_block<V, NV>(call, pixels, block, new_input, scratch);
}

template <class V>
void conv(const typename V::Call& call, const ConvTask& task, typename V::Partial* scratch) noexcept {
  conv_task_count.fetch_add(1, std::memory_order_relaxed);
  TaskPixels<V> pixels(call, task);
  const std::vector<ChannelBlock>& blocks = call.conv->blocks;
  for (int block = task.block_begin; block < task.block_end; ++block) {
    const bool new_input = block == task.block_begin || blocks[block].input != blocks[block - 1].input;
    conv_any_block<V>(call, pixels, blocks[block], new_input, scratch);
  }
}
