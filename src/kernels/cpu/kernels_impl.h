// The operators, written once over a vector type V and compiled per instruction set.
//
// V has: static constexpr int kWidth (floats), kRegisterChannels (vectors of output channels in a register
// tile); V::load, V::store, V::set1, V::zero, fma(a, b, c) = a * b + c, add, mul, max, sum.
//
// Included by one file per instruction set, inside that set's target region and an anonymous namespace, so
// that no inline function compiled for one set can be picked by the linker for another.

/// K is cut into slices whose weights (kKSlice x a register block) stay in L1/L2 while a task's pixels pass
/// over them; between slices the sums wait in scratch.
constexpr int64_t kKSlice = 256;

std::atomic<uint64_t> conv_task_count{0};

/// Pixels in a register tile that holds NV vectors of channels per pixel.
template <class V, int NV>
constexpr int tile_pixels() {
  return V::kTilePixels[NV - 1];
}

/// One reduction slice: contiguous floats [begin, begin + length) of run `tap`, several per slice.
struct KSlice {
  int64_t begin, end;
};

struct TileCall {
  const float* const* rows;  ///< centre pixel of each input row
  const int64_t* tap_offsets;
  int run;
  KSlice slice;          ///< of the whole reduction
  const float* weights;  ///< at slice.begin
  float* sums;           ///< [M, NV * kWidth] partial sums
  bool first, last;
  const float* bias;
  float* const* outs;  ///< output pixels, at the first channel of the block
  Epilogue epilogue;
};

template <class V, int M, int NV>
[[gnu::always_inline]] inline void accumulate_run(const float* const* rows, int64_t offset, int64_t length,
                                                  const float*& weights, typename V::Register (&acc)[M][NV]) {
  const float* in[M];
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) in[i] = rows[i] + offset;
  const float* w = weights;
  for (int64_t k = 0; k < length; ++k) {
    typename V::Register b[NV];
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) b[j] = V::load(w + j * V::kWidth);
    LASNET_UNROLL
    for (int i = 0; i < M; ++i) {
      typename V::Register a = V::set1(in[i][k]);
      LASNET_UNROLL
      for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(a, b[j], acc[i][j]);
    }
    w += NV * V::kWidth;
  }
  weights = w;
}

template <class V, int M, int NV>
[[gnu::always_inline]] inline void finish_tile(const TileCall& call, typename V::Register (&acc)[M][NV]) {
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) {
    float* out = call.outs[i];
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) {
      typename V::Register value = V::add(acc[i][j], V::load(call.bias + j * V::kWidth));
      if (call.epilogue == Epilogue::bias_add_relu) value = V::add(value, V::load(out + j * V::kWidth));
      if (call.epilogue != Epilogue::bias) value = V::max(V::zero(), value);  // the second operand, if NaN
      V::store(out + j * V::kWidth, value);
    }
  }
}

template <class V, int M, int NV>
void tile(const TileCall& call) {
  typename V::Register acc[M][NV];
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) {
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) {
      acc[i][j] = call.first ? V::zero() : V::load(call.sums + (i * NV + j) * V::kWidth);
    }
  }
  const float* weights = call.weights;
  int64_t k = call.slice.begin;
  while (k < call.slice.end) {
    int64_t tap = k / call.run, within = k % call.run;
    int64_t length = std::min<int64_t>(call.run - within, call.slice.end - k);
    accumulate_run<V, M, NV>(call.rows, call.tap_offsets[tap] + within, length, weights, acc);
    k += length;
  }
  if (call.last) {
    finish_tile<V, M, NV>(call, acc);
    return;
  }
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) {
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) V::store(call.sums + (i * NV + j) * V::kWidth, acc[i][j]);
  }
}

using TileFunction = void (*)(const TileCall&);

/// tile<V, m, NV> for m = 1 ... tile_pixels.
template <class V, int NV, int... M>
TileFunction select_tile(int pixels, std::integer_sequence<int, M...>) {
  static constexpr TileFunction kTiles[] = {&tile<V, M + 1, NV>...};
  return kTiles[pixels - 1];
}

/// All pixels of a task for one channel block of NV vectors.
template <class V, int NV>
void conv_block(const ConvCall& call, const ConvTask& task, const ChannelBlock& block, float* scratch) {
  constexpr int kTile = tile_pixels<V, NV>();
  const PackedConv& conv = *call.conv;
  int64_t reduction = int64_t{conv.taps} * block.run;
  const float* weights = conv.weights.data() + block.weights;
  const float* rows[kTile];
  float* outs[kTile];
  TileCall t{
      rows, call.tap_offsets, block.run, {}, nullptr, nullptr, false, false, conv.bias.data() + block.channel,
      outs, call.epilogue};
  for (t.slice.begin = 0; t.slice.begin < reduction; t.slice.begin = t.slice.end) {
    t.slice.end = std::min(t.slice.begin + kKSlice, reduction);
    t.first = t.slice.begin == 0;
    t.last = t.slice.end == reduction;
    t.weights = weights + t.slice.begin * NV * V::kWidth;
    for (int64_t p = task.pixel_begin; p < task.pixel_end;) {
      int64_t left = task.pixel_end - p;
      int64_t tiles = (left + kTile - 1) / kTile;
      int count = static_cast<int>((left + tiles - 1) / tiles);  // even tiles: no nearly empty last one
      for (int i = 0; i < count; ++i) {
        rows[i] = call.in + call.pixels.in[p + i] * call.in_pitch + block.input;
        outs[i] = call.out + call.pixels.out[p + i] * call.out_pitch + block.channel;
      }
      t.sums = scratch + (p - task.pixel_begin) * NV * V::kWidth;
      select_tile<V, NV>(count, std::make_integer_sequence<int, kTile>())(t);
      p += count;
    }
  }
}

template <class V, int NV = V::kRegisterChannels>
void conv_any_block(const ConvCall& call, const ConvTask& task, const ChannelBlock& block, float* scratch) {
  if constexpr (NV > 1) {
    if (block.width < NV * V::kWidth) return conv_any_block<V, NV - 1>(call, task, block, scratch);
  }
  conv_block<V, NV>(call, task, block, scratch);
}

template <class V>
void conv(const ConvCall& call, const ConvTask& task, float* scratch) noexcept {
  conv_task_count.fetch_add(1, std::memory_order_relaxed);
  for (int block = task.block_begin; block < task.block_end; ++block) {
    conv_any_block<V>(call, task, call.conv->blocks[block], scratch);
  }
}

/// Dot product of the weight with the sum over a window of pixels.
template <class V>
float pooled_dot(const MaskerCall& call, int64_t image, const PixelRect& window) {
  typename V::Register dot = V::zero();
  for (int c = 0; c < call.channels; c += V::kWidth) {
    typename V::Register sum = V::zero();
    for (int64_t y = window.top; y < window.bottom; ++y) {
      const float* x = call.x + bordered_index(call.input, image, y, window.left) * call.pitch + c;
      for (int64_t i = window.left; i < window.right; ++i, x += call.pitch) sum = V::add(sum, V::load(x));
    }
    dot = V::fma(sum, V::load(call.weight + c), dot);
  }
  return V::sum(dot);
}

template <class V>
void masker(const MaskerCall& call, int64_t image, int64_t patch_row) noexcept {
  float* out = call.differences + (image * call.grid.rows() + patch_row) * call.grid.cols();
  for (int64_t col = 0; col < call.grid.cols(); ++col) {
    PixelRect window = patch_window(call.grid, patch_row, col, call.stride, call.input);
    out[col] = pooled_dot<V>(call, image, window) / static_cast<float>(window.pixels()) + call.bias;
  }
}

template <class V>
void max_pool(const MaxPoolCall& call, int64_t image, int64_t row) noexcept {
  int64_t row_floats = (call.input.width + 2) * call.pitch;
  // Window rows 2y - 1 ... 2y + 1; the one below an odd map's last row is the border.
  const float* in = call.in + bordered_index(call.input, image, 2 * row - 1, -1) * call.pitch;
  float* out = call.out + bordered_index(call.output, image, row, 0) * call.pitch;
  for (int64_t x = 0; x < call.output.width; ++x, in += 2 * call.pitch, out += call.pitch) {
    for (int c = 0; c < call.channels; c += V::kWidth) {
      typename V::Register value = V::zero();
      for (int dy = 0; dy < 3; ++dy) {
        for (int dx = 0; dx < 3; ++dx)
          value = V::max(value, V::load(in + dy * row_floats + dx * call.pitch + c));
      }
      V::store(out + c, value);
    }
  }
}

/// NV vectors of channels at once, so that a pixel's cache lines are read once.
template <class V, int NV>
void mean_of_vectors(const MeanCall& call, int channel) {
  typename V::Register sums[NV];
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) sums[j] = V::zero();
  for (int64_t p = 0; p < call.count; ++p) {
    const float* in = call.in + call.pixels[p] * call.pitch + channel;
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) sums[j] = V::add(sums[j], V::load(in + j * V::kWidth));
  }
  typename V::Register scale = V::set1(1.0f / static_cast<float>(call.count));
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) V::store(call.out + channel + j * V::kWidth, V::mul(sums[j], scale));
}

template <class V>
void mean(const MeanCall& call, int begin, int end) noexcept {
  constexpr int kVectors = 4;
  int channel = begin;
  for (; channel + kVectors * V::kWidth <= end; channel += kVectors * V::kWidth) {
    mean_of_vectors<V, kVectors>(call, channel);
  }
  for (; channel < end; channel += V::kWidth) mean_of_vectors<V, 1>(call, channel);
}

template <class V>
void scale(const ScaleCall& call) noexcept {
  for (int64_t p = 0; p < call.count; ++p) {
    float* data = call.data + call.pixels[p] * call.pitch;
    for (int c = 0; c < call.channels; c += V::kWidth) {
      V::store(data + c, V::mul(V::load(data + c), V::load(call.scale + c)));
    }
  }
}

template <class V>
float fma_chains(int64_t steps) noexcept {
  typename V::Register chains[kFmaChains];
  LASNET_UNROLL
  for (int i = 0; i < kFmaChains; ++i) chains[i] = V::set1(static_cast<float>(i));
  typename V::Register scale = V::set1(0.999f), shift = V::set1(1e-5f);
  for (int64_t step = 0; step < steps; ++step) {
    LASNET_UNROLL
    for (int i = 0; i < kFmaChains; ++i) chains[i] = V::fma(chains[i], scale, shift);
  }
  float sum = 0;
  LASNET_UNROLL
  for (int i = 0; i < kFmaChains; ++i) sum += V::sum(chains[i]);
  return sum;
}

uint64_t conv_tasks() noexcept { return conv_task_count.load(std::memory_order_relaxed); }

template <class V>
constexpr CpuKernels make_kernels(Isa isa) {
  return {isa,        V::kWidth,  V::kWidth * V::kRegisterChannels,
          &conv<V>,   &masker<V>, &max_pool<V>,
          &mean<V>,   &scale<V>,  &fma_chains<V>,
          &conv_tasks};
}
