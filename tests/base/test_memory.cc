// Memory is refused before it is taken, with an error that says how much was asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "base/aligned.h"
#include "base/memory.h"
#include "support/expect_error.h"
#include "support/sanitized.h"

namespace lasnet {
namespace {

TEST(Memory, AskingForMoreThanThereIsNamesBoth) {
  EXPECT_GT(available_memory_bytes(), 0);
  require_memory(1 << 20, "a megabyte", "take less");
  const std::string message =
      test::error_of([] { require_memory(int64_t{1} << 60, "an exbibyte", "take less"); });
  EXPECT_THAT(message, testing::HasSubstr("an exbibyte needs 1073741824.0 GiB"));
  EXPECT_THAT(message, testing::HasSubstr("take less"));
}

int64_t virtual_bytes() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

TEST(Memory, IsWhatALimitOfThisProcessLeaves) {
  constexpr int64_t kLeft = 64 << 20;
  const pid_t child = fork();
  if (child == 0) {
    const auto limit = static_cast<rlim_t>(virtual_bytes() + kLeft);
    const rlimit both{limit, limit};
    setrlimit(RLIMIT_AS, &both);
    const int64_t available = available_memory_bytes();
    _exit(available <= kLeft && available > kLeft / 2 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Memory, BuffersLargerThanTheMachineAreRefused) {
  EXPECT_ERROR(AlignedBuffer buffer(int64_t{1} << 50), testing::HasSubstr("smaller batch"));
}

TEST(Memory, LimitsOfTheProcessCount) {
  if (test::kSanitized) GTEST_SKIP() << "sanitizers do not run under a limit of memory";
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &before), 0);
  constexpr int64_t kLimit = 1 << 30;
  const rlimit bounded{.rlim_cur = kLimit, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &bounded), 0);
  const int64_t available = available_memory_bytes();
  setrlimit(RLIMIT_DATA, &before);
  EXPECT_LT(available, kLimit);
}

}  // namespace
}  // namespace lasnet
