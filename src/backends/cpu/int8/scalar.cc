// Portable kernels: fixed-size loops.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/register_tile.h"

namespace lasnet {
namespace {

struct VecScalarBytes {
  static constexpr int kWidth = 4;
  static constexpr int kRegisterChannels = 2;
  static constexpr int kSubtracted = 0;
  static constexpr int kWeightStep = kWidth;
  static constexpr auto kTilePixels = int8_register_tile("scalar").pixels;

  using Sum = std::array<int32_t, kWidth>;
  using Factor = std::array<uint8_t, kWordBytes>;
  using Weights = std::array<int8_t, kWidth * kWordBytes>;
  using Bytes = std::array<uint8_t, kWidth * kWordBytes>;
  using Wide = int64_t;

  template <typename Array, typename Value>
  static Array load(const Value* p) {
    Array array;
    std::memcpy(&array, p, sizeof array);
    return array;
  }

  static Weights load_weights(const uint32_t* p) { return load<Weights>(p); }
  static Factor broadcast(uint32_t word) { return load<Factor>(&word); }
  static Sum multiply_add(const Factor& a, const Weights& b, Sum c) {
    for (int i = 0; i < kWidth; ++i) {
      for (int k = 0; k < kWordBytes; ++k) c[i] += a[k] * b[i * kWordBytes + k];
    }
    return c;
  }
  static Sum multiply_add_raw(const Bytes& a, const Weights& b, Sum c) {
    for (int i = 0; i < kWidth * kWordBytes; ++i) c[i / kWordBytes] += a[i] * b[i];
    return c;
  }
  static Sum zero_sum() { return {}; }
  static Sum load_sum(const int32_t* p) { return load<Sum>(p); }
  static void store_sum(int32_t* p, const Sum& a) { std::memcpy(p, &a, sizeof a); }
  static Sum add(Sum a, const Sum& b) {
    for (int i = 0; i < kWidth; ++i) a[i] += b[i];
    return a;
  }
  template <int kBits>
  static Sum shift(Sum a) {
    for (int32_t& value : a) value <<= kBits;
    return a;
  }
  static Sum scaled(Sum a, const float* multiplier, const float* bias) {
    for (int i = 0; i < kWidth; ++i)
      a[i] = round_to_even(std::fma(static_cast<float>(a[i]), multiplier[i], bias[i]));
    return a;
  }
  static Sum times(Sum a, const float* factor) {
    for (int i = 0; i < kWidth; ++i) a[i] = round_to_even(static_cast<float>(a[i]) * factor[i]);
    return a;
  }
  static Sum load_bytes(const uint8_t* p) { return {p[0], p[1], p[2], p[3]}; }
  template <int NV>
  static void store_bytes(uint8_t* p, const Sum (&a)[NV]) {
    for (int j = 0; j < NV; ++j) {
      for (int i = 0; i < kWidth; ++i) p[j * kWidth + i] = to_byte(a[j][i]);
    }
  }
  static Sum input_bytes(const float* p, float inverse_scale, float zero) {
    Sum bytes;
    for (int i = 0; i < kWidth; ++i) bytes[i] = input_byte(p[i], inverse_scale, zero);
    return bytes;
  }
  static Bytes load_raw(const uint8_t* p) { return load<Bytes>(p); }
  static void store_raw(uint8_t* p, const Bytes& a) { std::memcpy(p, &a, sizeof a); }
  static Bytes max_bytes(Bytes a, const Bytes& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] = std::max(a[i], b[i]);
    return a;
  }
  static Wide zero_wide() { return 0; }
  static Wide multiply_add_wide(const Sum& a, const Sum& b, Wide c) {
    for (int i = 0; i < kWidth; ++i) c += int64_t{a[i]} * b[i];
    return c;
  }
  static int64_t total(Wide a) { return a; }
};

#include "backends/cpu/int8/kernels_impl.h"

constexpr Int8Kernels kKernels = make_kernels<VecScalarBytes>("scalar", Isa::scalar);

}  // namespace

const Int8Kernels* scalar_int8_kernels() { return &kKernels; }

}  // namespace lasnet
