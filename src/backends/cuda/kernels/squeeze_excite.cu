// Squeeze-and-Excitation: scale(n) = sigmoid(w2 ReLU(w1 pooled(n) + b1) + b2), then z(n, pixel) *= scale(n).
//
// The two layers are one launch, a block per image: a warp computes kOutputs outputs at a time, its lanes
// strided over the inputs (coalesced reads of weight rows); the squeezed values stay in shared memory. Of the
// scaling a row of the grid is an image; a thread takes vectors of 16 bytes and walks the image's part of the
// list.
#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernel_shapes.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;                 ///< of the scaling
constexpr int kOutputs = kExciteWarpOutputs;  ///< their loads are on their way together

/// store(o, bias(o) + weights(o) . x) for every output o of a layer, by the whole block; weights:
/// [outputs][inputs].
template <class Store>
__device__ void dense_layer(const float* weights, const float* bias, const float* x, int outputs, int inputs,
                            const Store& store) {
  int warp = warp_index(), lane = lane_index();
  for (int first = warp * kOutputs; first < outputs; first += kExciteThreads / 32 * kOutputs) {
    const float* rows[kOutputs];
    float dots[kOutputs] = {};
#pragma unroll
    for (int o = 0; o < kOutputs; ++o)  // the last output stands in for those that there are not
      rows[o] = weights + static_cast<int64_t>(first + o < outputs ? first + o : outputs - 1) * inputs;
    for (int i = lane; i < inputs;
         i += kExciteInputs) {  // two inputs' loads at once; a missing second adds nothing
      bool both = i + 32 < inputs;
      int next = both ? i + 32 : i;
      float loaded[2][kOutputs], values[2] = {x[i], x[next]};
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) loaded[0][o] = rows[o][i], loaded[1][o] = rows[o][next];
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        dots[o] += loaded[0][o] * values[0];
        dots[o] = both ? dots[o] + loaded[1][o] * values[1] : dots[o];
      }
    }
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      float value = warp_sum(dots[o]);
      if (lane == 0 && first + o < outputs) store(first + o, value + bias[first + o]);
    }
  }
}

__global__ void __launch_bounds__(kExciteThreads) excite_kernel(ExciteCall call) {
  begin_kernel();
  auto* squeezed = shared_memory<float>();
  const float* pooled = call.pooled + static_cast<int64_t>(blockIdx.x) * call.pitch;
  float* scale = call.scale + static_cast<int64_t>(blockIdx.x) * call.pitch;
  dense_layer(call.weight1, call.bias1, pooled, call.squeezed, call.channels,
              [&](int o, float value) { squeezed[o] = relu(value); });
  __syncthreads();
  dense_layer(call.weight2, call.bias2, squeezed, call.channels, call.squeezed,
              [&](int o, float value) { scale[o] = 1.0f / (1.0f + expf(-value)); });
}

template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(ScaleCall call) {
  begin_kernel();
  unsigned vectors = call.map.pitch / kVector<T>;
  int begin = call.list.image_begin[blockIdx.y], end = call.list.image_begin[blockIdx.y + 1];
  unsigned work = static_cast<unsigned>(end - begin) * vectors;
  const float* image_scale = call.scale + static_cast<int64_t>(blockIdx.y) * call.map.pitch;
  for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < work; i += gridDim.x * kThreads) {
    unsigned entry = i / vectors, channel = (i - entry * vectors) * kVector<T>;
    int pixel = call.list.out[begin + static_cast<int>(entry)];
    const float* scale = image_scale + channel;
    T* z = static_cast<T*>(call.map.data) + static_cast<int64_t>(pixel) * call.map.pitch + channel;
    float values[kVector<T>], factors[kVector<T>];
    load_vector(z, values);
    load_floats(scale, factors);
    for (int k = 0; k < kVector<T>; ++k) values[k] *= factors[k];
    store_vector(z, values);
  }
}

template <class T>
void launch_scale(Stream& stream, const ScaleCall& call) {
  int64_t of_image =
      (int64_t{call.map.height} * call.map.width * (call.map.pitch / kVector<T>)+kThreads - 1) / kThreads;
  int64_t blocks =
      persistent_blocks(reinterpret_cast<const void*>(scale_kernel<T>), kThreads, 0, call.images * of_image);
  LaunchShape shape{ceil_div(blocks, call.images), kThreads, 0, call.images};
  launch(stream, scale_kernel<T>, shape, call);
}

}  // namespace

void excite(Stream& stream, const ExciteCall& call) {
  launch(stream, excite_kernel,
         LaunchShape{call.images, kExciteThreads, call.squeezed * static_cast<int64_t>(sizeof(float))}, call);
}

void scale_pixels(Stream& stream, Precision precision, const ScaleCall& call) {
  if (precision == Precision::fp16) return launch_scale<Half>(stream, call);
  if (precision == Precision::bf16) return launch_scale<BFloat16>(stream, call);
  launch_scale<float>(stream, call);
}

}  // namespace lasnet::cuda
