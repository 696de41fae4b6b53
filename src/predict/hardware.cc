#include "lasnet/hardware.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "backends/cpu/register_tile.h"
#include "backends/cuda/tile_costs.h"
#include "base/escape.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/suggest.h"
#include "engine/hardware_facts.h"
#include "predict/embedded_profiles.h"

namespace lasnet {
namespace {

constexpr uint64_t kMaxProfileBytes = 1 << 20;
constexpr size_t kMaxText = 1000;  ///< bytes of a string in a profile
constexpr double kUnbounded = std::numeric_limits<double>::max();

/// Bounds of a number, both included.
struct Bounds {
  double low, high;
};
constexpr Bounds kPositive{std::numeric_limits<double>::min(), kUnbounded};
constexpr Bounds kNotNegative{0, kUnbounded};

/// One table of a profile. Every key must be read, and nothing else may be there.
class ProfileTable {
 public:
  ProfileTable(const toml::table& table, std::string prefix, const std::string& origin)
      : table_(table), prefix_(std::move(prefix)), origin_(origin) {}

  void read(std::string_view key, std::string& out) {
    out = value<std::string>(key, "a string");
    if (out.size() > kMaxText)
      fail("{}: '{}{}' has {} bytes; expected at most {}", place(key), prefix_, key, out.size(), kMaxText);
  }
  void read(std::string_view key, bool& out) { out = value<bool>(key, "true or false"); }
  void read(std::string_view key, double& out, Bounds bounds) {
    out = value<double>(key, "a number");
    check_bounds(key, out, bounds);
  }
  void read(std::string_view key, int& out, Bounds bounds = {1, 1 << 20}) {
    out = static_cast<int>(whole(key, bounds));
  }
  void read(std::string_view key, int64_t& out, Bounds bounds = {1, 1 << 30}) { out = whole(key, bounds); }

  /// Runs `parse`, whose errors are of the value at `key`.
  template <typename Parse>
  void parse(std::string_view key, Parse parse) const {
    try {
      parse();
    } catch (const Error& error) {
      fail("{}: '{}{}': {}", place(key), prefix_, key, error.what());
    }
  }

  bool has(std::string_view key) const { return table_.contains(key); }
  ProfileTable table(std::string_view key) {
    const toml::table* inner = node(key, "a table").as_table();
    if (inner == nullptr) fail("{}: [{}{}] must be a table", place(key), prefix_, key);
    return {*inner, fmt::format("{}{}.", prefix_, key), origin_};
  }

  /// Throws Error if there is a key that was not read.
  void finish() const {
    for (const std::string& name : unread()) {
      const std::string near = nearest_name(name, known_);
      fail("{}: unknown key '{}{}'{}", place(name), prefix_, excerpt(name),
           near.empty() ? "" : fmt::format(" (did you mean {}?)", near));
    }
  }

 private:
  const toml::node& node(std::string_view key, std::string_view expected) {
    known_.emplace_back(key);
    const toml::node* found = table_.get(key);
    if (found == nullptr) {
      const std::string near = nearest_name(key, unread());
      fail("{}: key '{}{}' is missing; expected {}{}", origin_, prefix_, key, expected,
           near.empty() ? "" : fmt::format(" ({} has '{}')", place(near), near));
    }
    return *found;
  }

  /// The keys that have not been asked for.
  std::vector<std::string> unread() const {
    std::vector<std::string> keys;
    for (const auto& [key, unused] : table_) {
      std::string name(key.str());
      if (std::find(known_.begin(), known_.end(), name) == known_.end()) keys.push_back(std::move(name));
    }
    return keys;
  }

  template <typename T>
  T value(std::string_view key, std::string_view expected) {
    const toml::node& found = node(key, expected);
    std::optional<T> result;
    if constexpr (std::is_same_v<T, double>) {
      if (found.is_number()) result = found.value<T>();
    } else {
      result = found.value_exact<T>();
    }
    if (!result) fail("{}: '{}{}' must be {}", place(key), prefix_, key, expected);
    return *result;
  }

  int64_t whole(std::string_view key, Bounds bounds) {
    const auto result = value<int64_t>(key, "an integer");
    check_bounds(key, static_cast<double>(result), bounds);
    return result;
  }

  void check_bounds(std::string_view key, double number, Bounds bounds) const {
    if (number >= bounds.low && number <= bounds.high) return;  // false for NaN
    const std::string allowed = bounds.high < kUnbounded
                                    ? fmt::format("from {} to {}", bounds.low, bounds.high)
                                    : (bounds.low > 0 ? "greater than 0" : "at least 0");
    fail("{}: '{}{}' is {:g}; expected a number {}", place(key), prefix_, key, number, allowed);
  }

  std::string place(std::string_view key) const {
    const toml::node* found = table_.get(key);
    return found == nullptr ? origin_ : fmt::format("{}:{}", origin_, found->source().begin.line);
  }

  const toml::table& table_;
  std::string prefix_;
  const std::string& origin_;
  std::vector<std::string> known_;
};

GpuHardware read_gpu(ProfileTable table) {
  GpuHardware gpu;
  table.read("processing_engines", gpu.processing_engines);
  table.read("fp32_lanes_per_engine", gpu.fp32_lanes_per_engine);
  table.read("pipeline_depth", gpu.pipeline_depth);
  table.read("frequency_hz", gpu.frequency_hz, kPositive);
  table.read("bandwidth_bytes_per_s", gpu.bandwidth_bytes_per_s, kPositive);
  table.read("onchip_bandwidth_factor", gpu.onchip_bandwidth_factor, kPositive);
  table.read("request_bytes", gpu.request_bytes);
  table.read("launch_s", gpu.launch_s, kNotNegative);
  table.read("fp16_rate", gpu.fp16_rate, kPositive);
  table.read("accumulators_per_engine", gpu.accumulators_per_engine);
  table.read("overlap", gpu.overlap);
  table.read("batch", gpu.batch);
  table.finish();
  return gpu;
}

void check_int8_kernels(const std::string& name) {
  if (std::ranges::find(kInt8KernelNames, name) == kInt8KernelNames.end())
    fail("int8 kernels '{}' are unknown; known: {}", excerpt(name), fmt::join(kInt8KernelNames, ", "));
}

CpuHardware read_cpu(ProfileTable table) {
  CpuHardware cpu;
  std::string isa;
  table.read("processor", cpu.processor);
  table.read("isa", isa);
  table.parse("isa", [&] { cpu.isa = parse_isa(isa); });
  if (table.has("int8_kernels")) {
    table.read("int8_kernels", cpu.int8_kernels);
    table.parse("int8_kernels", [&] { check_int8_kernels(cpu.int8_kernels); });
  }
  if (table.has("measured")) table.read("measured", cpu.measured);
  table.read("cores", cpu.cores);
  table.read("l1_kib", cpu.l1_kib, kPositive);
  table.read("l2_kib", cpu.l2_kib, kPositive);
  table.read("l3_kib", cpu.l3_kib, kPositive);
  ProfileTable costs = table.table("seconds_per");
  for (int unit = 0; unit < kWorkUnits; ++unit) {
    const auto work = static_cast<WorkUnit>(unit);
    costs.read(to_string(work), cpu.seconds_per[static_cast<size_t>(unit)],
               work == WorkUnit::tile_step ? kPositive : kNotNegative);
  }
  costs.finish();
  table.finish();
  return cpu;
}

/// Tables of tiles, each with a precision that uses it.
constexpr std::pair<const char*, Precision> kTilePrecisions[] = {
    {"fp32", Precision::fp32}, {"tf32", Precision::tf32}, {"half", Precision::fp16}};
constexpr std::pair<const char*, double CudaTileCost::*> kTileCosts[] = {
    {"step_ns", &CudaTileCost::step_ns},
    {"rest_ns", &CudaTileCost::rest_ns},
    {"rest_adding_ns", &CudaTileCost::rest_adding_ns},
    {"step_alone_ns", &CudaTileCost::step_alone_ns},
    {"rest_alone_ns", &CudaTileCost::rest_alone_ns}};

void read_tiles(ProfileTable table, CudaTileCosts& costs) {
  for (const auto& [name, precision] : kTilePrecisions) {
    ProfileTable shapes = table.table(name);
    // Both or neither: a device runs them or does not.
    const bool has_hopper =
        shapes.has(to_string(CudaTileShape::hopper)) || shapes.has(to_string(CudaTileShape::hopper_wide));
    for (size_t i = 0; i < kCudaTileShapes; ++i) {
      const auto shape = static_cast<CudaTileShape>(i);
      if (!has_cuda_tile(shape, precision)) continue;
      if (order_of(shape) == AccumulationOrder::warpgroup && !has_hopper) continue;
      ProfileTable tile = shapes.table(to_string(shape));
      for (const auto& [key, cost] : kTileCosts)
        tile.read(key, (costs.*tile_table(precision))[i].*cost, kPositive);
      tile.finish();
    }
    shapes.finish();
  }
  table.finish();
}

CudaHardware read_cuda(ProfileTable table) {
  CudaHardware cuda;
  table.read("device", cuda.device);
  table.read("multiprocessors", cuda.multiprocessors);
  table.read("l2_mb", cuda.l2_mb, kPositive);
  table.read("memory_factor", cuda.memory_factor, kPositive);
  ProfileTable costs = table.table("seconds_per");
  for (int unit = 0; unit < kCudaUnits; ++unit) {
    costs.read(to_string(static_cast<CudaUnit>(unit)), cuda.seconds_per[static_cast<size_t>(unit)],
               kPositive);
  }
  costs.finish();
  read_tiles(table.table("tiles"), cuda.tiles);
  table.finish();
  return cuda;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + "\"";
}

/// A float, also where its shortest form would be a TOML integer.
std::string number(double value) {
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string to_toml(const GpuHardware& gpu) {
  return fmt::format(
      "\n[gpu]\nprocessing_engines = {}\nfp32_lanes_per_engine = {}\npipeline_depth = {}\n"
      "frequency_hz = {}\nbandwidth_bytes_per_s = {}\nonchip_bandwidth_factor = {}\nrequest_bytes = {}\n"
      "launch_s = {}\nfp16_rate = {}\naccumulators_per_engine = {}\noverlap = {}\nbatch = {}\n",
      gpu.processing_engines, gpu.fp32_lanes_per_engine, gpu.pipeline_depth, number(gpu.frequency_hz),
      number(gpu.bandwidth_bytes_per_s), number(gpu.onchip_bandwidth_factor), gpu.request_bytes,
      number(gpu.launch_s), number(gpu.fp16_rate), gpu.accumulators_per_engine, gpu.overlap, gpu.batch);
}

/// Keys that are left out where they say the usual.
std::string special_keys(const CpuHardware& cpu) {
  std::string keys;
  if (!cpu.int8_kernels.empty()) keys += fmt::format("int8_kernels = {}\n", quoted(cpu.int8_kernels));
  if (!cpu.measured) keys += "measured = false\n";
  return keys;
}

std::string to_toml(const CpuHardware& cpu) {
  std::string text = fmt::format(
      "\n[cpu]\nprocessor = {}\nisa = {}\n{}cores = {}\nl1_kib = {}\nl2_kib = {}\nl3_kib = {}\n"
      "\n[cpu.seconds_per]\n",
      quoted(cpu.processor), quoted(to_string(cpu.isa)), special_keys(cpu), cpu.cores, number(cpu.l1_kib),
      number(cpu.l2_kib), number(cpu.l3_kib));
  for (int unit = 0; unit < kWorkUnits; ++unit) {
    const auto work = static_cast<WorkUnit>(unit);
    text += fmt::format("{} = {}\n", to_string(work), number(cpu.cost(work)));
  }
  return text;
}

std::string to_toml(const CudaHardware& cuda) {
  std::string text = fmt::format(
      "\n[cuda]\ndevice = {}\nmultiprocessors = {}\nl2_mb = {}\nmemory_factor = {}\n\n[cuda.seconds_per]\n",
      quoted(cuda.device), cuda.multiprocessors, number(cuda.l2_mb), number(cuda.memory_factor));
  for (int unit = 0; unit < kCudaUnits; ++unit) {
    text += fmt::format("{} = {}\n", to_string(static_cast<CudaUnit>(unit)),
                        number(cuda.cost(static_cast<CudaUnit>(unit))));
  }
  for (const auto& [name, precision] : kTilePrecisions) {
    text += fmt::format("\n[cuda.tiles.{}]\n", name);
    for (size_t i = 0; i < kCudaTileShapes; ++i) {
      const auto shape = static_cast<CudaTileShape>(i);
      if (!has_cuda_tile(shape, precision)) continue;
      const CudaTileCost& tile = (cuda.tiles.*tile_table(precision))[i];
      if (order_of(shape) == AccumulationOrder::warpgroup && tile == CudaTileCost{}) continue;
      std::vector<std::string> entries;
      for (const auto& [key, cost] : kTileCosts)
        entries.push_back(fmt::format("{} = {}", key, number(tile.*cost)));
      text += fmt::format("{} = {{ {} }}\n", to_string(shape), fmt::join(entries, ", "));
    }
  }
  return text;
}

}  // namespace

std::vector<std::string> hardware_names() {
  std::vector<std::string> names;
  for (const EmbeddedProfile& profile : embedded_profiles()) names.emplace_back(profile.name);
  return names;
}

HardwareProfile load_hardware(const std::string& name_or_path) {
  for (const EmbeddedProfile& profile : embedded_profiles()) {
    if (profile.name == name_or_path)
      return parse_hardware(profile.toml, "hardware/" + name_or_path + ".toml");
  }
  std::error_code error;
  if (!std::filesystem::exists(name_or_path, error)) {
    const std::string near = nearest_name(name_or_path, hardware_names());
    fail("hardware '{}' is unknown and no file{}; known: {}", excerpt(name_or_path),
         near.empty() ? "" : fmt::format(" (did you mean {}?)", near), fmt::join(hardware_names(), ", "));
  }
  const std::vector<uint8_t> bytes = read_file(name_or_path, kMaxProfileBytes);
  return parse_hardware({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name_or_path);
}

HardwareProfile parse_hardware(std::string_view text, const std::string& origin) {
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    fail("{}:{}: not valid TOML: {}", origin, error.source().begin.line, error.description());
  }
  HardwareProfile profile;
  ProfileTable table(root, "", origin);
  std::string kind;
  table.read("name", profile.name);
  table.read("kind", kind);
  table.read("description", profile.description);
  table.read("source", profile.source);
  if (kind == "gpu") {
    profile.facts = std::make_shared<HardwareFacts>(read_gpu(table.table(kind)));
  } else if (kind == "cpu") {
    profile.facts = std::make_shared<HardwareFacts>(read_cpu(table.table(kind)));
  } else if (kind == "cuda") {
    profile.facts = std::make_shared<HardwareFacts>(read_cuda(table.table(kind)));
  } else {
    fail("{}: 'kind' is '{}'; expected gpu, cpu or cuda", origin, excerpt(kind));
  }
  table.finish();
  return profile;
}

std::string hardware_to_toml(const HardwareProfile& profile) {
  const std::string head =
      fmt::format("name = {}\nkind = {}\ndescription = {}\nsource = {}\n", quoted(profile.name),
                  quoted(to_string(profile.kind())), quoted(profile.description), quoted(profile.source));
  return head + std::visit([](const auto& hardware) { return to_toml(hardware); }, *profile.facts);
}

}  // namespace lasnet
