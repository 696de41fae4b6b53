// Serves photographs from threads of your own: threads MODEL PHOTO...
//
// The model is compiled once and shared. First every photograph has a task on the pool, with a session per
// thread (best throughput); then one session spreads each network over the same pool (best latency). The
// answers are the same, bit for bit.
#include <lasnet/engine.h>
#include <lasnet/image.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

/// The program's pool, as simple as can be: a queue of tasks, which are told their thread's number.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this, i] { serve(i); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int threads() const { return static_cast<int>(threads_.size()); }
  std::future<void> submit(std::function<void(int thread)> task) {
    std::packaged_task<void(int)> packaged(std::move(task));
    std::future<void> done = packaged.get_future();
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(packaged));
    }
    changed_.notify_one();
    return done;
  }

 private:
  void serve(int thread) {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      std::packaged_task<void(int)> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task(thread);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void(int)>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

/// Waits for all, then throws what one of them threw: no task outlives what it refers to.
void join(std::vector<std::future<void>>& tasks) {
  for (std::future<void>& task : tasks) task.wait();
  for (std::future<void>& task : tasks) task.get();
}

/// Lets a session use the pool. The thread that runs the session waits, so it must not be one of the pool's.
class PoolExecutor final : public lasnet::Executor {
 public:
  explicit PoolExecutor(Pool& pool) : pool_(pool) {}

  int threads() const override { return pool_.threads(); }
  void parallel_for(int64_t count, lasnet::LoopBody body) override {
    std::atomic<int64_t> next = 0;
    std::vector<std::future<void>> helpers;
    for (int slot = 0; slot < std::min<int64_t>(count, threads()); ++slot) {
      helpers.push_back(pool_.submit([&, slot](int) {
        for (int64_t i = next++; i < count; i = next++) body(i, slot);
      }));
    }
    join(helpers);
  }

 private:
  Pool& pool_;
};

using Logits = std::vector<float>;

std::vector<Logits> one_task_per_photo(Pool& pool,
                                       const std::shared_ptr<const lasnet::Executable>& executable,
                                       const std::vector<lasnet::Tensor>& inputs) {
  std::vector<lasnet::Session> sessions;  // one per thread: a session is used by one thread at a time
  for (int i = 0; i < pool.threads(); ++i) sessions.emplace_back(executable, 1);
  std::vector<Logits> logits(inputs.size());
  std::vector<std::future<void>> tasks;
  for (size_t i = 0; i < inputs.size(); ++i) {
    tasks.push_back(
        pool.submit([&, i](int thread) { logits[i] = sessions[thread].run(inputs[i]).logits.data; }));
  }
  join(tasks);
  return logits;
}

std::vector<Logits> all_threads_per_photo(Pool& pool,
                                          const std::shared_ptr<const lasnet::Executable>& executable,
                                          const std::vector<lasnet::Tensor>& inputs) {
  lasnet::Session session(executable, std::make_shared<PoolExecutor>(pool));
  std::vector<Logits> logits;
  for (const lasnet::Tensor& input : inputs) logits.push_back(session.run(input).logits.data);
  return logits;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "usage: threads MODEL PHOTO...\n"), 2;
  const lasnet::Model model = lasnet::load_model(argv[1]);
  const std::shared_ptr<const lasnet::Executable> executable = lasnet::make_executable(model);
  std::vector<lasnet::Tensor> inputs;
  for (int i = 2; i < argc; ++i) {
    inputs.push_back(lasnet::to_input(
        lasnet::resize_and_crop(lasnet::load_image(argv[i]), model.preprocessing), model.preprocessing));
  }
  Pool pool(2);
  const std::vector<Logits> logits = one_task_per_photo(pool, executable, inputs);
  const bool same = all_threads_per_photo(pool, executable, inputs) == logits;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto best = std::max_element(logits[i].begin(), logits[i].end());
    size_t index = best - logits[i].begin();
    std::string name = model.class_names.empty() ? std::to_string(index) : model.class_names[index];
    std::printf("%s: %s\n", argv[i + 2], name.c_str());
  }
  std::printf("both ways: %s\n", same ? "the same bits" : "different results");
  return same ? 0 : 1;
} catch (const std::exception& error) {  // lasnet::Error is one
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
