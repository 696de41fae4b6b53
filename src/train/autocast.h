// Mixed precision for a scope, as torch.autocast is for Python's.
#pragma once

#include <ATen/autocast_mode.h>

namespace lasnet {

/// Whether libtorch has convolutions in bfloat16 for this processor.
inline bool computes_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

/// Whether they are the faster ones: the processor multiplies bfloat16.
inline bool multiplies_bf16() {
#if defined(__x86_64__)
  return computes_bf16() && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

/// While it lives, this thread's convolutions and products on the CPU are computed in bfloat16, or not.
class AutocastScope {
 public:
  explicit AutocastScope(bool enabled) : before_(at::autocast::is_cpu_enabled()) {
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
    at::autocast::set_cpu_enabled(enabled);
  }
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;
  ~AutocastScope() {
    if (!before_) at::autocast::clear_cache();
    at::autocast::set_cpu_enabled(before_);
  }

 private:
  bool before_;
};

}  // namespace lasnet
