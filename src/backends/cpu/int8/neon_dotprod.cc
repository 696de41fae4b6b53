// NEON kernels with the dot product of bytes that ARMv8.2 may have.
#include <arm_neon.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/register_tile.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

namespace lasnet {
namespace {

#include "backends/cpu/int8/neon_vectors.h"

struct VecNeonDotprod : VecNeonBytes {
  static Sum multiply_add(Factor a, Weights b, Sum c) { return vdotq_s32(c, a, b); }
  static Sum multiply_add_raw(Bytes a, Weights b, Sum c) { return multiply_add(subtracted(a), b, c); }
};

#include "backends/cpu/int8/kernels_impl.h"

constexpr Int8Kernels kKernels = make_kernels<VecNeonDotprod>("neon_dotprod", Isa::neon);

}  // namespace
}  // namespace lasnet

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lasnet {

const Int8Kernels* neon_dotprod_int8_kernels() { return &kKernels; }

}  // namespace lasnet
