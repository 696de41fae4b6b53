// A map as the caller gets it: bordered NHWC in the network's precision -> float32 without border or padding.
//
//   out(image, channel, pixel) = map(image, pixel, channel)
//
// A row of the grid is an image, a block takes a square of pixels x channels. It reads channels and writes
// what is contiguous in the output; in between the square lies in shared memory, its rows one word longer so
// that columns fall into different banks.
#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kSide = 32, kThreads = 256, kRows = kThreads / kSide, kRowWords = kSide + 1;

template <class T>
__global__ void __launch_bounds__(kThreads) feature_kernel(FeatureCall call) {
  begin_kernel();
  auto* square = shared_memory<float>();
  const DeviceMap& map = call.map;
  int pixels = map.height * map.width, lane = lane_index(), warp = warp_index();
  int channel_squares = (map.channels + kSide - 1) / kSide;
  int first_pixel = static_cast<int>(blockIdx.x) / channel_squares * kSide;
  int first_channel = static_cast<int>(blockIdx.x) % channel_squares * kSide;
  auto image = static_cast<int>(blockIdx.y);
  for (int i = warp; i < kSide; i += kRows) {
    int pixel = first_pixel + i, channel = first_channel + lane;
    if (pixel >= pixels || channel >= map.channels) continue;
    int64_t from = bordered(map.height, map.width, image, pixel / map.width, pixel % map.width);
    square[i * kRowWords + lane] = to_float(static_cast<const T*>(map.data)[from * map.pitch + channel]);
  }
  __syncthreads();
  bool pixels_are_contiguous = call.pixel_step == 1;
  float* out = call.out + static_cast<int64_t>(image) * pixels * map.channels;
  for (int i = warp; i < kSide; i += kRows) {
    int row = pixels_are_contiguous ? lane : i, column = pixels_are_contiguous ? i : lane;
    int64_t pixel = first_pixel + row, channel = first_channel + column;
    if (pixel >= pixels || channel >= map.channels) continue;
    out[channel * call.channel_step + pixel * call.pixel_step] = square[row * kRowWords + column];
  }
}

}  // namespace

void copy_feature(Stream& stream, Precision precision, const FeatureCall& call) {
  auto squares = [](int64_t count) { return ceil_div(count, kSide); };
  LaunchShape shape{squares(int64_t{call.map.height} * call.map.width) * squares(call.map.channels), kThreads,
                    kSide * kRowWords * static_cast<int>(sizeof(float)), call.images};
  if (precision == Precision::fp16) return launch(stream, feature_kernel<Half>, shape, call);
  if (precision == Precision::bf16) return launch(stream, feature_kernel<BFloat16>, shape, call);
  launch(stream, feature_kernel<float>, shape, call);
}

}  // namespace lasnet::cuda
