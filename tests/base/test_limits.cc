// What control groups let a process have, read from trees as the kernel shows them.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/cgroup.h"
#include "base/processors.h"
#include "lasnet/executor.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

/// A root folder with the files of /proc and /sys that are asked.
class FakeSystem {
 public:
  FakeSystem(const std::string& groups, const std::string& mounts) {
    write("/proc/self/cgroup", groups);
    write("/proc/self/mountinfo", mounts);
  }

  void write(const std::string& path, const std::string& text) const {
    const std::string file = root() + path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    write_text(file, text);
  }
  std::string root() const { return dir_.path(); }

 private:
  TemporaryDir dir_;
};

constexpr const char* kUnifiedMount =
    "24 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 "
    "rw\n";
/// Version 1 as a container without a namespace of its own for groups sees it.
constexpr const char* kOldMounts =
    "31 30 0:27 /docker/7f /sys/fs/cgroup/cpu,cpuacct ro master:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 30 0:29 /docker/7f /sys/fs/cgroup/memory ro master:13 - cgroup cgroup rw,memory\n";
constexpr const char* kOldGroups =
    "4:memory:/docker/7f\n3:cpu,cpuacct:/docker/7f\n2:cpuset:/\n1:name=systemd:/x\n";

TEST(CpuQuota, OfVersion2IsTheLeastUpToTheRoot) {
  const FakeSystem system("0::/pod/container\n", kUnifiedMount);
  EXPECT_EQ(cpu_quota(system.root()), std::nullopt);
  system.write("/sys/fs/cgroup/pod/container/cpu.max", "max 100000\n");
  EXPECT_EQ(cpu_quota(system.root()), std::nullopt);
  system.write("/sys/fs/cgroup/pod/cpu.max", "150000 100000\n");
  EXPECT_EQ(cpu_quota(system.root()), 1.5);
  system.write("/sys/fs/cgroup/pod/container/cpu.max", "400000 100000\n");
  EXPECT_EQ(cpu_quota(system.root()), 1.5);
}

TEST(CpuQuota, OfVersion2InAContainerOfItsOwn) {
  const FakeSystem system("0::/\n", kUnifiedMount);
  system.write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(cpu_quota(system.root()), 0.5);
}

TEST(CpuQuota, OfVersion1) {
  const FakeSystem system(kOldGroups, kOldMounts);
  const std::string folder = "/sys/fs/cgroup/cpu,cpuacct/";
  system.write(folder + "cpu.cfs_period_us", "100000\n");
  system.write(folder + "cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cpu_quota(system.root()), std::nullopt);
  system.write(folder + "cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(cpu_quota(system.root()), 2.5);
}

TEST(CpuQuota, IsNoneWhereNothingIsSaidOrMadeOut) {
  const FakeSystem system("0::/../elsewhere\n", kUnifiedMount);
  EXPECT_EQ(cpu_quota(system.root()), std::nullopt);
  system.write("/sys/fs/cgroup/cpu.max", "much\n");
  EXPECT_EQ(cpu_quota(system.root()), std::nullopt);
  system.write("/sys/fs/cgroup/cpu.max", "100000 0\n");
  EXPECT_EQ(cpu_quota(system.root()), std::nullopt);
  const TemporaryDir nothing;
  EXPECT_EQ(cpu_quota(nothing.path()), std::nullopt);
}

TEST(CpuQuota, LimitsThreadsRoundedUp) {
  EXPECT_EQ(within_quota(8, std::nullopt), 8);
  EXPECT_EQ(within_quota(8, 1.5), 2);
  EXPECT_EQ(within_quota(8, 0.5), 1);
  EXPECT_EQ(within_quota(2, 64.0), 2);
  EXPECT_GE(usable_processors(), 1);
  EXPECT_EQ(default_threads(), within_quota(physical_cores(), cpu_quota()));
}

TEST(GroupMemory, OfVersion2CountsCachedFilesAsFree) {
  const FakeSystem system("0::/job\n", kUnifiedMount);
  EXPECT_EQ(group_memory_bytes(system.root()), std::nullopt);
  system.write("/sys/fs/cgroup/job/memory.max", "1000000\n");
  system.write("/sys/fs/cgroup/job/memory.current", "600000\n");
  EXPECT_EQ(group_memory_bytes(system.root()), 400000);
  system.write("/sys/fs/cgroup/job/memory.stat", "anon 7\nfile 9\ninactive_file 100000\nactive_file 50000\n");
  EXPECT_EQ(group_memory_bytes(system.root()), 550000);
  system.write("/sys/fs/cgroup/job/memory.max", "max\n");
  EXPECT_EQ(group_memory_bytes(system.root()), std::nullopt);
}

TEST(GroupMemory, OfVersion1) {
  const FakeSystem system(kOldGroups, kOldMounts);
  const std::string folder = "/sys/fs/cgroup/memory/";
  system.write(folder + "memory.limit_in_bytes", "1000\n");
  system.write(folder + "memory.usage_in_bytes", "5000\n");
  EXPECT_EQ(group_memory_bytes(system.root()), 0);
  system.write(folder + "memory.stat", "inactive_file 1\ntotal_inactive_file 4500\n");
  EXPECT_EQ(group_memory_bytes(system.root()), 500);
}

}  // namespace
}  // namespace lasnet::test
