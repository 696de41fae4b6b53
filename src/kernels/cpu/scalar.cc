// Portable kernels: fixed-size loops that any compiler can vectorise for its baseline target.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "kernels/cpu/kernels.h"

namespace lasnet {
namespace {

struct VecScalar {
  static constexpr int kWidth = 4;
  static constexpr int kRegisterChannels = 2;
  static constexpr int kTilePixels[] = {6, 4};

  struct Register {
    float lane[kWidth];
  };

  static Register load(const float* p) {
    return map([&](int i) { return p[i]; });
  }
  static void store(float* p, const Register& a) {
    for (int i = 0; i < kWidth; ++i) p[i] = a.lane[i];
  }
  static Register set1(float value) {
    return map([&](int) { return value; });
  }
  static Register zero() { return set1(0); }
  static Register fma(const Register& a, const Register& b, const Register& c) {
    return map([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Register add(const Register& a, const Register& b) {
    return map([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Register mul(const Register& a, const Register& b) {
    return map([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Register max(const Register& a, const Register& b) {
    return map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static float sum(const Register& a) { return (a.lane[0] + a.lane[1]) + (a.lane[2] + a.lane[3]); }

 private:
  template <class F>
  static Register map(F&& f) {
    Register r;
    for (int i = 0; i < kWidth; ++i) r.lane[i] = f(i);
    return r;
  }
};

#include "kernels/cpu/kernels_impl.h"

constexpr CpuKernels kKernels = make_kernels<VecScalar>(Isa::scalar);

}  // namespace

const CpuKernels* scalar_kernels() { return &kKernels; }

}  // namespace lasnet
