// Does this build hold code that the device can run? Asked of a kernel that does nothing, compiled like all
// others.
#include <cuda_runtime.h>

#include "kernels/cuda/runtime.h"

namespace lasnet::cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

bool has_code_for_device() {
  cudaFuncAttributes attributes;
  bool has_code = cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess;
  cudaGetLastError();  // a failed question does not spoil later calls
  return has_code;
}

}  // namespace lasnet::cuda
