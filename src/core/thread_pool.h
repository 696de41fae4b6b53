// Fork-join parallelism over indices: the caller works too, workers spin for a bounded time and then sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "lasnet/executor.h"

namespace lasnet {

/// Runs loops on a fixed set of threads. One loop at a time; owned and used by one session.
class ThreadPool final : public Executor {
 public:
  /// `threads` >= 1, the calling thread included. Throws Error if the system refuses a thread.
  explicit ThreadPool(int threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }

  /// Indices are taken one by one in rising order, so uneven tasks balance.
  void parallel_for(int64_t count, LoopBody body) override;

 private:
  void work(int thread);
  void worker_loop(int thread);
  void stop();

  const std::chrono::microseconds spin_;  ///< how long a thread polls before it sleeps
  std::vector<std::thread> workers_;
  const LoopBody* body_ = nullptr;
  int64_t count_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};  ///< bumped to start a loop
  alignas(64) std::atomic<int> running_{0};          ///< workers that have not finished the loop
  std::atomic<bool> stopping_{false};
};

}  // namespace lasnet
