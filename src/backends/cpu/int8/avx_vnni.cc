// AVX2 kernels with AVX-VNNI's dot product of bytes.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/register_tile.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avxvnni")
#endif

namespace lasnet {
namespace {

#include "backends/cpu/int8/avx2_vectors.h"

struct VecAvxVnni : VecAvx2Bytes {
  using Factor = __m256i;
  using Weights = __m256i;
  static constexpr int kWeightStep = kWidth;
  static constexpr auto kTilePixels = int8_register_tile("avx_vnni").pixels;

  static Weights load_weights(const uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Factor broadcast(uint32_t word) { return _mm256_set1_epi32(static_cast<int>(word)); }
  static Sum multiply_add(Factor a, Weights b, Sum c) { return _mm256_dpbusd_avx_epi32(c, a, b); }
  static Sum multiply_add_raw(Bytes a, Weights b, Sum c) { return multiply_add(a, b, c); }
};

#include "backends/cpu/int8/kernels_impl.h"

constexpr Int8Kernels kKernels = make_kernels<VecAvxVnni>("avx_vnni", Isa::avx2);

}  // namespace
}  // namespace lasnet

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lasnet {

const Int8Kernels* avx_vnni_int8_kernels() { return &kKernels; }

}  // namespace lasnet
