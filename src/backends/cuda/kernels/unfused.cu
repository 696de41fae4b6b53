// The unfused halves of gather + conv2 and of conv3 + scatter-add: what the fused kernels save, as schedules
// of their own for ablations and for the latency model.
//
//   gather:  buffer(patch, dy, dx) = middle(n, i * S * s - 1 + dy, j * S * s - 1 + dx) for active patches
//   add:     y = max(0, y + body)
//
// Both move 16 bytes per thread and iteration, neighbours in memory next to each other in a warp; the gather
// reads each row of a patch as one contiguous run, and finds zeros in the map's border.
#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"
#include "mask/tap_offsets.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) gather_kernel(GatherCall call) {
  begin_kernel();
  const ListGeometry& g = call.geometry;
  int64_t slot = blockIdx.x;
  if (call.patches != nullptr && call.patches[slot] == 0) return;
  auto image = static_cast<int>(slot / g.patches()), patch = static_cast<int>(slot % g.patches());
  int side = halo_side(g.granularity, g.dilation_stride), step = g.granularity * g.dilation_stride;
  int top = patch / g.patch_cols * step - 1, left = patch % g.patch_cols * step - 1;
  int vectors = call.middle.pitch / kVector<T>, work = side * side * vectors;
  T* to = static_cast<T*>(call.buffer) + slot * side * side * call.middle.pitch;
  for (int i = static_cast<int>(threadIdx.x); i < work; i += kThreads) {
    int pixel = i / vectors, y = top + pixel / side, x = left + pixel % side;
    // A clipped patch's windows end at the border; what lies beyond is not read later.
    if (y > g.middle_height || x > g.middle_width) continue;
    int64_t from = bordered(g.middle_height, g.middle_width, image, y, x);
    int channel = i % vectors * kVector<T>;
    *reinterpret_cast<uint4*>(to + static_cast<int64_t>(pixel) * call.middle.pitch + channel) =
        *reinterpret_cast<const uint4*>(static_cast<const T*>(call.middle.data) + from * call.middle.pitch +
                                        channel);
  }
}

__global__ void __launch_bounds__(kThreads) gathered_kernel(ListGeometry g, DeviceList list, int32_t* in) {
  begin_kernel();
  int64_t p = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (p >= list.image_begin[g.images]) return;
  int row_pixels = g.output_width + 2, image_pixels = (g.output_height + 2) * row_pixels, pixel = list.out[p];
  int image = pixel / image_pixels, y = pixel % image_pixels / row_pixels - 1, x = pixel % row_pixels - 1;
  int slot = image * g.patches() + y / g.granularity * g.patch_cols + x / g.granularity,
      side = halo_side(g.granularity, g.dilation_stride);
  in[p] = (slot * side + y % g.granularity * g.dilation_stride + 1) * side +
          x % g.granularity * g.dilation_stride + 1;
}

template <class T>
__global__ void __launch_bounds__(kThreads) add_kernel(AddCall call) {
  begin_kernel();
  int64_t vectors = static_cast<int64_t>(call.images) * (call.y.height + 2) * (call.y.width + 2) *
                    call.y.pitch / kVector<T>;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < vectors;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    float y[kVector<T>], body[kVector<T>];
    T* at = static_cast<T*>(call.y.data) + i * kVector<T>;
    load_vector(at, y);
    load_vector(static_cast<const T*>(call.body) + i * kVector<T>, body);
    for (int k = 0; k < kVector<T>; ++k) y[k] = relu(y[k] + body[k]);
    store_vector(at, y);
  }
}

template <class T>
void launch_add(Stream& stream, const AddCall& call) {
  int64_t work =
      int64_t{call.images} * (call.y.height + 2) * (call.y.width + 2) * (call.y.pitch / kVector<T>);
  int64_t blocks =
      persistent_blocks(reinterpret_cast<const void*>(add_kernel<T>), kThreads, 0, ceil_div(work, kThreads));
  launch(stream, add_kernel<T>, LaunchShape{blocks, kThreads}, call);
}

}  // namespace

void gather_patches(Stream& stream, Precision precision, const GatherCall& call) {
  LaunchShape shape{int64_t{call.geometry.images} * call.geometry.patches(), kThreads};
  if (precision == Precision::fp16) return launch(stream, gather_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, gather_kernel<BFloat16>, shape, call);
  launch(stream, gather_kernel<float>, shape, call);
}

void gathered_pixels(Stream& stream, const ListGeometry& geometry, const DeviceList& list, int32_t* in) {
  int64_t pixels = int64_t{geometry.images} * geometry.output_height * geometry.output_width;
  launch(stream, gathered_kernel, LaunchShape{ceil_div(pixels, kThreads), kThreads}, geometry, list, in);
}

void add_relu(Stream& stream, Precision precision, const AddCall& call) {
  if (precision == Precision::fp16) return launch_add<Half>(stream, call);
  if (precision == Precision::bf16) return launch_add<BFloat16>(stream, call);
  launch_add<float>(stream, call);
}

}  // namespace lasnet::cuda
