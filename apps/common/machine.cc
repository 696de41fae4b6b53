#include "machine.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <thread>

#include "base/processors.h"
#include "predict/host_profile.h"

namespace lasnet::cli {
namespace {

std::string first_line(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

}  // namespace

int logical_processors() {
  const auto allowed = allowed_processors();
  return allowed.empty() ? std::max(1, static_cast<int>(std::thread::hardware_concurrency()))
                         : static_cast<int>(allowed.size());
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  return processor_name_in(file);
}

std::string processor_name_in(std::istream& cpuinfo) {
  std::string implementer;
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.starts_with("model name")) return value;
    if (line.starts_with("CPU implementer")) implementer = value;
    if (line.starts_with("CPU part")) return "AArch64, implementer " + implementer + ", part " + value;
  }
  return "";
}

std::vector<std::string> processor_features() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  const auto add = [&](const char* name, bool present) {
    if (present) features.emplace_back(name);
  };
  add("sse4.2", __builtin_cpu_supports("sse4.2"));
  add("avx", __builtin_cpu_supports("avx"));
  add("avx2", __builtin_cpu_supports("avx2"));
  add("fma", __builtin_cpu_supports("fma"));
  add("avxvnni", has_avx_vnni());
  add("avx512f", __builtin_cpu_supports("avx512f"));
  add("avx512bw", __builtin_cpu_supports("avx512bw"));
  add("avx512vl", __builtin_cpu_supports("avx512vl"));
  add("avx512vnni", __builtin_cpu_supports("avx512vnni"));
#elif defined(__aarch64__)
  features.emplace_back("asimd");
  if (has_dot_products()) features.emplace_back("asimddp");
#endif
  return features;
}

namespace {

/// Size of a processor's cache of this level in KiB, instruction caches apart; 0 if the system does not say.
double cache_kib(int processor, int level) {
  const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/cache/index";
  for (int index = 0; index < 8; ++index) {
    const std::string cache = folder + std::to_string(index) + "/";
    if (first_line(cache + "level") != std::to_string(level) || first_line(cache + "type") == "Instruction")
      continue;
    const std::string size = first_line(cache + "size");  // e.g. "32768K"
    double number = 0;
    std::from_chars(size.data(), size.data() + size.size(), number);
    return number * (size.ends_with('M') ? 1024 : 1);
  }
  return 0;
}

}  // namespace

CpuHardware this_machine(Isa isa, Precision precision, const CpuHardware& costs_of) {
  CpuHardware machine = host_kernels(isa, precision);
  machine.processor = processor_name();
  machine.cores = physical_cores();
  machine.seconds_per = costs_of.seconds_per;
  const auto allowed = allowed_processors();
  const int processor = allowed.empty() ? 0 : allowed.front();
  double* sizes[] = {&machine.l1_kib, &machine.l2_kib, &machine.l3_kib};
  for (int level = 1; level <= 3; ++level) {
    if (const double kib = cache_kib(processor, level); kib > 0) *sizes[level - 1] = kib;
  }
  return machine;
}

}  // namespace lasnet::cli
