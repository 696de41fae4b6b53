// Squeeze-and-Excitation: scale(n) = sigmoid(w2 ReLU(w1 pooled(n) + b1) + b2), then z(n, pixel) *= scale(n).
//
// The two layers are one launch, a block per image: a warp computes an output at a time, its lanes strided
// over the inputs (coalesced reads of a weight row); the squeezed values stay in shared memory. The scaling
// takes a vector of 16 bytes per thread and walks the list of computed pixels.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// weights[inputs] . x[inputs], the same in every lane.
__device__ float warp_dot(const float* weights, const float* x, int inputs) {
  float dot = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < inputs; i += 32) dot += weights[i] * x[i];
  return warp_sum(dot);
}

__global__ void __launch_bounds__(kThreads) excite_kernel(ExciteCall call) {
  begin_kernel();
  auto* squeezed = shared_memory<float>();
  int warp = static_cast<int>(threadIdx.x) / 32;
  bool is_first_lane = threadIdx.x % 32 == 0;
  const float* pooled = call.pooled + static_cast<int64_t>(blockIdx.x) * call.pitch;
  float* scale = call.scale + static_cast<int64_t>(blockIdx.x) * call.pitch;
  for (int o = warp; o < call.squeezed; o += kWarps) {
    float value = warp_dot(call.weight1 + static_cast<int64_t>(o) * call.channels, pooled, call.channels);
    if (is_first_lane) squeezed[o] = relu(value + call.bias1[o]);
  }
  __syncthreads();
  for (int o = warp; o < call.channels; o += kWarps) {
    float value = warp_dot(call.weight2 + static_cast<int64_t>(o) * call.squeezed, squeezed, call.squeezed);
    if (is_first_lane) scale[o] = 1.0f / (1.0f + expf(-(value + call.bias2[o])));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(ScaleCall call) {
  begin_kernel();
  int vectors = call.map.pitch / kVector<T>;
  int64_t work = static_cast<int64_t>(call.list.image_begin[call.images]) * vectors;
  int image_pixels = (call.map.height + 2) * (call.map.width + 2);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < work;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    int pixel = call.list.out[i / vectors], channel = static_cast<int>(i % vectors) * kVector<T>;
    const float* scale = call.scale + static_cast<int64_t>(pixel / image_pixels) * call.map.pitch + channel;
    T* z = static_cast<T*>(call.map.data) + static_cast<int64_t>(pixel) * call.map.pitch + channel;
    float values[kVector<T>];
    load_vector(z, values);
    for (int k = 0; k < kVector<T>; ++k) values[k] *= scale[k];
    store_vector(z, values);
  }
}

template <class T>
void launch_scale(Stream& stream, const ScaleCall& call) {
  int64_t work = int64_t{call.images} * call.map.height * call.map.width * (call.map.pitch / kVector<T>);
  int64_t blocks = persistent_blocks(reinterpret_cast<const void*>(scale_kernel<T>), kThreads, 0,
                                     (work + kThreads - 1) / kThreads);
  launch(stream, scale_kernel<T>, LaunchShape{blocks, kThreads}, call);
}

}  // namespace

void excite(Stream& stream, const ExciteCall& call) {
  launch(stream, excite_kernel,
         LaunchShape{call.images, kThreads, call.squeezed * static_cast<int64_t>(sizeof(float))}, call);
}

void scale_pixels(Stream& stream, Precision precision, const ScaleCall& call) {
  if (precision == Precision::fp16) return launch_scale<Half>(stream, call);
  if (precision == Precision::bf16) return launch_scale<Brain>(stream, call);
  launch_scale<float>(stream, call);
}

}  // namespace lasnet::cuda
