#include "core/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <string>

#include "core/fail.h"

namespace lasnet {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// The number after `key` in a file of "key: number kB" lines, in bytes.
int64_t bytes_after(const std::string& key, const char* path) {
  std::ifstream facts(path);
  for (std::string line; std::getline(facts, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_of("0123456789");
    int64_t kib = 0;
    if (begin == std::string::npos) break;
    std::from_chars(line.data() + begin, line.data() + line.size(), kib);
    return kib * 1024;
  }
  return kUnlimited;
}

/// What a limit of this process (ulimit) leaves of what it counts.
int64_t left_of(__rlimit_resource limit, const std::string& counted_as) {
  rlimit bounds{};
  if (::getrlimit(limit, &bounds) != 0 || bounds.rlim_cur == RLIM_INFINITY) return kUnlimited;
  const int64_t used = bytes_after(counted_as, "/proc/self/status");
  const auto most = static_cast<int64_t>(std::min<rlim_t>(bounds.rlim_cur, kUnlimited));
  return used == kUnlimited ? most : std::max<int64_t>(most - used, 0);
}

/// A container's limit. What it has used already includes files that can be dropped, so it is not counted.
int64_t container_limit() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::string text;
  int64_t bytes = kUnlimited;
  if (std::getline(file, text)) std::from_chars(text.data(), text.data() + text.size(), bytes);
  return bytes;
}

}  // namespace

int64_t available_memory_bytes() {
  return std::min({bytes_after("MemAvailable:", "/proc/meminfo"), container_limit(),
                   left_of(RLIMIT_AS, "VmSize:"), left_of(RLIMIT_DATA, "VmData:")});
}

void require_memory(int64_t bytes, const std::string& what, const std::string& advice) {
  constexpr double kGiB = 1 << 30;
  int64_t available = available_memory_bytes();
  if (bytes <= available) return;
  fail("{} needs {:.1f} GiB of memory, and {:.1f} GiB are available; {}", what,
       static_cast<double>(bytes) / kGiB, static_cast<double>(available) / kGiB, advice);
}

}  // namespace lasnet
