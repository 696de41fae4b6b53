// NEON kernels, which every AArch64 processor runs.
#include <arm_neon.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/register_tile.h"

namespace lasnet {
namespace {

struct VecNeon {
  using Register = float32x4_t;
  static constexpr int kWidth = 4;
  static constexpr int kRegisterChannels = 4;
  static constexpr auto kTilePixels = register_tile(Isa::neon).pixels;

  static Register load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Register a) { vst1q_f32(p, a); }
  static Register set1(float value) { return vdupq_n_f32(value); }
  static Register zero() { return vdupq_n_f32(0); }
  static Register fma(Register a, Register b, Register c) { return vfmaq_f32(c, a, b); }
  static Register add(Register a, Register b) { return vaddq_f32(a, b); }
  static Register mul(Register a, Register b) { return vmulq_f32(a, b); }
  static Register max(Register a, Register b) { return vmaxq_f32(a, b); }  // NaN, if either is
  static float sum(Register a) { return vaddvq_f32(a); }
};

#include "backends/cpu/kernels/kernels_impl.h"

constexpr CpuKernels kKernels = make_kernels<VecNeon>(Isa::neon);

}  // namespace

const CpuKernels* neon_kernels() { return &kKernels; }

}  // namespace lasnet
