// NEON kernels without a dot product of bytes. Weights are -127 to 127, so that two products fit in 16 bits:
// 2 x 128 x 127 = 32512.
#include <arm_neon.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/register_tile.h"

namespace lasnet {
namespace {

#include "backends/cpu/int8/neon_vectors.h"

struct VecNeon : VecNeonBytes {
  static Sum multiply_add(Factor a, Weights b, Sum c) {
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
    return vpadalq_s16(c, vpaddq_s16(low, high));
  }
  static Sum multiply_add_raw(Bytes a, Weights b, Sum c) { return multiply_add(subtracted(a), b, c); }
};

#include "backends/cpu/int8/kernels_impl.h"

constexpr Int8Kernels kKernels = make_kernels<VecNeon>("neon", Isa::neon);

}  // namespace

const Int8Kernels* neon_int8_kernels() { return &kKernels; }

}  // namespace lasnet
