#include "base/thread_pool.h"

#include <pthread.h>

#include <chrono>
#include <system_error>

#include "base/fail.h"
#include "base/processors.h"

namespace lasnet {
namespace {

/// How long a thread polls before it sleeps: longer than the serial gaps within a network, shorter than a
/// scheduler's time slice.
constexpr std::chrono::microseconds kSpin{100};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Waits until `changed` is true, polling for `spin` before `sleep`.
template <typename Changed, typename Sleep>
void spin_then_sleep(std::chrono::microseconds spin, Changed&& changed, Sleep&& sleep) {
  auto deadline = std::chrono::steady_clock::now() + spin;
  while (std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < 64; ++i) {
      if (changed()) return;
      pause();
    }
  }
  while (!changed()) sleep();
}

/// Counts the forks between the first process and this one. A child has none of its parent's threads but the
/// one that forked.
std::atomic<unsigned> forks{0};
[[maybe_unused]] const int fork_is_watched = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });

}  // namespace

Executor::~Executor() = default;

// Polling where threads outnumber the processors keeps the one that is waited for from running.
ThreadPool::ThreadPool(int threads)
    : threads_(threads),
      spin_(threads <= usable_processors() ? kSpin : std::chrono::microseconds(0)),
      forks_(forks.load()) {
  try {
    start();
  } catch (const std::system_error& error) {
    const size_t started = workers_.size();
    stop();
    fail("cannot start thread {} of {}: {}; ask for fewer threads", started + 2, threads, error.what());
  }
}

ThreadPool::~ThreadPool() {
  leave_threads_of_parent();
  stop();
}

void ThreadPool::start() {
  const uint32_t seen = generation_.load();
  for (int i = 1; i < threads_; ++i) workers_.emplace_back([this, i, seen] { worker_loop(i, seen); });
}

void ThreadPool::stop() {
  stopping_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

bool ThreadPool::leave_threads_of_parent() {
  const unsigned now = forks.load(std::memory_order_relaxed);
  if (forks_ == now) return false;
  forks_ = now;
  // They run in the parent alone: here nobody can join them, and their handles must not be destroyed
  // unjoined.
  new std::vector<std::thread>(std::move(workers_));
  workers_.clear();
  return true;
}

void ThreadPool::restart_after_fork() {
  if (!leave_threads_of_parent()) return;
  try {
    start();
  } catch (const std::system_error&) {
    // Loops must not throw: they run on the threads there are, be it this one alone.
  }
}

void ThreadPool::parallel_for(int64_t count, LoopBody body) {
  restart_after_fork();
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  body_ = &body;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);
  generation_.notify_all();
  work(0);
  spin_then_sleep(
      spin_, [&] { return running_.load() == 0; },
      [&] {
        int seen = running_.load();
        if (seen != 0) running_.wait(seen);
      });
}

void ThreadPool::work(int thread) {
  for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) (*body_)(i, thread);
}

void ThreadPool::worker_loop(int thread, uint32_t seen) {
  while (true) {
    spin_then_sleep(
        spin_, [&] { return generation_.load() != seen; }, [&] { generation_.wait(seen); });
    if (stopping_) return;
    seen = generation_.load();
    work(thread);
    if (running_.fetch_sub(1) == 1) running_.notify_all();
  }
}

}  // namespace lasnet
