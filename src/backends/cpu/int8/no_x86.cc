// Stands in for the x86 int8 kernels on other processors.
#include "backends/cpu/int8/kernels.h"

namespace lasnet {

const Int8Kernels* avx2_int8_kernels() { return nullptr; }
const Int8Kernels* avx_vnni_int8_kernels() { return nullptr; }
const Int8Kernels* avx512_vnni_int8_kernels() { return nullptr; }

}  // namespace lasnet
