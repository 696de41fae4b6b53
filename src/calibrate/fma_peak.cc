#include "calibrate/fma_peak.h"

#include <algorithm>

#include "backends/cpu/kernels/kernels.h"
#include "base/stopwatch.h"

namespace lasnet {

double fma_peak_flops(Isa isa, double seconds) {
  constexpr int64_t kSteps = 20000;
  const CpuKernels& kernels = cpu_kernels(isa);
  volatile float sink = 0;
  double best = 0, spent = 0;
  while (spent < seconds) {
    Stopwatch watch;
    sink = kernels.fma_chains(kSteps);
    double elapsed = watch.seconds();
    best = std::max(best, 2.0 * kSteps * kFmaChains * kernels.vector_width / elapsed);
    spent += elapsed;
  }
  (void)sink;
  return best;
}

}  // namespace lasnet
