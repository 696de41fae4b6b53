#include "base/processors.h"

#include <fmt/format.h>
#include <sched.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "base/cgroup.h"
#include "lasnet/executor.h"

namespace lasnet {

bool has_avx_vnni() {
#if defined(__x86_64__)
  constexpr unsigned kLeaf = 7, kSubleaf = 1, kBit = 1U << 4;  // of eax
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(kLeaf, kSubleaf, &eax, &ebx, &ecx, &edx) != 0 && (eax & kBit) != 0;
#else
  return false;
#endif
}

bool has_dot_products() {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

std::vector<int> allowed_processors() {
  std::vector<int> allowed;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return allowed;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) allowed.push_back(cpu);
  }
  return allowed;
}

int within_quota(int threads, std::optional<double> quota) {
  if (quota && *quota < threads) threads = static_cast<int>(std::ceil(*quota));
  return std::max(1, threads);
}

int physical_cores() {
  // Hardware threads of one core list the same siblings.
  std::set<std::string> cores;
  const auto allowed = allowed_processors();
  for (const int cpu : allowed) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    std::string siblings;
    if (!std::getline(file, siblings)) return static_cast<int>(allowed.size());
    cores.insert(siblings);
  }
  return cores.empty() ? std::max(1, static_cast<int>(std::thread::hardware_concurrency()))
                       : static_cast<int>(cores.size());
}

int default_threads() { return within_quota(physical_cores(), cpu_quota()); }

int usable_processors() {
  const auto allowed = allowed_processors();
  const int processors = allowed.empty() ? static_cast<int>(std::thread::hardware_concurrency())
                                         : static_cast<int>(allowed.size());
  return within_quota(processors, cpu_quota());
}

}  // namespace lasnet
