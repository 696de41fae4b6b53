#include "predict/host_profile.h"

#include <cstdlib>
#include <filesystem>

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
  return {load_hardware(shipped), "", problem};
}

}  // namespace

std::string cached_profile_path(Isa isa) { return cached_path(fmt::format("cpu-{}.toml", to_string(isa))); }

HostProfile host_profile(Isa isa) {
  return cached_or_shipped(cached_profile_path(isa), "cpu-" + to_string(isa), to_string(isa),
                           "lasnet calibrate", [&](const HardwareProfile& profile) {
                             return profile.kind() == HardwareKind::cpu && cpu_of(profile).isa == isa;
                           });
}

HardwareProfile host_hardware() {
  HostProfile host = host_profile(available_isas().back());
  if (!host.cached.empty()) host.profile.name = host.cached;
  return std::move(host.profile);
}

std::string cached_cuda_profile_path() { return cached_path("cuda.toml"); }

HostProfile host_cuda_profile() {
  return cached_or_shipped(
      cached_cuda_profile_path(), "cuda-h100", "CUDA", "lasnet calibrate --device cuda",
      [](const HardwareProfile& profile) { return profile.kind() == HardwareKind::cuda; });
}

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
  if (cpu.isa != machine.isa) {
    differences.push_back(fmt::format("profile {} is of the {} kernels, here the {} kernels run",
                                      profile.name, to_string(cpu.isa), to_string(machine.isa)));
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
