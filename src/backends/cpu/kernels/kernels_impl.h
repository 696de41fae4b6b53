// The operators, written once over a vector type V and compiled per instruction set.
//
// V has two constants: kWidth (floats) and kRegisterChannels (vectors of output channels in a register
// tile). It has the functions load, store, set1, zero, add, mul, max, sum and fma(a, b, c) = a * b + c.
//
// One file per instruction set includes this one, inside that set's target region and an anonymous
// namespace. So the linker cannot pick an inline function that was compiled for another set.

/// What conv_impl.h asks of a vector type, for sums of floats.
template <class Base>
struct FloatSums : Base {
  using typename Base::Register;
  using Word = float;
  using Weight = float;
  using Partial = float;
  using Out = float;
  using Sum = Register;
  using Factor = Register;
  using Weights = Register;
  using Call = ConvCall;
  using Conv = PackedConv;
  using Epilogue = lasnet::Epilogue;
  static constexpr int kWeightStep = Base::kWidth;

  static Weights load_weights(const float* p) { return Base::load(p); }
  static Factor broadcast(float value) { return Base::set1(value); }
  static Sum multiply_add(const Factor& a, const Weights& b, const Sum& c) { return Base::fma(a, b, c); }
  static const float* starts(const PackedConv&, bool) { return nullptr; }
  static Sum first_sum(const float*, int) { return Base::zero(); }
  static Sum load_sum(const float* p) { return Base::load(p); }
  static void store_sum(float* p, const Sum& a) { Base::store(p, a); }
};

template <class V, int M, int NV>
[[gnu::always_inline]] inline void store_tile(const PackedConv&, const float* bias, int channel,
                                              Epilogue epilogue, float* const* outs,
                                              typename V::Sum (&acc)[M][NV]) {
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) {
    float* out = outs[i] + channel;
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) {
      typename V::Sum value = V::add(acc[i][j], V::load(bias + j * V::kWidth));
      if (epilogue == Epilogue::bias_add_relu) value = V::add(value, V::load(out + j * V::kWidth));
      if (epilogue != Epilogue::bias) value = V::max(V::zero(), value);  // the second operand, if NaN
      V::store(out + j * V::kWidth, value);
    }
  }
}

#include "backends/cpu/kernels/conv_impl.h"

/// Dot product of the weight with the sum over a window of cells.
template <class V>
float summed_dot(const MaskerCall& call, const float* image, const PixelRect& cells) {
  typename V::Register dot = V::zero();
  for (int c = 0; c < call.channels; c += V::kWidth) {
    typename V::Register sum = V::zero();
    for (int64_t y = cells.top; y < cells.bottom; ++y) {
      const float* x = image + y * call.sums.row + cells.left * call.sums.pitch + c;
      for (int64_t i = cells.left; i < cells.right; ++i, x += call.sums.pitch) sum = V::add(sum, V::load(x));
    }
    dot = V::fma(sum, V::load(call.weight + c), dot);
  }
  return V::sum(dot);
}

template <class V>
void masker(const MaskerCall& call, int64_t image, int64_t patch_row) noexcept {
  float* out = call.differences + (image * call.grid.rows() + patch_row) * call.grid.cols();
  int64_t side = call.sums.side;
  for (int64_t col = 0; col < call.grid.cols(); ++col) {
    PixelRect window = patch_window(call.grid, patch_row, col, call.stride, call.input);
    PixelRect cells{window.top / side, window.left / side, (window.bottom + side - 1) / side,
                    (window.right + side - 1) / side};
    float dot = summed_dot<V>(call, call.sums.data + image * call.sums.image, cells);
    out[col] = dot / static_cast<float>(window.pixels()) + call.bias;
  }
}

/// NV vectors of channels at once, so that a pixel's cache lines are read once.
template <class V, int NV>
void patch_sum_of_vectors(const PatchSumCall& call, int channel) {
  typename V::Register sums[NV];
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) sums[j] = V::zero();
  for (int64_t y = call.pixels.top; y < call.pixels.bottom; ++y) {
    const float* in =
        call.in + bordered_index(call.map, call.image, y, call.pixels.left) * call.pitch + channel;
    for (int64_t x = call.pixels.left; x < call.pixels.right; ++x, in += call.pitch) {
      LASNET_UNROLL
      for (int j = 0; j < NV; ++j) sums[j] = V::add(sums[j], V::load(in + j * V::kWidth));
    }
  }
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) V::store(call.out + channel + j * V::kWidth, sums[j]);
}

template <class V>
void patch_sum(const PatchSumCall& call, int begin, int end) noexcept {
  constexpr int kVectors = 8;
  int channel = begin;
  for (; channel + kVectors * V::kWidth <= end; channel += kVectors * V::kWidth) {
    patch_sum_of_vectors<V, kVectors>(call, channel);
  }
  for (; channel < end; channel += V::kWidth) patch_sum_of_vectors<V, 1>(call, channel);
}

template <class V>
void dot(const DotCall& call) noexcept {
  for (int64_t p = 0; p < call.count; ++p) {
    const float* in = call.in + call.pixels[p] * call.pitch;
    typename V::Register sum = V::zero();
    for (int c = 0; c < call.channels; c += V::kWidth)
      sum = V::fma(V::load(in + c), V::load(call.weight + c), sum);
    call.out[call.pixels[p]] = V::sum(sum);
  }
}

template <class V>
void add_relu(const AddCall& call) noexcept {
  for (int64_t i = 0; i < call.floats; i += V::kWidth) {
    typename V::Register sum = V::add(V::load(call.addend + i), V::load(call.out + i));
    V::store(call.out + i, V::max(V::zero(), sum));
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
  return {.isa = isa,
          .vector_width = V::kWidth,
          .block_width = V::kWidth * V::kRegisterChannels,
          .conv = &conv<FloatSums<V>>,
          .masker = &masker<V>,
          .max_pool = &max_pool<V>,
          .patch_sum = &patch_sum<V>,
          .dot = &dot<V>,
          .add_relu = &add_relu<V>,
          .mean = &mean<V>,
          .scale = &scale<V>,
          .fma_chains = &fma_chains<V>,
          .conv_tasks = &conv_tasks};
}
