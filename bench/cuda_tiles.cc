// Times the CUDA convolution with every tile on the layers of a ResNet: what choose_cuda_tile's figures come
// from.
//
//   build/bench_cuda_tiles [PRECISION [BATCH ...]]     default: fp32 tf32 fp16, batches 1, 8 and 128
//
// One line per precision, batch, layer, share of listed pixels and tile: microseconds (median of runs of a
// graph of several launches over rotating outputs), TFLOP/s, and whether it is the tile that would be chosen.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/random.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/pack.h"
#include "kernels/tap_offsets.h"
#include "lasnet/error.h"
#include "mask/active_lists.h"

namespace lasnet::cuda {
namespace {

constexpr int kLaunches = 8, kRuns = 7;
constexpr CudaTileShape kShapes[] = {CudaTileShape::wide, CudaTileShape::tall, CudaTileShape::medium,
                                     CudaTileShape::small, CudaTileShape::split};
constexpr const char* kShapeNames[] = {"wide", "tall", "medium", "small", "split"};

struct Layer {
  int side, in, out, kernel, granularity;
  Epilogue epilogue;
};

std::vector<Layer> bottleneck_layers() {
  std::vector<Layer> layers;
  int granularities[] = {4, 4, 2, 1};
  for (int stage = 0; stage < 4; ++stage) {
    int side = 56 >> stage, width = 64 << stage, s = granularities[stage];
    layers.push_back({side, 4 * width, width, 1, s, Epilogue::bias_relu});
    layers.push_back({side, width, width, 3, s, Epilogue::bias_relu});
    layers.push_back({side, width, 4 * width, 1, s, Epilogue::bias_add_relu});
  }
  return layers;
}

/// Random values between 1/2 and 1 of either sign, a million of them over and over.
DeviceBuffer random_map(int64_t elements, Precision precision, Random& random) {
  constexpr int64_t kPeriod = 4 << 20;  // bytes
  int bytes = element_bytes(precision);
  std::vector<uint8_t> data(elements * bytes);
  auto size = static_cast<int64_t>(data.size());
  for (int64_t i = 0; i < std::min(size, kPeriod); i += bytes) {
    auto bits = static_cast<uint32_t>(random.next());
    bits = bytes == 4 ? (bits & 0x807fe000u) | 0x3f000000u : (bits & 0x83ffu) | 0x3800u;
    std::memcpy(&data[i], &bits, bytes);
  }
  for (int64_t i = kPeriod; i < size; i += kPeriod)
    std::memcpy(&data[i], data.data(), std::min(kPeriod, size - i));
  DeviceBuffer buffer(size, "a map");
  buffer.upload(data.data(), size);
  return buffer;
}

template <class T>
DeviceBuffer on_device(const std::vector<T>& values) {
  DeviceBuffer buffer(static_cast<int64_t>(values.size() * sizeof(T)), "a list");
  buffer.upload(values.data(), buffer.bytes());
  return buffer;
}

void measure(const Layer& layer, int batch, double rate, Precision precision, int multiprocessors) {
  Random random(7);
  MapSize size{layer.side, layer.side};
  int64_t border_pixels = bordered_pixels(size, batch);
  DeviceBuffer in = random_map(border_pixels * layer.in, precision, random);
  DeviceBuffer out = random_map(border_pixels * layer.out, precision, random);
  std::vector<int32_t> pixels;
  int patches = (layer.side + layer.granularity - 1) / layer.granularity;
  for (int n = 0; n < batch; ++n) {
    std::vector<bool> active(patches * patches);
    for (size_t i = 0; i < active.size(); ++i) active[i] = random.uniform() < rate;
    for (int y = 0; y < layer.side; ++y) {
      for (int x = 0; x < layer.side; ++x) {
        if (active[y / layer.granularity * patches + x / layer.granularity])
          pixels.push_back(static_cast<int32_t>(bordered_index(size, n, y, x)));
      }
    }
  }
  auto count = static_cast<int32_t>(pixels.size());
  if (count == 0) return;
  int64_t capacity = int64_t{batch} * size.pixels();
  pixels.resize(capacity);
  DeviceBuffer list = on_device(pixels), length = on_device(std::vector<int32_t>{count});
  Tensor weight({layer.out, layer.in, layer.kernel, layer.kernel});
  for (float& value : weight.data) value = static_cast<float>(random.normal());
  PackedConv packed = pack_conv(weight, std::vector<float>(layer.out, 0.1f), {1, layer.in, false}, precision);
  DeviceBuffer weights = on_device(packed.weights), bias = on_device(packed.bias);
  ConvCall call;
  call.in = in.data(), call.out = out.data(), call.weights = weights.data();
  call.bias = static_cast<const float*>(bias.data());
  call.in_pixels = call.out_pixels = static_cast<const int32_t*>(list.data());
  call.count = static_cast<const int32_t*>(length.data());
  call.max_pixels = capacity;
  call.in_pitch = layer.in, call.out_pitch = call.out_channels = layer.out;
  call.taps = packed.taps, call.run = packed.run;
  std::vector<int64_t> offsets = tap_offsets(layer.kernel, size.width + 2, layer.in, false);
  std::copy(offsets.begin(), offsets.end(), call.tap_offsets);
  call.epilogue = layer.epilogue;
  int64_t reduction = int64_t{layer.kernel} * layer.kernel * layer.in;
  CudaConvWork work{.pixels = count * 1.0,
                    .channels = layer.out,
                    .reduction_bytes = reduction * element_bytes(precision),
                    .precision = precision,
                    .adds = layer.epilogue == Epilogue::bias_add_relu,
                    .multiprocessors = multiprocessors};
  work.split = splits_reduction(work, static_cast<double>(capacity));
  CudaTile chosen = choose_cuda_tile(work);
  for (int i = 0; i < 5; ++i) {
    if (!has_cuda_tile(kShapes[i], precision)) continue;
    Stream stream;
    CudaTile tile = cuda_tile(kShapes[i]);
    conv(stream, precision, tile, call);
    stream.synchronize();
    stream.begin_capture();
    for (int k = 0; k < kLaunches; ++k) conv(stream, precision, tile, call);
    Graph graph = stream.end_capture();
    Event begin, end;
    std::vector<double> times;
    for (int run = 0; run < kRuns; ++run) {
      begin.record(stream);
      stream.run(graph);
      end.record(stream);
      stream.synchronize();
      times.push_back(Event::seconds_between(begin, end) / kLaunches);
    }
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    double seconds = times[kRuns / 2];
    fmt::print("{} {} {}x{} {}->{} {} {:.2f} {} {} {:.2f} {:.1f}{}\n", to_string(precision), batch,
               layer.side, layer.side, layer.in, layer.out, layer.kernel, rate, count, kShapeNames[i],
               seconds * 1e6, 2e-12 * count * static_cast<double>(reduction) * layer.out / seconds,
               chosen.shape == kShapes[i] ? " *" : "");
  }
}

int run(int argc, char** argv) {
  std::vector<Precision> precisions = {Precision::fp32, Precision::tf32, Precision::fp16};
  if (argc > 1) precisions = {parse_precision(argv[1])};
  std::vector<int> batches = {1, 8, 128};
  if (argc > 2) batches.clear();
  for (int i = 2; i < argc; ++i) batches.push_back(std::stoi(argv[i]));
  for (Precision precision : precisions) {
    int multiprocessors = require_device(precision).multiprocessors;
    for (int batch : batches) {
      for (const Layer& layer : bottleneck_layers()) {
        for (double rate : {1.0, 0.4}) measure(layer, batch, rate, precision, multiprocessors);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace lasnet::cuda

int main(int argc, char** argv) {
  try {
    return lasnet::cuda::run(argc, argv);
  } catch (const lasnet::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
