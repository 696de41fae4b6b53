// Does the device run this build's `hopper` tiles? Asked of a kernel that does nothing, compiled like theirs:
// code for sm_90a runs on compute capability 9.0 and on nothing else.
#include "backends/cuda/kernels/runtime.h"

namespace lasnet::cuda {
namespace {

__global__ void hopper_probe_kernel() {}

}  // namespace

bool runs_hopper() { return architecture_of(reinterpret_cast<const void*>(hopper_probe_kernel)) != 0; }

}  // namespace lasnet::cuda
