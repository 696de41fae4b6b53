#include "base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "base/cgroup.h"
#include "base/fail.h"

namespace lasnet {

namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// The number of KiB after `key` in a file of /proc, in bytes.
int64_t bytes_of(const char* path, const std::string& wanted, int64_t otherwise) {
  std::ifstream facts(path);
  for (std::string key, rest; facts >> key; std::getline(facts, rest)) {
    int64_t kib = 0;
    if (key == wanted && facts >> kib) return kib * 1024;
  }
  return otherwise;
}

/// What a limit of this process (ulimit) leaves of itself.
int64_t left_by_limit(int resource, const std::string& used) {
  rlimit limit{};
  if (getrlimit(static_cast<decltype(RLIMIT_AS)>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return kUnlimited;
  const auto most = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kUnlimited));
  return std::max<int64_t>(0, most - bytes_of("/proc/self/status", used, 0));
}

}  // namespace

int64_t available_memory_bytes() {
  return std::min({bytes_of("/proc/meminfo", "MemAvailable:", kUnlimited),
                   group_memory_bytes().value_or(kUnlimited), left_by_limit(RLIMIT_AS, "VmSize:"),
                   left_by_limit(RLIMIT_DATA, "VmData:")});
}

void require_memory(int64_t bytes, const std::string& what, const std::string& advice) {
  constexpr double kGiB = 1 << 30;
  int64_t available = available_memory_bytes();
  if (bytes <= available) return;
  fail("{} needs {:.1f} GiB of memory, and {:.1f} GiB are available; {}", what,
       static_cast<double>(bytes) / kGiB, static_cast<double>(available) / kGiB, advice);
}

}  // namespace lasnet
