// AVX-512F kernels.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/register_tile.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif

namespace lasnet {
namespace {

struct VecAvx512 {
  using Register = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kRegisterChannels = 4;
  static constexpr auto kTilePixels = register_tile(Isa::avx512).pixels;

  static Register load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Register a) { _mm512_storeu_ps(p, a); }
  static Register set1(float value) { return _mm512_set1_ps(value); }
  static Register zero() { return _mm512_setzero_ps(); }
  static Register fma(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }
  static Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
  static Register mul(Register a, Register b) { return _mm512_mul_ps(a, b); }
  static Register max(Register a, Register b) { return _mm512_max_ps(a, b); }
  static float sum(Register a) { return _mm512_reduce_add_ps(a); }
};

#include "backends/cpu/kernels/kernels_impl.h"

constexpr CpuKernels kKernels = make_kernels<VecAvx512>(Isa::avx512);

}  // namespace
}  // namespace lasnet

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lasnet {

const CpuKernels* avx512_kernels() { return &kKernels; }

}  // namespace lasnet
