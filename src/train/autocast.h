// Mixed precision for a scope, as torch.autocast is for Python's.
#pragma once

#include <ATen/autocast_mode.h>

namespace lasnet {

/// Whether libtorch has convolutions in bfloat16 for this processor.
bool computes_bf16();

/// Whether training in bfloat16 is faster here: it has them, and a convolution's forward and backward pass,
/// timed on this thread's pool, takes less time than in float32. Processors that multiply bfloat16 differ:
/// on some of them libtorch is faster in float32.
bool trains_faster_in_bf16();

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
