// Pools: the stem's 3x3 stride-2 maximum, and means over each image's listed pixels.
//
// A row of the grid is an image. Maximum: a thread takes 16 bytes of channels of an output pixel; the zero
// border is neutral, as its input is not negative. Mean: a block takes 32 channels of an image, eight warps
// every eighth pixel; the eight partial sums are added in order, so a mean depends on the image alone.
#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernel_shapes.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;  ///< of the maximum
constexpr int kWarps = kMeanWarps;
constexpr int kReads = kMeanReads;

template <class T>
__global__ void __launch_bounds__(kThreads) max_pool_kernel(MaxPoolCall call) {
  begin_kernel();
  unsigned vectors = call.out.pitch / kVector<T>, index = blockIdx.x * kThreads + threadIdx.x;
  auto image = static_cast<int>(blockIdx.y), pixel = static_cast<int>(index / vectors);
  int y = pixel / call.out.width, x = pixel - y * call.out.width;
  if (y >= call.out.height) return;
  int c = static_cast<int>(index % vectors) * kVector<T>;
  uint4 window[9];  // read at once. An odd map's last windows reach one pixel beyond it, to the border
#pragma unroll
  for (int i = 0; i < 9; ++i) {
    int64_t from = bordered(call.in.height, call.in.width, image, 2 * y + i / 3 - 1, 2 * x + i % 3 - 1);
    window[i] =
        *reinterpret_cast<const uint4*>(static_cast<const T*>(call.in.data) + from * call.in.pitch + c);
  }
  float best[kVector<T>] = {};
#pragma unroll
  for (int i = 0; i < 9; ++i) {
    float values[kVector<T>];
    unpack_vector<T>(window[i], values);
    for (int k = 0; k < kVector<T>; ++k)
      best[k] = values[k] > best[k] || values[k] != values[k] ? values[k] : best[k];
  }
  int64_t to = bordered(call.out.height, call.out.width, image, y, x);
  store_vector(static_cast<T*>(call.out.data) + to * call.out.pitch + c, best);
}

template <class T>
__global__ void __launch_bounds__(kMeanThreads) mean_kernel(MeanCall call) {
  begin_kernel();
  auto* partial = shared_memory<float>();
  int image = static_cast<int>(blockIdx.y), lane = lane_index();
  int warp = warp_index(), channel = static_cast<int>(blockIdx.x) * 32 + lane;
  int begin = call.list.image_begin[image], end = call.list.image_begin[image + 1];
  float sum = 0;
  if (channel < call.map.pitch) {
    const T* map = static_cast<const T*>(call.map.data) + channel;
    for (int p = begin + warp; p < end; p += kWarps * kReads) {
      int64_t pixels[kReads];
      T values[kReads];
#pragma unroll
      for (int i = 0; i < kReads; ++i)  // the last pixel stands in for those that there are not
        pixels[i] = call.list.out[p + i * kWarps < end ? p + i * kWarps : end - 1];
#pragma unroll
      for (int i = 0; i < kReads; ++i) values[i] = map[pixels[i] * call.map.pitch];
#pragma unroll
      for (int i = 0; i < kReads; ++i) sum = p + i * kWarps < end ? sum + to_float(values[i]) : sum;
    }
  }
  partial[threadIdx.x] = sum;
  __syncthreads();
  if (warp != 0 || channel >= call.map.pitch) return;
  for (int i = 1; i < kWarps; ++i) sum += partial[i * 32 + lane];
  call.out[static_cast<int64_t>(image) * call.map.pitch + channel] =
      end > begin ? sum / static_cast<float>(end - begin) : 0.0f;
}

}  // namespace

void max_pool(Stream& stream, Precision precision, const MaxPoolCall& call) {
  int vectors = call.out.pitch / (precision == Precision::fp32 || precision == Precision::tf32 ? 4 : 8);
  int64_t work = int64_t{call.out.height} * call.out.width * vectors;
  LaunchShape shape{ceil_div(work, kThreads), kThreads, 0, call.images};
  if (precision == Precision::fp16) return launch(stream, max_pool_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, max_pool_kernel<BFloat16>, shape, call);
  launch(stream, max_pool_kernel<float>, shape, call);
}

void mean(Stream& stream, Precision precision, const MeanCall& call) {
  LaunchShape shape{(call.map.pitch + 31) / 32, kMeanThreads, kMeanThreads * static_cast<int>(sizeof(float)),
                    call.images};
  if (precision == Precision::fp16) return launch(stream, mean_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, mean_kernel<BFloat16>, shape, call);
  launch(stream, mean_kernel<float>, shape, call);
}

}  // namespace lasnet::cuda
