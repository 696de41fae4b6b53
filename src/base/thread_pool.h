// Fork-join parallelism over indices: the caller works too, workers spin for a bounded time and then sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "lasnet/executor.h"

namespace lasnet {

/// Runs loops on a fixed set of threads. One loop at a time; owned and used by one session. In a child of
/// fork(), where they do not exist, the first loop starts others.
class ThreadPool final : public Executor {
 public:
  /// `threads` >= 1, the calling thread included. Throws Error if the system refuses a thread.
  explicit ThreadPool(int threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const override { return threads_; }

  /// Indices are taken one by one in rising order, so uneven tasks balance.
  void parallel_for(int64_t count, LoopBody body) override;

 private:
  void start();
  void stop();
  /// In a child of the process that started the threads: forgets them. Whether it did.
  bool leave_threads_of_parent();
  void restart_after_fork();
  void work(int thread);
  /// `seen`: the generation of the last loop before the thread started.
  void worker_loop(int thread, uint32_t seen);

  const int threads_;
  const std::chrono::microseconds spin_;  ///< how long a thread polls before it sleeps
  unsigned forks_;                        ///< of the process that started the threads
  std::vector<std::thread> workers_;
  const LoopBody* body_ = nullptr;
  int64_t count_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};  ///< bumped to start a loop
  alignas(64) std::atomic<int> running_{0};          ///< workers that have not finished the loop
  std::atomic<bool> stopping_{false};
};

}  // namespace lasnet
