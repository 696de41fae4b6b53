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
                             return profile.kind == HardwareKind::cpu && profile.cpu.isa == isa;
                           });
}

HardwareProfile host_hardware() {
  HostProfile host = host_profile(available_isas().back());
  if (!host.cached.empty()) host.profile.name = host.cached;
  return std::move(host.profile);
}

std::string cached_cuda_profile_path() { return cached_path("cuda.toml"); }

HostProfile host_cuda_profile() {
  return cached_or_shipped(cached_cuda_profile_path(), "cuda-h100", "CUDA", "lasnet calibrate --device cuda",
                           [](const HardwareProfile& profile) { return profile.kind == HardwareKind::cuda; });
}

}  // namespace lasnet
