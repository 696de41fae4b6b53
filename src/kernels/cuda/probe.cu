// Which of this build's code does the device run? Asked of a kernel that does nothing, compiled like all
// others.
#include <cuda_runtime.h>

#include "kernels/cuda/runtime.h"

namespace lasnet::cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

int code_architecture() {
  cudaFuncAttributes attributes;
  bool has_code = cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess;
  cudaGetLastError();  // a failed question does not spoil later calls
  return has_code ? attributes.ptxVersion : 0;
}

}  // namespace lasnet::cuda
