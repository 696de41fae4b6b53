// Workers that run inferences, and the bounded queue before them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "inference.h"
#include "metrics.h"

namespace lasnet::serve {

using Clock = std::chrono::steady_clock;

struct SchedulerOptions {
  int workers = 1;     ///< each has a session of its own
  int threads = 1;     ///< of each session
  size_t queue = 128;  ///< inferences that wait, at most
  int max_batch = 1;   ///< images of different requests that run together; 1: they do not
  std::chrono::microseconds batch_delay{0};   ///< how long a run waits for others to join
  std::chrono::milliseconds timeout{30'000};  ///< of a request, from its arrival in the queue
  InferenceLimits limits = {};
};

/// What a request is answered with.
struct Answer {
  std::vector<OutputTensor> outputs;
  AnswerFacts facts;
  StageTimes stages;
  int64_t batch_images = 1;  ///< that ran together
  bool is_first = true;      ///< of those that ran together
};

/// A request that finds an idle worker runs on its own thread, which saves two changes of threads. Requests
/// that wait run on the worker's thread, one after the other.
class Scheduler {
 public:
  /// Starts the workers. Throws Error where the system has no threads.
  Scheduler(const SchedulerOptions& options, Metrics& metrics);
  /// Ends the workers. Nobody may be in run().
  ~Scheduler();

  /// Gives every worker a session for each of the models, which has run once. So the first request finds
  /// plan and memory ready. Requests go on meanwhile. Throws Error where memory or threads lack.
  void warm_up(const std::vector<std::shared_ptr<const ServedModel>>& models);

  /// Waits for a worker, and runs on it. `is_gone` says whether nobody waits for it any more. Throws
  /// RequestError: 429 if the queue is full, 504 after the timeout, or what is wrong with the request. From
  /// any thread.
  Answer run(const Inference& inference, const std::function<bool()>& is_gone = {});

  /// Inferences that wait.
  size_t queue_length() const;
  const SchedulerOptions& options() const { return options_; }

 private:
  class Worker;
  /// An inference on its way. Whoever asked for it owns it, and waits.
  struct Job {
    const Inference& inference;
    const std::function<bool()>& is_gone;
    Clock::time_point arrived, deadline;
    bool is_done = false;
    std::condition_variable done = {};  ///< each waits for its own, so that an answer wakes one thread
    PreparedInput prepared = {};
    Answer answer = {};
    std::exception_ptr error = {};
  };
  using Jobs = std::vector<Job*>;

  /// Waits in the queue until the job is done. Throws RequestError if the queue is full, or if it is late.
  void wait(Job& job, std::unique_lock<std::mutex>& lock);
  /// What a worker's thread does.
  void work(Worker& worker);
  /// Runs the first job with those that can join it, and tells their owners. Unlocks meanwhile.
  void run_jobs(Jobs& jobs, Worker& worker, std::unique_lock<std::mutex>& lock);
  /// Adds the jobs that run together with the first.
  void gather(Jobs& jobs, std::unique_lock<std::mutex>& lock);
  void add_waiting(Jobs& jobs, int64_t& images);
  void stop();

  const SchedulerOptions options_;
  std::vector<std::unique_ptr<Worker>> workers_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Worker*> idle_;  ///< if there is one, nobody waits
  std::deque<Job*> waiting_;
  bool is_ending_ = false;
  std::vector<std::thread> threads_;  ///< one per worker
};

}  // namespace lasnet::serve
