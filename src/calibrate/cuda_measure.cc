#include "calibrate/cuda_measure.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/tile_choice.h"
#include "base/fail.h"
#include "base/math.h"
#include "base/random.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "calibrate/fit.h"
#include "mask/active_lists.h"
#include "mask/tap_offsets.h"

namespace lasnet {
namespace {

using cuda::DeviceBuffer;
using cuda::DeviceMap;
using cuda::ListKind;

constexpr int kSqueeze = 4;  ///< channels over those of Squeeze-and-Excitation's first layer
/// What a layer may take of the budget over its even share: some take longer than others.
constexpr double kUnevenness = 2;
constexpr int64_t kPatternBytes = 4 << 20;

struct Timing {
  double seconds = 0, noise = 0;
};

/// Seconds from one launch of a kernel to the next.
class KernelTimer {
 public:
  explicit KernelTimer(const CudaMeasureOptions& options) : options_(options) {}

  Timing time(const std::function<void(cuda::Stream&)>& launch) {
    launch(stream_);
    stream_.synchronize();
    const int pilot = std::min(2, options_.max_launches);
    const double once = run(record(launch, pilot), pilot);
    const int launches = static_cast<int>(
        std::clamp<double>(options_.launches_s / std::max(once, 1e-9), pilot, options_.max_launches));
    const cuda::Graph graph = record(launch, launches);
    std::vector<double> halves[2];
    for (int i = 0; i < std::max(2, options_.runs); ++i) halves[i % 2].push_back(run(graph, launches));
    const double first = median(halves[0]), second = median(halves[1]);
    halves[0].insert(halves[0].end(), halves[1].begin(), halves[1].end());
    const double shortest = std::max(std::min(first, second), std::numeric_limits<double>::min());
    return {std::max(median(halves[0]), std::numeric_limits<double>::min()),
            std::abs(first - second) / shortest};
  }

 private:
  cuda::Graph record(const std::function<void(cuda::Stream&)>& launch, int launches) {
    stream_.begin_capture();
    try {
      for (int i = 0; i < launches; ++i) launch(stream_);
    } catch (...) {
      stream_.abandon_capture();
      throw;
    }
    return stream_.end_capture();
  }

  double run(const cuda::Graph& graph, int launches) {
    begin_.record(stream_);
    stream_.run(graph);
    end_.record(stream_);
    stream_.synchronize();
    return cuda::Event::seconds_between(begin_, end_) / launches;
  }

  const CudaMeasureOptions& options_;
  cuda::Stream stream_;
  cuda::Event begin_, end_;
};

template <class T>
DeviceBuffer on_device(const std::vector<T>& values) {
  DeviceBuffer buffer(static_cast<int64_t>(values.size() * sizeof(T)), "a measurement");
  buffer.upload(values.data(), buffer.bytes());
  return buffer;
}

template <class T>
DeviceBuffer zeros(int64_t count) {
  return {std::max<int64_t>(count, 1) * static_cast<int64_t>(sizeof(T)), "a measurement"};
}

template <class T>
T* as(const DeviceBuffer& buffer) {
  return static_cast<T*>(buffer.data());
}

std::vector<uint8_t> random_patches(int64_t patches, double rate, Random& random) {
  std::vector<uint8_t> active(static_cast<size_t>(patches));
  for (uint8_t& patch : active) patch = random.uniform() < rate;
  return active;
}

/// Listed pixels of the bordered map, padded to every pixel's number; `count` of them.
struct PixelList {
  std::vector<int32_t> pixels;
  int32_t count = 0;
};

PixelList random_pixels(const CudaConvCase& layer, int batch, double rate, Random& random) {
  const MapSize size{layer.height, layer.width};
  const PatchGrid grid{size, layer.granularity};
  PixelList list;
  for (int n = 0; n < batch; ++n) {
    const std::vector<uint8_t> active = random_patches(grid.patches(), rate, random);
    for (int y = 0; y < layer.height; ++y) {
      for (int x = 0; x < layer.width; ++x) {
        const int64_t patch = y / layer.granularity * grid.cols() + x / layer.granularity;
        if (active[static_cast<size_t>(patch)] != 0)
          list.pixels.push_back(static_cast<int32_t>(bordered_index(size, n, y, x)));
      }
    }
  }
  list.count = static_cast<int32_t>(list.pixels.size());
  list.pixels.resize(static_cast<size_t>(size.pixels() * batch));
  return list;
}

ConvSpec conv_of(const CudaConvCase& layer) {
  return {.name = {},
          .norm_name = {},
          .in_channels = layer.in,
          .out_channels = layer.out,
          .kernel = layer.kernel};
}

int64_t map_bytes(MapSize size, int batch, int channels, Precision precision) {
  return bordered_pixels(size, batch) * cuda::padded_channels(channels) * cuda::element_bytes(precision);
}

class CudaMeasurer {
 public:
  CudaMeasurer(const CudaMeasureOptions& options, const CudaMeasureProgress& progress,
               const cuda::DeviceLimits& device)
      : options_(options), progress_(progress), timer_(options), random_(options.seed, "cuda measure") {
    found_.device = device.name;
    found_.multiprocessors = device.multiprocessors;
    found_.clock_hz = device.clock_hz, found_.memory_bytes_per_s = device.memory_bytes_per_s;
    found_.runs_hopper = device.runs_hopper;
  }

  CudaMeasurements run() {
    const auto steps =
        static_cast<double>(options_.precisions.size() * (options_.convs.size() + options_.maps.size()));
    double done = 0;
    for (const Precision precision : options_.precisions) {
      if (!runs_precision(cuda_devices().front().compute_capability, precision)) continue;
      prepare_maps(precision);
      const auto step = [&](const auto& of, const char* what, int height, int width) {
        progress_(done / steps, fmt::format("{} {}, {} x {}", to_string(precision), what, height, width));
        const double left = options_.budget_s - watch_.seconds();
        until_ = watch_.seconds() + kUnevenness * left / std::max(1.0, steps - done);
        of();
        ++done;
      };
      for (const CudaConvCase& layer : options_.convs) {
        step([&] { measure_layer(layer, precision); }, "convolution", layer.height, layer.width);
      }
      for (const CudaMapCase& map : options_.maps) {
        step([&] { measure_map(map, precision); }, "kernels", map.height, map.width);
      }
    }
    progress_(1, "");
    return std::move(found_);
  }

 private:
  /// Input and output of every case: values between 1/2 and 1 of either sign, as zeros draw less power.
  void prepare_maps(Precision precision) {
    const int bytes = cuda::element_bytes(precision);
    const int batch = *std::max_element(options_.batches.begin(), options_.batches.end());
    int64_t size = kPatternBytes;
    for (const CudaConvCase& layer : options_.convs) {
      const int channels = std::max(layer.in, layer.out);
      size = std::max(size, map_bytes({layer.height, layer.width}, batch, channels, precision));
    }
    for (const CudaMapCase& map : options_.maps)
      size = std::max(size, map_bytes({map.height, map.width}, batch, map.channels, precision));
    size = round_up(size, kPatternBytes);
    if (in_.bytes() < size) {
      in_ = DeviceBuffer(), out_ = DeviceBuffer();  // before more is asked for
      in_ = DeviceBuffer(size, "the measurements' maps");
      out_ = DeviceBuffer(size, "the measurements' maps");
    }
    std::vector<uint8_t> pattern(kPatternBytes);
    for (int64_t i = 0; i < kPatternBytes; i += bytes) {
      auto bits = static_cast<uint32_t>(random_.next());
      bits = bytes == 4 ? (bits & 0x807fe000u) | 0x3f000000u : (bits & 0x83ffu) | 0x3800u;
      std::memcpy(&pattern[static_cast<size_t>(i)], &bits, static_cast<size_t>(bytes));
    }
    cuda::Stream stream;
    for (const DeviceBuffer* buffer : {&in_, &out_}) {
      for (int64_t i = 0; i < buffer->bytes(); i += kPatternBytes)
        stream.copy_to_device(as<uint8_t>(*buffer) + i, pattern.data(), kPatternBytes);
    }
    stream.synchronize();
  }

  /// Whether the layer's share of the budget lets it go on; its first case always runs.
  bool goes_on(bool first) const { return first || watch_.seconds() < until_; }

  void measure_layer(const CudaConvCase& layer, Precision precision) {
    Tensor weight({layer.out, layer.in, layer.kernel, layer.kernel});
    for (float& value : weight.data) value = static_cast<float>(random_.uniform(-1, 1));
    const int in_pitch = cuda::padded_channels(layer.in);
    const std::vector<float> zero_bias(static_cast<size_t>(layer.out));
    const cuda::PackedConv packed = cuda::pack_conv(weight, zero_bias, {1, in_pitch, false}, precision);
    const DeviceBuffer weights = on_device(packed.weights), bias = on_device(packed.bias);
    DeviceBuffer hopper;
    const CudaTarget target{precision, found_.multiprocessors,
                            usable_tile_costs(shipped_tile_costs(), found_.runs_hopper)};
    const CudaConvWork work = cuda_conv_work(conv_of(layer), layer.adds, target);
    if (work.for_warpgroups) hopper = on_device(cuda::pack_hopper_weights(weight, precision));
    cuda::ConvCall call;
    call.in = in_.data(), call.out = out_.data(), call.weights = weights.data();
    call.bias = as<float>(bias);
    call.in_pitch = in_pitch;
    call.out_pitch = call.out_channels = cuda::padded_channels(layer.out);
    call.taps = packed.taps, call.run = packed.run;
    const std::vector<int64_t> offsets = tap_offsets(layer.kernel, layer.width + 2, in_pitch, false);
    std::copy(offsets.begin(), offsets.end(), call.tap_offsets);
    call.epilogue = layer.adds ? cuda::Epilogue::bias_add_relu : cuda::Epilogue::bias_relu;
    bool first = true;
    for (const int batch : options_.batches) {
      for (const double rate : options_.rates) {
        if (!goes_on(first)) return;
        first = false;
        measure_conv(layer, batch, rate, work, call, hopper.data());
      }
    }
  }

  /// `hopper_weights`: null if such tiles do not run.
  void measure_conv(const CudaConvCase& layer, int batch, double rate, CudaConvWork work, cuda::ConvCall call,
                    const void* hopper_weights) {
    const PixelList list = random_pixels(layer, batch, rate, random_);
    if (list.count == 0) return;
    const DeviceBuffer pixels = on_device(list.pixels), count = on_device(std::vector<int32_t>{list.count});
    call.in_pixels = call.out_pixels = as<int32_t>(pixels);
    call.count = as<int32_t>(count);
    call.max_pixels = static_cast<int64_t>(list.pixels.size());
    work.pixels = list.count;
    std::vector<CudaConvSample>& samples = found_.convs.emplace_back();
    for (size_t i = 0; i < kCudaTileShapes; ++i) {
      const auto shape = static_cast<CudaTileShape>(i);
      if (!suits_tile(shape, work)) continue;
      const CudaTile tile = cuda_tile(shape, work.precision);
      cuda::ConvCall own = call;
      if (order_of(shape) == AccumulationOrder::warpgroup) own.weights = hopper_weights;
      const Timing timing =
          timer_.time([&](cuda::Stream& stream) { cuda::conv(stream, work.precision, tile, own); });
      samples.push_back({work, shape, timing.seconds, timing.noise});
    }
  }

  /// `bytes`: as CudaKernelSample has them.
  void add_kernel(const std::string& kernel, double bytes, const CudaCounts& counts,
                  const std::function<void(cuda::Stream&)>& launch) {
    const Timing timing = timer_.time(launch);
    found_.kernels.push_back({counts, timing.seconds, timing.noise, kernel, bytes});
  }

  void measure_map(const CudaMapCase& map, Precision precision) {
    measure_branch(map, precision);
    bool first = true;
    for (const int batch : options_.batches) {
      if (!goes_on(first)) return;
      first = false;
      measure_streams(map, batch, precision);
      measure_masking(map, batch, precision);
      measure_layers(map, batch, precision);
    }
  }

  DeviceMap device_map(const DeviceBuffer& data, int height, int width, int channels) const {
    return {data.data(), cuda::padded_channels(channels), height, width, channels};
  }

  /// A kernel beside its like, over one image.
  void measure_branch(const CudaMapCase& map, Precision precision) {
    const DeviceMap own = device_map(out_, map.height, map.width, map.channels);
    const int64_t bytes = map_bytes({map.height, map.width}, 1, map.channels, precision);
    const DeviceBuffer other = zeros<uint8_t>(bytes);
    const DeviceMap beside = device_map(other, map.height, map.width, map.channels);
    CudaCounts counts =
        stream_counts(3.0 * static_cast<double>(bytes), 2.0 * static_cast<double>(bytes), false);
    counts[CudaUnit::branch] = 1;
    add_kernel("two additions", 6.0 * static_cast<double>(bytes), counts, [&](cuda::Stream& stream) {
      side_.wait_for(stream);
      cuda::add_relu(side_, precision, {beside, in_.data(), 1});
      cuda::add_relu(stream, precision, {own, in_.data(), 1});
      stream.wait_for(side_);
    });
  }

  void measure_streams(const CudaMapCase& map, int batch, Precision precision) {
    const DeviceMap in = device_map(in_, map.height, map.width, map.channels);
    const DeviceMap out = device_map(out_, map.height, map.width, map.channels);
    const auto bytes =
        static_cast<double>(map_bytes({map.height, map.width}, batch, map.channels, precision));
    add_kernel("addition", 3 * bytes, stream_counts(3 * bytes, 2 * bytes, false), [&](cuda::Stream& stream) {
      cuda::add_relu(stream, precision, {out, in_.data(), batch});
    });
    const DeviceMap half = device_map(out_, (map.height + 1) / 2, (map.width + 1) / 2, map.channels);
    const double values = 1.0 * batch * (in.height * in.width + half.height * half.width) * in.pitch;
    const double maps = values * cuda::element_bytes(precision);
    add_kernel("maximum", maps, stream_counts(maps, maps, true), [&](cuda::Stream& stream) {
      cuda::max_pool(stream, precision, {in, half, batch});
    });
  }

  void measure_masking(const CudaMapCase& map, int batch, Precision precision) {
    const PatchGrid grid{{map.height, map.width}, map.granularity};
    const cuda::ListGeometry geometry{.images = batch,
                                      .input_height = map.height,
                                      .input_width = map.width,
                                      .middle_height = map.height,
                                      .middle_width = map.width,
                                      .output_height = map.height,
                                      .output_width = map.width,
                                      .granularity = map.granularity,
                                      .patch_rows = static_cast<int>(grid.rows()),
                                      .patch_cols = static_cast<int>(grid.cols())};
    const int64_t patch_count = grid.patches() * batch;
    const DeviceMap x = device_map(in_, map.height, map.width, map.channels);
    // Each masker has memory of its own, as in a network, and decides for half of the patches, whatever the
    // map holds.
    constexpr std::array kMaskers = {8, 24};
    const int64_t own = (patch_count + 255) / 256 * 256, all = kMaskers.back() * own;
    const DeviceBuffer forced = on_device(random_patches(all, 0.5, random_));
    const DeviceBuffer rule = on_device(std::vector<cuda::DecisionRule>{{.force = 1}});
    const DeviceBuffer weight = zeros<float>(int64_t{kMaskers.back()} * x.pitch);
    const DeviceBuffer differences = zeros<float>(all), patches = zeros<uint8_t>(all);
    const auto target = [&](int index) {
      return cuda::MaskerTarget{.weight = as<float>(weight) + int64_t{index} * x.pitch,
                                .forced = as<uint8_t>(forced) + index * own,
                                .rule = as<cuda::DecisionRule>(rule),
                                .differences = as<float>(differences) + index * own,
                                .patches = as<uint8_t>(patches) + index * own};
    };
    const cuda::MaskerCall masker{.geometry = geometry, .x = x, .target = target(0)};
    const auto bytes =
        static_cast<double>(batch * grid.map.pixels() * x.pitch * cuda::element_bytes(precision));
    add_kernel("masker", bytes, masker_counts(batch, grid.map, x.pitch, map.granularity, precision),
               [&](cuda::Stream& stream) { cuda::masker(stream, precision, masker); });
    cuda::MaskerGroupCall group;
    group.geometry = geometry, group.x = x;
    for (const int maskers : kMaskers) {
      for (; group.count < maskers; ++group.count) group.targets[group.count] = target(group.count);
      add_kernel(fmt::format("{} maskers", maskers), bytes,
                 masker_group_counts(batch, static_cast<double>(patch_count), maskers, grid.map, x.pitch,
                                     map.granularity, precision),
                 [&](cuda::Stream& stream) { cuda::masker_group(stream, precision, group); });
    }
    measure_lists(geometry, as<uint8_t>(patches));
  }

  void measure_lists(const cuda::ListGeometry& geometry, const uint8_t* patches) {
    const MapSize map{geometry.output_height, geometry.output_width};
    const int64_t capacity = geometry.images * map.pixels();
    cuda::ListCall call;
    call.geometry = geometry;
    call.patches = patches;
    std::vector<DeviceBuffer> memory;
    const auto take = [&](int64_t words) {
      memory.push_back(zeros<int64_t>(words));
      return memory.back().data();
    };
    for (const ListKind kind : {ListKind::dilated, ListKind::active, ListKind::result}) {
      const int64_t chunks = int64_t{geometry.images} * cuda::chunks_per_image(geometry, kind);
      cuda::ListTarget target;
      target.kind = kind;
      target.list = {static_cast<int32_t*>(take(capacity / 2 + 1)),
                     static_cast<int32_t*>(take(capacity / 2 + 1)),
                     static_cast<int32_t*>(take(geometry.images / 2 + 1))};
      target.progress = {static_cast<unsigned long long*>(take(chunks)),
                         static_cast<unsigned long long*>(take(1))};
      target.mask_counts = static_cast<int32_t*>(take(chunks / 2 + 1));
      call.targets[call.count++] = target;
    }
    add_kernel("lists", 0, list_counts(geometry.images, {map, map, map}),
               [&](cuda::Stream& stream) { cuda::build_lists(stream, call); });
  }

  void measure_layers(const CudaMapCase& map, int batch, Precision precision) {
    const DeviceMap in = device_map(in_, map.height, map.width, map.channels);
    const CudaConvCase every{.height = map.height, .width = map.width};
    const DeviceBuffer pixels = on_device(random_pixels(every, batch, 1, random_).pixels);
    std::vector<int32_t> begins;
    for (int n = 0; n <= batch; ++n) begins.push_back(n * map.height * map.width);
    const DeviceBuffer image_begin = on_device(begins);
    const cuda::DeviceList list{as<int32_t>(pixels), as<int32_t>(pixels), as<int32_t>(image_begin)};
    const DeviceBuffer pooled = zeros<float>(int64_t{batch} * in.pitch);
    const DeviceBuffer scale = on_device(std::vector<float>(static_cast<size_t>(batch) * in.pitch, 1.0f));
    const double listed = begins.back();
    const double bytes = listed * in.pitch * cuda::element_bytes(precision);
    add_kernel("mean", bytes, mean_counts(batch, listed, in.pitch, precision, found_.multiprocessors),
               [&](cuda::Stream& stream) {
                 cuda::mean(stream, precision, {in, list, batch, as<float>(pooled)});
               });
    add_kernel("scaling", 2 * bytes, stream_counts(2 * bytes, bytes, true), [&](cuda::Stream& stream) {
      cuda::scale_pixels(stream, precision, {in, list, batch, as<float>(scale)});
    });
    const int squeezed = std::max(1, map.channels / kSqueeze);
    // One for each layer: the second would find the first one's weights in the nearest cache.
    const int64_t weights = int64_t{map.channels} * squeezed;
    const DeviceBuffer first_layer = zeros<float>(weights + squeezed);
    const DeviceBuffer second_layer = zeros<float>(weights + map.channels);
    const double layer_bytes = sizeof(float) * (2.0 * weights + 2.0 * batch * in.pitch);
    add_kernel("excitation", layer_bytes,
               excite_counts(batch, map.channels, squeezed, found_.multiprocessors),
               [&](cuda::Stream& stream) {
                 const float *first = as<float>(first_layer), *second = as<float>(second_layer);
                 cuda::excite(stream, {as<float>(pooled), first, first + weights, second, second + weights,
                                       as<float>(scale), batch, map.channels, squeezed, in.pitch});
               });
    const int classes = options_.classes;
    const DeviceBuffer head_weights = zeros<float>(int64_t{classes} * in.pitch);
    const DeviceBuffer head_bias = zeros<float>(classes);
    const int logits_pitch = cuda::padded_channels(classes);
    const DeviceBuffer logits = zeros<float>(int64_t{batch} * logits_pitch);
    const double head_bytes = sizeof(float) * (1.0 * (classes + batch) * in.pitch + 1.0 * batch * classes);
    add_kernel("classifier", head_bytes, head_counts(batch, classes, in.pitch), [&](cuda::Stream& stream) {
      cuda::head(stream, {as<float>(pooled), as<float>(head_weights), as<float>(head_bias), as<float>(logits),
                          batch, classes, in.pitch, logits_pitch});
    });
  }

  const CudaMeasureOptions& options_;
  const CudaMeasureProgress& progress_;
  cuda::Stream side_;
  KernelTimer timer_;
  Random random_;
  Stopwatch watch_;
  double until_ = 0;
  DeviceBuffer in_, out_;
  CudaMeasurements found_;
};

}  // namespace

CudaMeasurements measure_cuda(const CudaMeasureOptions& options, const CudaMeasureProgress& progress) {
  const cuda::DeviceScope scope;
  return CudaMeasurer(options, progress, cuda::require_device(Precision::fp32)).run();
}

}  // namespace lasnet
