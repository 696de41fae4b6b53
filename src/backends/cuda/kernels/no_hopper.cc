// In builds without code for compute capability 9.0: no device runs `hopper` tiles.
#include "backends/cuda/kernels/kernels.h"
#include "base/fail.h"

namespace lasnet::cuda {

bool runs_hopper() { return false; }

void conv_hopper(Stream&, Precision, const CudaTile&, const ConvCall&) {
  fail("this build has no kernels for compute capability 9.0");
}

}  // namespace lasnet::cuda
