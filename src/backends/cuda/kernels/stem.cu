// The network's input: NCHW float32 -> NHWC with a border as wide as the stem's padding, in the network's
// precision.
//
// A row of the grid is an image, a thread writes a pixel: its 8 or 16 bytes hold the channels, and zeros
// behind them, so that a row of the stem's kernel is one contiguous, aligned run of its input. The border is
// zero from allocation.
#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) image_kernel(ImageCall call) {
  begin_kernel();
  auto pixel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  int y = pixel / call.width, x = pixel - y * call.width;
  if (y >= call.height) return;
  int64_t image = blockIdx.y, pixels = static_cast<int64_t>(call.height) * call.width;
  float values[kVector<T>] = {};
  for (int c = 0; c < kVector<T>; ++c) {
    if (c < call.channels) values[c] = call.input[(image * call.channels + c) * pixels + pixel];
  }
  int64_t image_pixels = static_cast<int64_t>(call.height + 2 * call.border) * call.row_pixels;
  int64_t to =
      image * image_pixels + static_cast<int64_t>(y + call.border) * call.row_pixels + x + call.border;
  T* out = static_cast<T*>(call.out) + to * call.pitch;
  if (call.pitch == kVector<T>) return store_vector(out, values);
  *reinterpret_cast<uint2*>(out) = {pack_word<T>(values), pack_word<T>(values + kVector<T> / 4)};
}

}  // namespace

void image_to_map(Stream& stream, Precision precision, const ImageCall& call) {
  int64_t pixels = int64_t{call.height} * call.width;
  LaunchShape shape{ceil_div(pixels, kThreads), kThreads, 0, call.images};
  if (precision == Precision::fp16) return launch(stream, image_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, image_kernel<BFloat16>, shape, call);
  launch(stream, image_kernel<float>, shape, call);
}

}  // namespace lasnet::cuda
