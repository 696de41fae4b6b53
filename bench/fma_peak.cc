#include "fma_peak.h"

#include <algorithm>
#include <chrono>

namespace lasnet::bench {
namespace {

constexpr int kChains = 12;  // latency x throughput of the widest current cores
constexpr int kSteps = 20000;

using Vector4 [[gnu::vector_size(16)]] = float;
using Vector8 [[gnu::vector_size(32)]] = float;
using Vector16 [[gnu::vector_size(64)]] = float;

/// kSteps multiply-adds on each of kChains vectors; the sum keeps the compiler from dropping them.
template <typename Vector>
[[gnu::always_inline]] inline float run_chains() {
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
  Vector chains[kChains] = {}, scale = Vector{} + 0.999f, shift = Vector{} + 1e-5f;
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * scale + shift;
  }
  float sum = 0;
  for (int i = 0; i < kChains; ++i) {
    for (int lane = 0; lane < kWidth; ++lane) sum += chains[i][lane];
  }
  return sum;
}

float scalar_chains() { return run_chains<Vector4>(); }
#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] float avx2_chains() { return run_chains<Vector8>(); }
[[gnu::target("avx512f")]] float avx512_chains() { return run_chains<Vector16>(); }
#endif

struct Kernel {
  float (*run)();
  int width;
};

Kernel kernel_for(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return {avx512_chains, 16};
  if (isa == Isa::avx2) return {avx2_chains, 8};
#endif
  (void)isa;
  return {scalar_chains, 4};
}

}  // namespace

double fma_peak_flops(Isa isa, double seconds) {
  using Clock = std::chrono::steady_clock;
  Kernel kernel = kernel_for(isa);
  volatile float sink = 0;
  double best = 0;
  Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  do {
    Clock::time_point start = Clock::now();
    sink = kernel.run();
    double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * kSteps * kChains * kernel.width / elapsed);
  } while (Clock::now() < end);
  (void)sink;
  return best;
}

}  // namespace lasnet::bench
