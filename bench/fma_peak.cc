#include "fma_peak.h"

#include <algorithm>
#include <chrono>

#include "kernels/cpu/kernels.h"

namespace lasnet::bench {

double fma_peak_flops(Isa isa, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kSteps = 20000;
  const CpuKernels& kernels = cpu_kernels(isa);
  volatile float sink = 0;
  double best = 0, spent = 0;
  while (spent < seconds) {
    Clock::time_point start = Clock::now();
    sink = kernels.fma_chains(kSteps);
    double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * kSteps * kFmaChains * kernels.vector_width / elapsed);
    spent += elapsed;
  }
  (void)sink;
  return best;
}

}  // namespace lasnet::bench
