// Where a layer's output stops being finite: the smallest (pixel, channel) whose value is NaN or infinite,
// and which.
//
//   first = min over listed pixels p, channels c of 2 * (p * channels + c) + isnan(value)
//
// A diagnosis, not a fast path: one thread per value, one atomic per bad one. The minimum does not depend on
// their order.
#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) finite_kernel(FiniteCall call) {
  begin_kernel();
  int64_t work = static_cast<int64_t>(*call.count) * call.channels;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < work;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    int64_t entry = i / call.channels, channel = i % call.channels, pixel = entry;
    if (call.pixels != nullptr) pixel = call.pixels[entry];
    if (pixel < 0) pixel = ~pixel;
    float value = to_float(static_cast<const T*>(call.data)[pixel * call.pitch + channel]);
    if ((as_bits(value) & 0x7f800000u) != 0x7f800000u) continue;
    auto place = static_cast<unsigned long long>(pixel * call.channels + channel);
    atomicMin(call.first, 2 * place + (value != value ? 1 : 0));
  }
}

template <class T>
void launch_finite(Stream& stream, int64_t max_pixels, const FiniteCall& call) {
  int64_t blocks = persistent_blocks(reinterpret_cast<const void*>(finite_kernel<T>), kThreads, 0,
                                     ceil_div(max_pixels * call.channels, kThreads));
  launch(stream, finite_kernel<T>, LaunchShape{blocks, kThreads}, call);
}

}  // namespace

void find_not_finite(Stream& stream, Precision precision, int64_t max_pixels, const FiniteCall& call) {
  if (precision == Precision::fp16) return launch_finite<Half>(stream, max_pixels, call);
  if (precision == Precision::bf16) return launch_finite<BFloat16>(stream, max_pixels, call);
  launch_finite<float>(stream, max_pixels, call);
}

}  // namespace lasnet::cuda
