// What /metrics says, in Prometheus's text format.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lasnet/engine.h"

namespace lasnet::serve {

/// Seconds that a request spent in each part of its way.
struct StageTimes {
  double queue_s = 0, input_s = 0, run_s = 0, output_s = 0;
};

/// Values that are read when somebody asks.
struct Levels {
  size_t queue_length = 0;
  size_t connections = 0;
  size_t body_bytes = 0;
};

/// From any thread.
class Metrics {
 public:
  Metrics();

  /// An answered request. `route` is one of few, whatever clients send.
  void count_request(const std::string& route, int status);
  /// An inference that was answered.
  void observe_inference(const std::string& model, double seconds, const StageTimes& stages);
  /// A run of so many images together.
  void observe_run(const std::string& model, int64_t images, const Trace& trace);
  void count_reload(bool succeeded);
  void count_lost_log_lines(size_t lines);

  std::string text(const Levels& levels);

 private:
  /// The series of one model.
  struct ModelSeries {
    prometheus::Histogram *request, *queue, *input, *run, *output, *images, *macs_ratio;
    std::map<std::string, prometheus::Histogram*> rates;
  };
  ModelSeries& series_of(const std::string& model);
  prometheus::Histogram& times(const char* name, const char* help, const std::string& model);

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>&requests_, &reloads_;
  prometheus::Counter& lost_log_lines_;
  prometheus::Family<prometheus::Histogram>& rates_;
  prometheus::Gauge &queue_length_, &connections_, &body_bytes_, &resident_, &cpu_seconds_;
  std::mutex mutex_;
  std::map<std::string, ModelSeries> models_;
};

}  // namespace lasnet::serve
