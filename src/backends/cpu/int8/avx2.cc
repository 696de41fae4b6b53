// AVX2 kernels without a dot product of bytes. _mm256_maddubs_epi16 adds two products in 16 bits, where they
// saturate unless weights keep to a limit, as those of lasnet's quantization do. Other weights are packed in
// 16 bits for _mm256_madd_epi16, which cannot.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/register_tile.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace lasnet {
namespace {

#include "backends/cpu/int8/avx2_vectors.h"

struct VecAvx2 : VecAvx2Bytes {
  using Factor = __m256i;
  using Weights = __m256i;
  static constexpr int kWeightStep = kWidth;
  static constexpr auto kTilePixels = int8_register_tile("avx2").pixels;

  static Weights load_weights(const uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Factor broadcast(uint32_t word) { return _mm256_set1_epi32(static_cast<int>(word)); }
  static Sum multiply_add(Factor a, Weights b, Sum c) {
    return _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
  }
  static Sum multiply_add_raw(Bytes a, Weights b, Sum c) { return multiply_add(a, b, c); }
};

/// Of weights in 16 bits.
struct VecAvx2Wide : VecAvx2Bytes {
  /// Bytes 0 and 2 of each word, and bytes 1 and 3, in 16 bits.
  struct Pairs {
    __m256i even, odd;
  };
  using Factor = Pairs;
  using Weights = Pairs;
  static constexpr int kWeightStep = 2 * kWidth;
  static constexpr std::array<int, 4> kTilePixels = {6, 4, 0, 0};

  static Weights load_weights(const uint32_t* p) { return {load(p), load(p + kWidth)}; }
  static Factor broadcast(uint32_t word) {
    const __m256i bytes = _mm256_set1_epi32(static_cast<int>(word));
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(kMaxByte)), _mm256_srli_epi16(bytes, 8)};
  }
  static Sum multiply_add(const Factor& a, const Weights& b, Sum c) {
    return _mm256_add_epi32(_mm256_add_epi32(c, _mm256_madd_epi16(a.even, b.even)),
                            _mm256_madd_epi16(a.odd, b.odd));
  }

 private:
  static __m256i load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
};

#include "backends/cpu/int8/kernels_impl.h"

void conv_by_width(const Int8ConvCall& call, const ConvTask& task, int32_t* scratch) noexcept {
  if (call.conv->wide) {
    conv<ByteSums<VecAvx2Wide>>(call, task, scratch);
  } else {
    conv<ByteSums<VecAvx2>>(call, task, scratch);
  }
}

constexpr Int8Kernels with_pairs(Int8Kernels kernels) {
  kernels.narrow_pairs = true;
  kernels.conv = &conv_by_width;
  return kernels;
}

constexpr Int8Kernels kKernels = with_pairs(make_kernels<VecAvx2>("avx2", Isa::avx2));

}  // namespace
}  // namespace lasnet

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lasnet {

const Int8Kernels* avx2_int8_kernels() { return &kKernels; }

}  // namespace lasnet
