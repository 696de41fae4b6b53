// Stands in for the x86 kernels on other processors.
#include "backends/cpu/kernels/kernels.h"

namespace lasnet {

const CpuKernels* avx2_kernels() { return nullptr; }
const CpuKernels* avx512_kernels() { return nullptr; }

}  // namespace lasnet
