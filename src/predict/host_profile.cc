#include "predict/host_profile.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "backends/cpu/int8/kernels.h"
#include "base/fail.h"

namespace lasnet {

namespace {

std::string cached_path(const std::string& file) {
  const auto in = [&](const char* variable, const char* below) -> std::string {
    const char* folder = std::getenv(variable);
    if (folder == nullptr || *folder == '\0') return "";
    return fmt::format("{}{}/lasnet/{}", folder, below, file);
  };
  const std::string cache = in("XDG_CACHE_HOME", "");
  return cache.empty() ? in("HOME", "/.cache") : cache;
}

/// The profile at `path` if it `fits`, else the one that is shipped. `command` makes one of kernels `of`.
template <typename Fits>
HostProfile cached_or_shipped(const std::string& path, const std::string& shipped, const std::string& of,
                              const std::string& command, const Fits& fits) {
  std::string problem;
  std::error_code error;
  if (!path.empty() && std::filesystem::is_regular_file(path, error)) {
    try {
      HardwareProfile profile = load_hardware(path);
      if (fits(profile)) return {std::move(profile), path, ""};
      problem = fmt::format("{}: not a profile of {} kernels", path, of);
    } catch (const Error& unreadable) {
      problem = unreadable.what();
    }
  }
  if (!problem.empty()) problem += fmt::format("; the shipped profile is used, {} makes a new one", command);
  const std::vector<std::string> names = hardware_names();
  if (std::ranges::find(names, shipped) == names.end())
    fail("hardware: no profile of the {} kernels comes with lasnet; {} makes one of this machine", of,
         command);
  return {load_hardware(shipped), "", problem};
}

}  // namespace

CpuHardware host_kernels(Isa isa, Precision precision) {
  CpuHardware cpu;
  cpu.isa = isa;
  if (precision == Precision::int8) cpu.int8_kernels = int8_kernels(isa).name;
  return cpu;
}

std::string cached_profile_path(Isa isa, Precision precision) {
  return cached_path(cpu_profile_name(host_kernels(isa, precision)) + ".toml");
}

HostProfile host_profile(Isa isa, Precision precision) {
  const CpuHardware kernels = host_kernels(isa, precision);
  const std::string name = cpu_profile_name(kernels);
  const std::string command =
      precision == Precision::int8 ? "lasnet calibrate --precision int8" : "lasnet calibrate";
  return cached_or_shipped(cached_profile_path(isa, precision), name, name.substr(4), command,
                           [&](const HardwareProfile& profile) {
                             return profile.kind() == HardwareKind::cpu && cpu_of(profile).isa == isa &&
                                    cpu_of(profile).int8_kernels == kernels.int8_kernels;
                           });
}

HardwareProfile host_hardware(Precision precision) {
  HostProfile host = host_profile(available_isas().back(), precision);
  if (!host.cached.empty()) host.profile.name = host.cached;
  return std::move(host.profile);
}

std::string cached_cuda_profile_path() { return cached_path("cuda.toml"); }

HostProfile host_cuda_profile() {
  return cached_or_shipped(
      cached_cuda_profile_path(), "cuda-h100", "CUDA", "lasnet calibrate --device cuda",
      [](const HardwareProfile& profile) { return profile.kind() == HardwareKind::cuda; });
}

namespace {

std::string kernels_name(const CpuHardware& cpu) {
  return cpu.int8_kernels.empty() ? to_string(cpu.isa) : "int8 " + cpu.int8_kernels;
}

}  // namespace

std::vector<std::string> hardware_mismatches(const HardwareProfile& profile, const CpuHardware& machine) {
  std::vector<std::string> differences;
  if (profile.kind() != HardwareKind::cpu) return differences;
  const CpuHardware& cpu = cpu_of(profile);
  if (!cpu.measured) {
    differences.push_back(fmt::format("profile {} was not measured on any processor", profile.name));
  } else if (cpu.processor != machine.processor) {
    differences.push_back(fmt::format("profile {} was made on '{}', this processor is '{}'", profile.name,
                                      cpu.processor, machine.processor));
  }
  if (cpu.isa != machine.isa || cpu.int8_kernels != machine.int8_kernels) {
    differences.push_back(fmt::format("profile {} is of the {} kernels, here the {} kernels run",
                                      profile.name, kernels_name(cpu), kernels_name(machine)));
  }
  // Generations of a processor may share a name.
  if (cpu.l2_kib != machine.l2_kib) {
    differences.push_back(
        fmt::format("profile {} was made with {:g} KiB of second-level cache per core, here are {:g}",
                    profile.name, cpu.l2_kib, machine.l2_kib));
  }
  if (cpu.cores != machine.cores) {
    differences.push_back(fmt::format("profile {} was made with {} cores, here are {}", profile.name,
                                      cpu.cores, machine.cores));
  }
  return differences;
}

}  // namespace lasnet
