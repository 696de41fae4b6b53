// Triton's statistics of a model: counts and total times since the server began.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "http.h"
#include "scheduler.h"

namespace lasnet::serve {

/// From any thread.
class ModelStats {
 public:
  void count_success(const std::string& model, int64_t images, const Answer& answer, double seconds);
  void count_failure(const std::string& model, double seconds);
  /// An element of "model_stats".
  Json of(const std::string& model) const;

 private:
  struct Duration {
    uint64_t count = 0, ns = 0;
    void add(double seconds);
    Json json() const { return {{"count", count}, {"ns", ns}}; }
  };
  struct Entry {
    uint64_t inferences = 0, executions = 0;
    int64_t last_ms = 0;
    Duration success, fail, queue, input, run, output;
  };

  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace lasnet::serve
