// Fork-join parallelism over indices: the caller works too, workers spin for a bounded time and then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lasnet {

/// Runs loops on a fixed set of threads. One loop at a time; owned and used by one session.
class ThreadPool {
 public:
  /// `threads` >= 1, the calling thread included. Throws Error if the system refuses a thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(index, thread) for every index in [0, count), thread in [0, threads()). Indices are taken one
  /// by one in rising order, so uneven tasks balance. `body` must not throw. Returns when all are done.
  template <typename Body>
  void parallel_for(int64_t count, Body&& body) {
    if (workers_.empty() || count <= 1) {
      for (int64_t i = 0; i < count; ++i) body(i, 0);
      return;
    }
    run({&body, [](void* context, int64_t index,
                   int thread) { (*static_cast<std::remove_reference_t<Body>*>(context))(index, thread); }},
        count);
  }

 private:
  struct Task {
    void* context = nullptr;
    void (*call)(void* context, int64_t index, int thread) = nullptr;
  };

  void run(Task task, int64_t count);
  void work(int thread);
  void worker_loop(int thread);
  void stop();

  std::vector<std::thread> workers_;
  Task task_;
  int64_t count_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};  ///< bumped to start a loop
  alignas(64) std::atomic<int> running_{0};          ///< workers that have not finished the loop
  std::atomic<bool> stopping_{false};
};

}  // namespace lasnet
