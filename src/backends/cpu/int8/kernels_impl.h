// The int8 operators, written once over a vector type V and compiled per instruction set, each inside that
// set's target region and an anonymous namespace.
//
// V has vectors of kWidth int32 sums, and weights for them: kWeightStep words, four weights of each. Its
// functions are broadcast (a word of four bytes, kSubtracted taken from each), load_weights, multiply_add (a
// dot product of four bytes for each sum), zero_sum, load_sum, store_sum, add, scaled (a sum rounded to units
// of the map), load_bytes, store_bytes (of several vectors, clamped), multiply_add_raw (multiply_add of a
// vector of bytes as they lie), and those of the operators below.

/// What conv_impl.h asks of a vector type, for sums of bytes.
template <class Base>
struct ByteSums : Base {
  using typename Base::Sum;
  using Word = uint32_t;
  using Weight = uint32_t;
  using Partial = int32_t;
  using Out = uint8_t;
  using Call = Int8ConvCall;
  using Conv = PackedInt8Conv;
  using Epilogue = Int8Epilogue;

  /// What subtracting from the input takes from each channel's sum.
  static const int32_t* starts(const PackedInt8Conv& conv, bool with_extra) {
    return with_extra ? conv.extra_start.data() : conv.start.data();
  }
  static Sum first_sum(const int32_t* starts, int channel) {
    if constexpr (Base::kSubtracted == 0) {
      return Base::zero_sum();
    } else {
      return Base::load_sum(starts + channel);
    }
  }
};

template <class V, int M, int NV>
[[gnu::always_inline]] inline void store_tile(const PackedInt8Conv& conv, const float* bias, int channel,
                                              Int8Epilogue epilogue, uint8_t* const* outs,
                                              typename V::Sum (&acc)[M][NV]) {
  if (epilogue == Int8Epilogue::sums) {
    LASNET_UNROLL
    for (int i = 0; i < M; ++i) {
      auto* out = reinterpret_cast<int32_t*>(outs[i]) + channel;
      LASNET_UNROLL
      for (int j = 0; j < NV; ++j) V::store_sum(out + j * V::kWidth, acc[i][j]);
    }
    return;
  }
  const float* multiplier = conv.multiplier.data() + channel;
  LASNET_UNROLL
  for (int i = 0; i < M; ++i) {
    uint8_t* out = outs[i] + channel;
    typename V::Sum values[NV];
    LASNET_UNROLL
    for (int j = 0; j < NV; ++j) {
      values[j] = V::scaled(acc[i][j], multiplier + j * V::kWidth, bias + j * V::kWidth);
      if (epilogue == Int8Epilogue::add_relu)
        values[j] = V::add(values[j], V::load_bytes(out + j * V::kWidth));
    }
    V::template store_bytes<NV>(out, values);
  }
}

#include "backends/cpu/kernels/conv_impl.h"

template <class V>
void quantize_row(const QuantizeRowCall& call) noexcept {
  for (int64_t x = 0;; x += V::kWidth) {
    // The last vector may overlap the one before.
    const int64_t at = std::min<int64_t>(x, call.width - V::kWidth);
    typename V::Sum word = V::input_bytes(call.red + at, call.inverse_scale, call.zero);
    word = V::add(word, V::template shift<8>(V::input_bytes(call.green + at, call.inverse_scale, call.zero)));
    word = V::add(word, V::template shift<16>(V::input_bytes(call.blue + at, call.inverse_scale, call.zero)));
    V::store_sum(reinterpret_cast<int32_t*>(call.out) + at, word);
    if (at + V::kWidth == call.width) return;
  }
}

template <class V>
void max_pool(const ByteMaxPoolCall& call, int64_t image, int64_t row) noexcept {
  constexpr int kBytes = kWordBytes * V::kWidth;
  const int64_t row_bytes = (call.input.width + 2) * call.pitch;
  // Window rows 2y - 1 ... 2y + 1; the one below an odd map's last row is the border.
  const uint8_t* in = call.in + bordered_index(call.input, image, 2 * row - 1, -1) * call.pitch;
  uint8_t* out = call.out + bordered_index(call.output, image, row, 0) * call.pitch;
  for (int64_t x = 0; x < call.output.width; ++x, in += 2 * call.pitch, out += call.pitch) {
    for (int64_t c = 0; c < call.pitch; c += kBytes) {
      typename V::Bytes value = V::load_raw(in + c);
      for (int dy = 0; dy < 3; ++dy) {
        for (int dx = 0; dx < 3; ++dx)
          value = V::max_bytes(value, V::load_raw(in + dy * row_bytes + dx * call.pitch + c));
      }
      V::store_raw(out + c, value);
    }
  }
}

/// NV vectors of channels at once, so that a pixel's cache lines are read once.
template <class V, int NV>
void sum_of_vectors(const ByteSumCall& call, int channel) {
  typename V::Sum sums[NV];
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) sums[j] = V::zero_sum();
  for (int64_t y = call.pixels.top; y < call.pixels.bottom; ++y) {
    const uint8_t* in =
        call.in + bordered_index(call.map, call.image, y, call.pixels.left) * call.pitch + channel;
    for (int64_t x = call.pixels.left; x < call.pixels.right; ++x, in += call.pitch) {
      LASNET_UNROLL
      for (int j = 0; j < NV; ++j) sums[j] = V::add(sums[j], V::load_bytes(in + j * V::kWidth));
    }
  }
  LASNET_UNROLL
  for (int j = 0; j < NV; ++j) V::store_sum(call.out + channel + j * V::kWidth, sums[j]);
}

template <class V>
void sum(const ByteSumCall& call, int begin, int end) noexcept {
  constexpr int kVectors = 8;
  int channel = begin;
  for (; channel + kVectors * V::kWidth <= end; channel += kVectors * V::kWidth)
    sum_of_vectors<V, kVectors>(call, channel);
  for (; channel < end; channel += V::kWidth) sum_of_vectors<V, 1>(call, channel);
}

/// 1, the base and its square, in every sum of a vector.
template <int kWidth>
struct MaskerPowers {
  alignas(64) int32_t of[kMaskerParts][kWidth];
  constexpr MaskerPowers() : of() {
    for (int part = 0, power = 1; part < kMaskerParts; ++part, power *= kMaskerBase)
      std::fill_n(of[part], kWidth, power);
  }
};
template <int kWidth>
constexpr MaskerPowers<kWidth> kMaskerPowers{};

/// Adds the sums of products with a masker's parts to `total`.
template <class V>
typename V::Wide join_parts(const typename V::Sum (&parts)[kMaskerParts], typename V::Wide total) {
  LASNET_UNROLL
  for (int i = 0; i < kMaskerParts; ++i)
    total = V::multiply_add_wide(parts[i], V::load_sum(kMaskerPowers<V::kWidth>.of[i]), total);
  return total;
}

template <class V>
int64_t window_dot(const ByteWindowDotCall& call) noexcept {
  constexpr int kBytes = kWordBytes * V::kWidth;
  // 4 products of 255 and half the base each: the sums of so many stay inside int32.
  constexpr int64_t kMaxSteps = (int64_t{1} << 31) / (kWordBytes * kMaxByte * kMaskerBase / 2) - 1;
  const PackedMasker& masker = *call.masker;
  typename V::Wide total = V::zero_wide();
  typename V::Sum parts[kMaskerParts];
  for (auto& part : parts) part = V::zero_sum();
  int64_t steps_left = kMaxSteps;
  for (int64_t y = call.pixels.top; y < call.pixels.bottom; ++y) {
    const uint8_t* in = call.in + bordered_index(call.map, call.image, y, call.pixels.left) * call.pitch;
    for (int64_t x = call.pixels.left; x < call.pixels.right; ++x, in += call.pitch) {
      const uint32_t* weights = masker.weights.data();
      for (int step = 0; step < masker.steps; ++step) {
        const typename V::Bytes bytes = V::load_raw(in + step * kBytes);
        LASNET_UNROLL
        for (int i = 0; i < kMaskerParts; ++i, weights += V::kWeightStep)
          parts[i] = V::multiply_add_raw(bytes, V::load_weights(weights), parts[i]);
      }
      steps_left -= masker.steps;
      if (steps_left >= masker.steps) continue;
      total = join_parts<V>(parts, total);
      for (auto& part : parts) part = V::zero_sum();
      steps_left = kMaxSteps;
    }
  }
  return V::total(join_parts<V>(parts, total)) + call.pixels.pixels() * masker.pixel_start;
}

template <class V>
void list_sum(const ByteListSumCall& call, int begin, int end) noexcept {
  for (int channel = begin; channel < end; channel += V::kWidth) {
    typename V::Sum sum = V::zero_sum();
    for (int64_t p = 0; p < call.count; ++p)
      sum = V::add(sum, V::load_bytes(call.in + call.pixels[p] * call.pitch + channel));
    V::store_sum(call.out + channel, sum);
  }
}

template <class V>
void scale(const ByteScaleCall& call) noexcept {
  for (int64_t p = 0; p < call.count; ++p) {
    uint8_t* pixel = call.data + call.pixels[p] * call.pitch;
    for (int c = 0; c < call.channels; c += V::kWidth) {
      const typename V::Sum value[1] = {V::times(V::load_bytes(pixel + c), call.factor + c)};
      V::template store_bytes<1>(pixel + c, value);
    }
  }
}

template <class V>
int64_t dot(const int32_t* a, const int32_t* b, int64_t count) noexcept {
  typename V::Wide sum = V::zero_wide();
  for (int64_t i = 0; i < count; i += V::kWidth)
    sum = V::multiply_add_wide(V::load_sum(a + i), V::load_sum(b + i), sum);
  return V::total(sum);
}

uint64_t conv_tasks() noexcept { return conv_task_count.load(std::memory_order_relaxed); }

template <class V>
constexpr Int8Kernels make_kernels(const char* name, Isa isa) {
  return {.name = name,
          .isa = isa,
          .vector_width = V::kWidth,
          .block_width = V::kWidth * V::kRegisterChannels,
          .subtracted = V::kSubtracted,
          .conv = &conv<ByteSums<V>>,
          .quantize_row = &quantize_row<V>,
          .max_pool = &max_pool<V>,
          .sum = &sum<V>,
          .list_sum = &list_sum<V>,
          .scale = &scale<V>,
          .window_dot = &window_dot<V>,
          .dot = &dot<V>,
          .conv_tasks = &conv_tasks};
}
