#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/thread_pool.h"

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

}  // namespace
}  // namespace lasnet
