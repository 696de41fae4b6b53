// AVX-512 kernels with VNNI's dot product of bytes.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/register_tile.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vnni")
#endif

namespace lasnet {
namespace {

struct VecAvx512Vnni {
  using Sum = __m512i;
  using Factor = __m512i;
  using Weights = __m512i;
  using Bytes = __m512i;
  using Wide = __m512i;
  static constexpr int kWidth = 16;
  static constexpr int kRegisterChannels = 4;
  static constexpr int kSubtracted = 0;
  static constexpr int kWeightStep = kWidth;
  static constexpr auto kTilePixels = int8_register_tile("avx512_vnni").pixels;

  static Weights load_weights(const uint32_t* p) { return _mm512_loadu_si512(p); }
  static Factor broadcast(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
  static Sum multiply_add(Factor a, Weights b, Sum c) { return _mm512_dpbusd_epi32(c, a, b); }
  static Sum multiply_add_raw(Bytes a, Weights b, Sum c) { return multiply_add(a, b, c); }
  static Sum zero_sum() { return _mm512_setzero_si512(); }
  static Sum load_sum(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store_sum(int32_t* p, Sum a) { _mm512_storeu_si512(p, a); }
  static Sum add(Sum a, Sum b) { return _mm512_add_epi32(a, b); }
  template <int kBits>
  static Sum shift(Sum a) {
    return _mm512_slli_epi32(a, kBits);
  }
  static Sum scaled(Sum a, const float* multiplier, const float* bias) {
    return _mm512_cvtps_epi32(
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(a), _mm512_loadu_ps(multiplier), _mm512_loadu_ps(bias)));
  }
  static Sum times(Sum a, const float* factor) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(a), _mm512_loadu_ps(factor)));
  }
  static Sum load_bytes(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <int NV>
  static void store_bytes(uint8_t* p, const Sum (&a)[NV]) {
    if constexpr (NV == 4) {
      // Packing works on quarters of a register: their words then lie in the order of a transposed 4 x 4.
      const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
      const __m512i bytes =
          _mm512_packus_epi16(_mm512_packs_epi32(a[0], a[1]), _mm512_packs_epi32(a[2], a[3]));
      _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, bytes));
    } else {
      for (int j = 0; j < NV; ++j) {
        const __m512i above = _mm512_max_epi32(a[j], _mm512_setzero_si512());
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p) + j, _mm512_cvtusepi32_epi8(above));
      }
    }
  }
  static Sum input_bytes(const float* p, float inverse_scale, float zero) {
    const __m512 scaled =
        _mm512_fmadd_ps(_mm512_loadu_ps(p), _mm512_set1_ps(inverse_scale), _mm512_set1_ps(zero));
    const __m512 above = _mm512_max_ps(scaled, _mm512_setzero_ps());  // the second operand, if NaN
    return _mm512_cvtps_epi32(_mm512_min_ps(above, _mm512_set1_ps(kMaxByte)));
  }
  static Bytes load_raw(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store_raw(uint8_t* p, Bytes a) { _mm512_storeu_si512(p, a); }
  static Bytes max_bytes(Bytes a, Bytes b) { return _mm512_max_epu8(a, b); }
  static Wide zero_wide() { return _mm512_setzero_si512(); }
  static Wide multiply_add_wide(Sum a, Sum b, Wide c) {
    const __m512i even = _mm512_mul_epi32(a, b);
    const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    return _mm512_add_epi64(c, _mm512_add_epi64(even, odd));
  }
  static int64_t total(Wide a) { return _mm512_reduce_add_epi64(a); }
};

#include "backends/cpu/int8/kernels_impl.h"

constexpr Int8Kernels kKernels = make_kernels<VecAvx512Vnni>("avx512_vnni", Isa::avx512);

}  // namespace
}  // namespace lasnet

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lasnet {

const Int8Kernels* avx512_vnni_int8_kernels() { return &kKernels; }

}  // namespace lasnet
