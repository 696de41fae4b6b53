#include "core/memory.h"

#include <fstream>
#include <limits>

#include "core/fail.h"

namespace lasnet {

int64_t available_memory_bytes() {
  std::ifstream facts("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (facts >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(facts, unit);
  }
  return std::numeric_limits<int64_t>::max();
}

void require_memory(int64_t bytes, const std::string& what, const std::string& advice) {
  constexpr double kGiB = 1 << 30;
  int64_t available = available_memory_bytes();
  if (bytes <= available) return;
  fail("{} needs {:.1f} GiB of memory, and {:.1f} GiB are available; {}", what,
       static_cast<double>(bytes) / kGiB, static_cast<double>(available) / kGiB, advice);
}

}  // namespace lasnet
