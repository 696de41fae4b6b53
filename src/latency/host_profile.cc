#include "latency/host_profile.h"

#include <cstdlib>
#include <filesystem>

#include "core/fail.h"

namespace lasnet {

std::string cached_profile_path(Isa isa) {
  const auto in = [&](const char* variable, const char* below) -> std::string {
    const char* folder = std::getenv(variable);
    if (folder == nullptr || *folder == '\0') return "";
    return fmt::format("{}{}/lasnet/cpu-{}.toml", folder, below, to_string(isa));
  };
  const std::string cache = in("XDG_CACHE_HOME", "");
  return cache.empty() ? in("HOME", "/.cache") : cache;
}

HostProfile host_profile(Isa isa) {
  const std::string path = cached_profile_path(isa);
  std::string problem;
  std::error_code error;
  if (!path.empty() && std::filesystem::is_regular_file(path, error)) {
    try {
      HardwareProfile profile = load_hardware(path);
      if (profile.kind == HardwareKind::cpu && profile.cpu.isa == isa) return {std::move(profile), path, ""};
      problem = fmt::format("{}: not a profile of {} kernels", path, to_string(isa));
    } catch (const Error& unreadable) {
      problem = unreadable.what();
    }
  }
  return {load_hardware("cpu-" + to_string(isa)), "", problem};
}

}  // namespace lasnet
