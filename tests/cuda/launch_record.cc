#include "launch_record.h"

#include <fmt/format.h>

#include <map>

#include "backends/cuda/kernels/kernels.h"

namespace lasnet::test {
namespace {

using namespace cuda;

/// Writes launches; keeps the numbers that it has given.
class Writer {
 public:
  std::string line(const Launch& launch) {
    text_ = fmt::format("s{} {} k{} {}x{} {} threads {} bytes{}", number(streams_, launch.stream),
                        name_of(launch), launch.kernel == nullptr ? 0 : number(kernels_, launch.kernel) + 1,
                        launch.shape.blocks, launch.shape.rows, launch.shape.threads,
                        launch.shape.shared_bytes, launch.overlaps ? " overlaps" : "");
    write_arguments(launch);
    return text_ + "\n";
  }

 private:
  static int number(std::map<const void*, int>& numbers, const void* of) {
    return numbers.try_emplace(of, static_cast<int>(numbers.size())).first->second;
  }

  static std::string name_of(const Launch& launch) {
    for (const char* type :
         {"ConvCall", "ListWork", "MaskerCall", "MaskerGroupCall", "ImageCall", "MaxPoolCall", "MeanCall",
          "HeadCall", "ExciteCall", "ScaleCall", "GatherCall", "ListGeometry", "AddCall", "FiniteCall"}) {
      if (is_launch_of(launch, type)) return type;
    }
    return launch.name;
  }

  template <class... Values>
  void add(const Values&... values) {
    (add_one(values), ...);
  }
  template <class T>
  void add_one(T* place) {
    const emulation::Place found = emulation::place_of(place);
    text_ +=
        place == nullptr ? " null" : fmt::format(" b{}+{}", number(buffers_, found.buffer), found.offset);
  }
  void add_one(int64_t value) { text_ += fmt::format(" {}", value); }
  void add_one(int value) { text_ += fmt::format(" {}", value); }
  void add_one(const DeviceList& list) { add(list.in, list.out, list.image_begin); }
  void add_one(const DeviceMap& map) { add(map.data, map.pitch, map.height, map.width, map.channels); }
  void add_one(const ListGeometry& g) {
    add(g.images, g.input_height, g.input_width, g.middle_height, g.middle_width, g.output_height,
        g.output_width, g.stride, static_cast<int>(g.dilation_stride), static_cast<int>(g.granularity),
        g.patch_rows, g.patch_cols);
  }
  void add_one(const MaskerTarget& t) { add(t.weight, t.forced, t.rule, t.differences, t.patches); }

  void write_arguments(const Launch& launch) {
    const std::string name = name_of(launch);
    if (name == "ConvCall") {
      const auto c = launch.call<ConvCall>();
      add(c.in, c.out, c.weights, c.bias, c.in_pixels, c.out_pixels, c.count, c.max_pixels, c.in_pitch,
          c.out_pitch, c.out_channels, c.taps, c.run);
      for (int i = 0; i < c.taps; ++i) add(c.tap_offsets[i]);
      add(c.group_in, c.group_out, static_cast<int>(c.epilogue));
    } else if (name == "ListWork") {
      const auto c = launch.call<ListCall>();
      add(c.geometry, c.patches);
      for (int i = 0; i < c.count; ++i) {
        const ListTarget& t = c.targets[i];
        add(static_cast<int>(t.kind), t.whole_from_patches, t.list, t.progress.cells, t.progress.launches,
            t.mask_counts);
      }
    } else if (name == "MaskerCall") {
      const auto c = launch.call<MaskerCall>();
      add(c.geometry, c.x, c.target);
    } else if (name == "MaskerGroupCall") {
      const auto c = launch.call<MaskerGroupCall>();
      add(c.geometry, c.x, c.listed, c.listed_count);
      for (int i = 0; i < c.count; ++i) add(c.targets[i]);
    } else if (name == "ImageCall") {
      const auto c = launch.call<ImageCall>();
      add(c.input, c.out, c.images, c.channels, c.height, c.width, c.border, c.row_pixels, c.pitch);
    } else if (name == "MaxPoolCall") {
      const auto c = launch.call<MaxPoolCall>();
      add(c.in, c.out, c.images);
    } else if (name == "MeanCall") {
      const auto c = launch.call<MeanCall>();
      add(c.map, c.list, c.images, c.out);
    } else if (name == "HeadCall") {
      const auto c = launch.call<HeadCall>();
      add(c.features, c.weight, c.bias, c.logits, c.images, c.classes, c.pitch, c.logits_pitch);
    } else if (name == "ExciteCall") {
      const auto c = launch.call<ExciteCall>();
      add(c.pooled, c.weight1, c.bias1, c.weight2, c.bias2, c.scale, c.images, c.channels, c.squeezed,
          c.pitch);
    } else if (name == "ScaleCall") {
      const auto c = launch.call<ScaleCall>();
      add(c.map, c.list, c.images, c.scale);
    } else if (name == "GatherCall") {
      const auto c = launch.call<GatherCall>();
      add(c.geometry, c.middle, c.patches, c.buffer);
    } else if (name == "ListGeometry") {
      DeviceList list;
      int32_t* in = nullptr;
      std::memcpy(&list, launch.arguments.data() + sizeof(ListGeometry), sizeof list);
      std::memcpy(&in, launch.arguments.data() + sizeof(ListGeometry) + sizeof list, sizeof in);
      add(launch.call<ListGeometry>(), list, in);
    } else if (name == "AddCall") {
      const auto c = launch.call<AddCall>();
      add(c.y, c.body, c.images);
    } else if (name == "FiniteCall") {
      const auto c = launch.call<FiniteCall>();
      add(c.data, c.pitch, c.channels, c.pixels, c.count, c.first);
    } else if (name == "fill") {
      const auto c = launch.call<emulation::Fill>();
      add(c.to, c.bytes, c.value);
    }
  }

  std::map<const void*, int> buffers_, streams_, kernels_;
  std::string text_;
};

}  // namespace

LaunchRecorder::LaunchRecorder(bool runs_kernels, bool hopper) : before_(emulation::settings()) {
  emulation::Settings& settings = emulation::settings();
  settings.launches = &launches;
  settings.runs_kernels = runs_kernels;
  settings.hopper = hopper;
  settings.multiprocessors = 132;
}

LaunchRecorder::~LaunchRecorder() { emulation::settings() = before_; }

bool is_launch_of(const Launch& launch, const char* type) {
  // Mangled names have the length before the name.
  return launch.name == type ||
         launch.name.find(fmt::format("{}{}", std::string(type).size(), type)) != std::string::npos;
}

std::string to_text(const std::vector<Launch>& launches) {
  Writer writer;
  std::string text;
  for (const Launch& launch : launches) text += writer.line(launch);
  return text;
}

}  // namespace lasnet::test
