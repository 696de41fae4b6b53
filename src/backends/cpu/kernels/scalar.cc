// Portable kernels: fixed-size loops that any compiler can vectorise for its baseline target.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/register_tile.h"

namespace lasnet {
namespace {

struct VecScalar {
  static constexpr int kWidth = 4;
  static constexpr int kRegisterChannels = 2;
  static constexpr auto kTilePixels = register_tile(Isa::scalar).pixels;

  /// Four lanes in whatever registers the target has: compilers keep arrays of these out of memory, which
  /// they do not with structures of floats.
  typedef float Register __attribute__((vector_size(4 * kWidth)));

  static Register load(const float* p) {
    Register r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static void store(float* p, const Register& a) { std::memcpy(p, &a, sizeof a); }
  static Register set1(float value) { return Register{value, value, value, value}; }
  static Register zero() { return Register{}; }
  static Register fma(const Register& a, const Register& b, const Register& c) { return a * b + c; }
  static Register add(const Register& a, const Register& b) { return a + b; }
  static Register mul(const Register& a, const Register& b) { return a * b; }
  static Register max(const Register& a, const Register& b) { return a > b ? a : b; }
  static float sum(const Register& a) { return (a[0] + a[1]) + (a[2] + a[3]); }
};

#include "backends/cpu/kernels/kernels_impl.h"

constexpr CpuKernels kKernels = make_kernels<VecScalar>(Isa::scalar);

}  // namespace

const CpuKernels* scalar_kernels() { return &kKernels; }

}  // namespace lasnet
