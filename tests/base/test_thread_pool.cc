#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <thread>

#include "base/thread_pool.h"
#include "support/sanitized.h"

namespace lasnet {
namespace {

TEST(ThreadPool, EveryIndexRunsOnce) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(count);
      std::atomic<bool> valid_thread{true};
      pool.parallel_for(count, [&](int64_t index, int thread) {
        ++runs[index];
        if (thread < 0 || thread >= threads) valid_thread = false;
      });
      for (const std::atomic<int>& run : runs) EXPECT_EQ(run, 1);
      EXPECT_TRUE(valid_thread);
    }
  }
}

TEST(ThreadPool, LoopsFollowEachOtherAlsoAfterSleep) {
  ThreadPool pool(3);
  int64_t sum = 0;
  for (int repeat = 0; repeat < 2000; ++repeat) {
    if (repeat % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // workers fall asleep
    std::vector<int64_t> values(5);
    pool.parallel_for(5, [&](int64_t index, int) { values[index] = index + repeat; });
    for (int64_t value : values) sum += value;
  }
  EXPECT_EQ(sum, 2000 * 10 + 5 * (1999 * 2000 / 2));
}

int64_t sum_of_loops(ThreadPool& pool, int loops) {
  int64_t sum = 0;
  for (int repeat = 0; repeat < loops; ++repeat) {
    std::vector<int64_t> values(64);
    pool.parallel_for(64, [&](int64_t index, int) { values[index] = index; });
    for (int64_t value : values) sum += value;
  }
  return sum;
}

constexpr int64_t kSum = 64 * 63 / 2;

/// Runs `body` in a child that a signal ends after 20 s; its exit code, or -1.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ThreadPool, WorksInAChildOfForkAndInItsParent) {
  if (test::kThreadsSanitized)
    GTEST_SKIP() << "the thread sanitizer follows no threads that begin after a fork";
  for (const bool asleep : {false, true}) {
    ThreadPool pool(3);
    EXPECT_EQ(sum_of_loops(pool, 10), 10 * kSum);
    if (asleep) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto child = [&] { return pool.threads() == 3 && sum_of_loops(pool, 50) == 50 * kSum ? 0 : 1; };
    EXPECT_EQ(in_child(child), 0);
    EXPECT_EQ(in_child([&] { return in_child(child); }), 0);  // a grandchild, whose parent ran nothing
    EXPECT_EQ(in_child([&] { return child() + in_child(child); }), 0);
    EXPECT_EQ(sum_of_loops(pool, 10), 10 * kSum);
  }
}

TEST(ThreadPool, EndsInAChildOfFork) {
  if (test::kThreadsSanitized)
    GTEST_SKIP() << "the thread sanitizer follows no threads that begin after a fork";
  auto used = std::make_unique<ThreadPool>(3), unused = std::make_unique<ThreadPool>(3);
  // All threads have begun before the fork: one that begins holds locks of the address sanitizer, which has
  // no care for them in the child.
  for (ThreadPool* pool : {used.get(), unused.get()}) sum_of_loops(*pool, 1);
  EXPECT_EQ(in_child([&] {
              sum_of_loops(*used, 1);
              used.reset();
              unused.reset();
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace lasnet
