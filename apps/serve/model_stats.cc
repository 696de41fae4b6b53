#include "model_stats.h"

#include <chrono>

namespace lasnet::serve {

void ModelStats::Duration::add(double seconds) {
  ++count;
  ns += static_cast<uint64_t>(1e9 * seconds);
}

void ModelStats::count_success(const std::string& model, int64_t images, const Answer& answer,
                               double seconds) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[model];
  entry.inferences += static_cast<uint64_t>(images);
  entry.executions += answer.is_first ? 1 : 0;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  entry.last_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  entry.success.add(seconds);
  entry.queue.add(answer.stages.queue_s);
  entry.input.add(answer.stages.input_s);
  entry.run.add(answer.stages.run_s);
  entry.output.add(answer.stages.output_s);
}

void ModelStats::count_failure(const std::string& model, double seconds) {
  const std::lock_guard lock(mutex_);
  entries_[model].fail.add(seconds);
}

Json ModelStats::of(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(model);
  const Entry entry = found == entries_.end() ? Entry{} : found->second;
  const Json inference = {{"success", entry.success.json()},   {"fail", entry.fail.json()},
                          {"queue", entry.queue.json()},       {"compute_input", entry.input.json()},
                          {"compute_infer", entry.run.json()}, {"compute_output", entry.output.json()}};
  return {{"name", model},
          {"version", kModelVersion},
          {"last_inference", entry.last_ms},
          {"inference_count", entry.inferences},
          {"execution_count", entry.executions},
          {"inference_stats", inference},
          {"batch_stats", Json::array()}};
}

}  // namespace lasnet::serve
