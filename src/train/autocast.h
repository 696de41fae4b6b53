// Mixed precision for a scope, as torch.autocast is for Python's.
#pragma once

#include <ATen/autocast_mode.h>

namespace lasnet {

/// Whether libtorch has convolutions in bfloat16 for the device. It may say so of GPUs that only emulate
/// them.
bool computes_bf16(at::Device device);

/// Whether training in bfloat16 is faster there: the device has them, and a convolution's forward and
/// backward pass, timed from this thread, takes less time than in float32. Processors that multiply bfloat16
/// differ: on some of them libtorch is faster in float32.
bool trains_faster_in_bf16(at::Device device);

/// While it lives, this thread's convolutions and products are computed in bfloat16, or not, on the CPU as on
/// GPUs.
class AutocastScope {
 public:
  explicit AutocastScope(bool enabled) : before_(at::autocast::is_cpu_enabled()) {
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
    at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
    enable(enabled);
  }
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;
  ~AutocastScope() {
    if (!before_) at::autocast::clear_cache();
    enable(before_);
  }

 private:
  static void enable(bool enabled) {
    at::autocast::set_cpu_enabled(enabled);
    at::autocast::set_enabled(enabled);  // of CUDA
  }

  bool before_;
};

}  // namespace lasnet
