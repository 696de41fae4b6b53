// Which of this build's code does the device run? Asked of a kernel that does nothing, compiled like all
// others.
#include "backends/cuda/kernels/runtime.h"

namespace lasnet::cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

int code_architecture() { return architecture_of(reinterpret_cast<const void*>(probe_kernel)); }

}  // namespace lasnet::cuda
