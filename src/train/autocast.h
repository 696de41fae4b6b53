// Mixed precision for a scope, as torch.autocast is for Python's.
#pragma once

#include <ATen/autocast_mode.h>
#include <torch/version.h>

#include <array>

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
  explicit AutocastScope(bool enabled) : before_(is_enabled()) {
    for (const at::DeviceType device : kDevices) set(device, enabled);
  }
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;
  ~AutocastScope() {
    if (!before_) at::autocast::clear_cache();
    for (const at::DeviceType device : kDevices) set(device, before_);
  }

 private:
  static constexpr std::array kDevices = {at::kCPU, at::kCUDA};

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
  static bool is_enabled() { return at::autocast::is_autocast_enabled(at::kCPU); }
  static void set(at::DeviceType device, bool enabled) {
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, enabled);
  }
#else  // a function for each device
  static bool is_enabled() { return at::autocast::is_cpu_enabled(); }
  static void set(at::DeviceType device, bool enabled) {
    if (device == at::kCPU) {
      at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
      at::autocast::set_cpu_enabled(enabled);
    } else {
      at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
      at::autocast::set_enabled(enabled);
    }
  }
#endif

  bool before_;
};

}  // namespace lasnet
