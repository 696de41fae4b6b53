// Stands in for the AArch64 kernels on other processors.
#include "backends/cpu/kernels/kernels.h"

namespace lasnet {

const CpuKernels* neon_kernels() { return nullptr; }

}  // namespace lasnet
