// AVX2 + FMA kernels.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/register_tile.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace lasnet {
namespace {

struct VecAvx2 {
  using Register = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kRegisterChannels = 2;
  static constexpr auto kTilePixels = register_tile(Isa::avx2).pixels;

  static Register load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Register a) { _mm256_storeu_ps(p, a); }
  static Register set1(float value) { return _mm256_set1_ps(value); }
  static Register zero() { return _mm256_setzero_ps(); }
  static Register fma(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }
  static Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
  static Register mul(Register a, Register b) { return _mm256_mul_ps(a, b); }
  static Register max(Register a, Register b) { return _mm256_max_ps(a, b); }
  static float sum(Register a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
};

#include "backends/cpu/kernels/kernels_impl.h"

constexpr CpuKernels kKernels = make_kernels<VecAvx2>(Isa::avx2);

}  // namespace
}  // namespace lasnet

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lasnet {

const CpuKernels* avx2_kernels() { return &kKernels; }

}  // namespace lasnet
