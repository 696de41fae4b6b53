// What Linux control groups (containers, services) let this process have. `root` stands before every path: a
// tree of a test.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lasnet {

/// Processors' worth of time, the least of this process's group and those above it: 1.5 for `docker run
/// --cpus 1.5`. Versions 1 (cpu.cfs_quota_us) and 2 (cpu.max). Nothing where there is no limit.
std::optional<double> cpu_quota(const std::string& root = "");

/// Bytes that this process's group, and those above it, can still take: limit less use, where files that are
/// only cached count as free. Nothing where there is no limit.
std::optional<int64_t> group_memory_bytes(const std::string& root = "");

}  // namespace lasnet
