// Does the device run this build's `hopper` tiles? Asked of a kernel that does nothing, compiled like theirs:
// code for sm_90a runs on compute capability 9.0 and on nothing else.
#include <cuda_runtime.h>

#include "kernels/cuda/runtime.h"

namespace lasnet::cuda {
namespace {

__global__ void hopper_probe_kernel() {}

}  // namespace

bool runs_hopper() {
  cudaFuncAttributes attributes;
  bool runs = cudaFuncGetAttributes(&attributes, hopper_probe_kernel) == cudaSuccess;
  cudaGetLastError();  // a failed question does not spoil later calls
  return runs;
}

}  // namespace lasnet::cuda
