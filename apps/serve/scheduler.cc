#include "scheduler.h"

#include <algorithm>
#include <future>
#include <limits>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "base/fail.h"
#include "base/stopwatch.h"
#include "request_error.h"

namespace lasnet::serve {
namespace {

[[noreturn]] void fail_late() {
  throw RequestError(kTimeout,
                     "the request took longer than its time limit; send it again when there is less to do");
}

}  // namespace

/// Sessions, a model each. One thread at a time runs on them: that of a request, or the worker's own.
class Scheduler::Worker {
 public:
  bool is_called = false;          ///< its thread is to run what waits
  std::condition_variable called;  ///< when that changes

  Worker(const SchedulerOptions& options, Metrics& metrics) : options_(options), metrics_(metrics) {}

  void run(const Jobs& jobs) {
    Jobs ready;
    for (Job* const job : jobs) {
      try {
        prepare_job(*job);
        ready.push_back(job);
      } catch (...) {
        job->error = std::current_exception();
      }
    }
    if (ready.empty()) return;
    try {
      run_together(ready);
    } catch (...) {
      for (Job* const job : ready) job->error = std::current_exception();
    }
  }

  /// Makes a session that has run once, for the first request of this model. Others may run meanwhile.
  void warm_up(const ServedModel& model) {
    Entry entry{model.executable, Session(model.executable, options_.threads)};
    const MapSize size = model.usual_size();
    // With every patch active, so that all memory of a run was touched.
    entry.session.run(Tensor({1, 3, size.height, size.width}),
                      {.thresholds = {-std::numeric_limits<float>::infinity()}, .record_masks = false});
    const std::lock_guard lock(warm_mutex_);
    warm_.insert_or_assign(model.name, std::move(entry));
  }

 private:
  struct Entry {
    std::shared_ptr<const Executable> executable;
    Session session;
  };

  void prepare_job(Job& job) {
    if (Clock::now() > job.deadline) fail_late();
    if (job.is_gone && job.is_gone()) throw RequestError(kClientGone, "the client went away");
    const Stopwatch watch;
    job.prepared = prepare(job.inference, options_.limits);
    job.answer.stages.input_s = watch.seconds();
  }

  /// The session of a model; that of its predecessor, before a reload, is let go.
  Session& session_of(const ServedModel& model) {
    const auto found = sessions_.find(model.name);
    if (found != sessions_.end() && found->second.executable == model.executable)
      return found->second.session;
    if (found != sessions_.end()) sessions_.erase(found);
    return sessions_.emplace(model.name, new_entry(model)).first->second.session;
  }

  Entry new_entry(const ServedModel& model) {
    {
      const std::lock_guard lock(warm_mutex_);
      const auto found = warm_.find(model.name);
      if (found != warm_.end() && found->second.executable == model.executable)
        return std::move(warm_.extract(found).mapped());
    }
    return {model.executable, Session(model.executable, options_.threads)};
  }

  /// The inputs of all jobs one behind the other.
  TensorView joined_input(const Jobs& jobs) {
    if (jobs.size() == 1) return jobs.front()->prepared.input;
    joined_.clear();
    int64_t images = 0;
    for (const Job* const job : jobs) {
      joined_.insert(joined_.end(), job->prepared.input.data.begin(), job->prepared.input.data.end());
      images += job->inference.images;
    }
    const FewDimensions& shape = jobs.front()->prepared.input.shape;
    return {{images, shape[1], shape[2], shape[3]}, joined_};
  }

  void run_together(const Jobs& jobs) {
    const Inference& first = jobs.front()->inference;
    const TensorView input = joined_input(jobs);
    const Clock::time_point deadline =
        (*std::ranges::max_element(jobs, {}, [](const Job* job) { return job->deadline; }))->deadline;
    bool is_late = false;
    const std::function<bool()> stop = [&] { return is_late = Clock::now() > deadline; };
    const bool record =
        std::ranges::any_of(jobs, [](const Job* job) { return job->inference.needs_masks(); });
    const Stopwatch watch;
    try {
      session_of(*first.model)
          .run(input,
               {.dense = first.dense, .thresholds = first.thresholds, .record_masks = record, .stop = &stop},
               result_);
    } catch (const Error& error) {
      if (is_late) fail_late();
      throw RequestError(kUnavailable, error.what());
    }
    const double seconds = watch.seconds();
    metrics_.observe_run(first.model->name, input.shape[0], result_.trace);
    int64_t row = 0;
    for (Job* const job : jobs) {
      answer(*job, row, seconds, input.shape[0]);
      row += job->inference.images;
    }
  }

  void answer(Job& job, int64_t row, double seconds, int64_t batch_images) {
    const Stopwatch watch;
    try {
      job.answer.outputs = outputs_of(job.inference, job.prepared, result_, row);
    } catch (...) {
      job.error = std::current_exception();
    }
    job.answer.facts = {.run_ms = 1e3 * result_.trace.seconds,
                        .macs_ratio = macs_ratio_of(result_.trace, row, job.inference.images)};
    job.answer.stages.run_s = seconds;
    job.answer.stages.output_s = watch.seconds();
    job.answer.batch_images = batch_images;
    job.answer.is_first = row == 0;
  }

  const SchedulerOptions& options_;
  Metrics& metrics_;
  std::map<std::string, Entry> sessions_;
  std::mutex warm_mutex_;
  std::map<std::string, Entry> warm_;  ///< those that no request came for yet
  std::vector<float> joined_;
  Result result_;
};

Scheduler::Scheduler(const SchedulerOptions& options, Metrics& metrics) : options_(options) {
  for (int i = 0; i < options_.workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(options_, metrics));
    idle_.push_back(workers_.back().get());
  }
  try {
    for (const auto& worker : workers_) threads_.emplace_back([this, &worker] { work(*worker); });
  } catch (const std::system_error& error) {
    const size_t started = threads_.size();
    stop();
    fail("workers: cannot start thread {} of {}: {}", started + 1, options_.workers, error.what());
  }
}

Scheduler::~Scheduler() { stop(); }

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  for (const auto& worker : workers_) worker->called.notify_one();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Scheduler::warm_up(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  std::vector<std::future<void>> each;
  for (const auto& worker : workers_) {
    each.push_back(std::async(std::launch::async, [&] {
      for (const auto& model : models) worker->warm_up(*model);
    }));
  }
  for (std::future<void>& one : each) one.get();
}

Answer Scheduler::run(const Inference& inference, const std::function<bool()>& is_gone) {
  const Clock::time_point now = Clock::now();
  std::chrono::microseconds timeout = options_.timeout;
  if (inference.timeout) timeout = std::min(timeout, *inference.timeout);
  Job job{.inference = inference, .is_gone = is_gone, .arrived = now, .deadline = now + timeout};
  std::unique_lock lock(mutex_);
  if (idle_.empty()) {
    wait(job, lock);
  } else {
    Jobs jobs = {&job};
    Worker& worker = *idle_.back();  // the last one's memory is still in the caches
    idle_.pop_back();
    run_jobs(jobs, worker, lock);
    worker.is_called = !waiting_.empty();
    if (worker.is_called) {
      worker.called.notify_one();
    } else {
      idle_.push_back(&worker);
    }
  }
  lock.unlock();
  if (job.error) std::rethrow_exception(job.error);
  return std::move(job.answer);
}

void Scheduler::wait(Job& job, std::unique_lock<std::mutex>& lock) {
  if (waiting_.size() >= options_.queue) {
    throw RequestError(
        kTooManyRequests,
        fmt::format("{} requests wait already, which is all that may; come again", waiting_.size()));
  }
  waiting_.push_back(&job);
  if (options_.batch_delay.count() > 0) arrived_.notify_all();
  if (job.done.wait_until(lock, job.deadline, [&] { return job.is_done; })) return;
  if (std::erase(waiting_, &job) > 0) fail_late();
  job.done.wait(lock, [&] { return job.is_done; });  // a worker has it, and stops between two blocks
}

void Scheduler::work(Worker& worker) {
  Jobs jobs;
  jobs.reserve(static_cast<size_t>(options_.max_batch));  // so that nothing here can fail
  std::unique_lock lock(mutex_);
  while (true) {
    worker.called.wait(lock, [&] { return is_ending_ || worker.is_called; });
    if (is_ending_) return;
    worker.is_called = false;
    while (!waiting_.empty()) {
      jobs.push_back(waiting_.front());
      waiting_.pop_front();
      run_jobs(jobs, worker, lock);
      jobs.clear();
    }
    idle_.push_back(&worker);
  }
}

void Scheduler::run_jobs(Jobs& jobs, Worker& worker, std::unique_lock<std::mutex>& lock) {
  try {
    gather(jobs, lock);
    lock.unlock();
    worker.run(jobs);
  } catch (...) {  // no memory
    for (Job* const job : jobs) job->error = std::current_exception();
  }
  if (!lock.owns_lock()) lock.lock();
  for (Job* const job : jobs) {  // locked until all are told: a job's owner destroys it
    job->is_done = true;
    job->done.notify_one();
  }
}

size_t Scheduler::queue_length() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

void Scheduler::gather(Jobs& jobs, std::unique_lock<std::mutex>& lock) {
  int64_t images = jobs.front()->inference.images;
  const Clock::time_point until = jobs.front()->arrived + options_.batch_delay;
  add_waiting(jobs, images);
  while (images < options_.max_batch && Clock::now() < until) {
    arrived_.wait_until(lock, until);
    add_waiting(jobs, images);
  }
  const Clock::time_point now = Clock::now();
  for (Job* const job : jobs)
    job->answer.stages.queue_s = std::chrono::duration<double>(now - job->arrived).count();
}

void Scheduler::add_waiting(Jobs& jobs, int64_t& images) {
  const Inference& first = jobs.front()->inference;
  for (auto job = waiting_.begin(); job != waiting_.end();) {
    const Inference& other = (*job)->inference;
    if (images + other.images <= options_.max_batch && first.runs_with(other)) {
      images += other.images;
      jobs.push_back(*job);
      job = waiting_.erase(job);
    } else {
      ++job;
    }
  }
}

}  // namespace lasnet::serve
