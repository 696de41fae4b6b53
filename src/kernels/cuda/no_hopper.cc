// In builds without code for compute capability 9.0: no device runs `hopper` tiles.
#include "core/fail.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {

bool runs_hopper() { return false; }

void conv_hopper(Stream&, Precision, const CudaTile&, const ConvCall&) {
  fail("this build has no kernels for compute capability 9.0");
}

}  // namespace lasnet::cuda
