#include "metrics.h"

#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

#include "lasnet/version.h"

namespace lasnet::serve {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

const prometheus::Histogram::BucketBoundaries kSeconds = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01,
                                                          0.02,   0.03,   0.05,   0.075, 0.1,   0.2,   0.5,
                                                          1,      2,      5,      10,    30};
const prometheus::Histogram::BucketBoundaries kImages = {1, 2, 4, 8, 16, 32, 64};
const prometheus::Histogram::BucketBoundaries kRates = {0, 0.1, 0.25, 0.5, 0.75, 0.9, 1};
const prometheus::Histogram::BucketBoundaries kShares = {0.1, 0.2,  0.3, 0.4, 0.45, 0.5, 0.55,
                                                         0.6, 0.65, 0.7, 0.8, 0.9,  1};

prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

/// Bytes of memory that are in use.
double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

Metrics::Metrics()
    : requests_(BuildCounter()
                    .Name("lasnet_http_requests_total")
                    .Help("Requests that were answered, by route and status")
                    .Register(registry_)),
      reloads_(BuildCounter()
                   .Name("lasnet_reloads_total")
                   .Help("Reloads of the models, by result")
                   .Register(registry_)),
      lost_log_lines_(BuildCounter()
                          .Name("lasnet_access_log_lines_lost_total")
                          .Help("Lines of the access log that its reader was too slow for")
                          .Register(registry_)
                          .Add({})),
      rates_(BuildHistogram()
                 .Name("lasnet_block_rate")
                 .Help("Share of the pixels that a block computed, per image")
                 .Register(registry_)),
      queue_length_(gauge(registry_, "lasnet_queue_length", "Inferences that wait for a worker")),
      connections_(gauge(registry_, "lasnet_connections", "Open connections")),
      body_bytes_(gauge(registry_, "lasnet_body_bytes", "Memory that request bodies take")),
      resident_(gauge(registry_, "process_resident_memory_bytes", "Resident memory")),
      cpu_seconds_(gauge(registry_, "process_cpu_seconds", "Processor time that was used")) {
  BuildGauge()
      .Name("lasnet_build_info")
      .Help("Version of this server")
      .Register(registry_)
      .Add({{"version", LASNET_VERSION}})
      .Set(1);
  gauge(registry_, "process_start_time_seconds", "When the process began, Unix time")
      .Set(static_cast<double>(std::time(nullptr)));
}

void Metrics::count_request(const std::string& route, int status) {
  requests_.Add({{"route", route}, {"code", std::to_string(status)}}).Increment();
}

void Metrics::observe_inference(const std::string& model, double seconds, const StageTimes& stages) {
  const std::lock_guard lock(mutex_);
  const ModelSeries& series = series_of(model);
  series.request->Observe(seconds);
  series.queue->Observe(stages.queue_s);
  series.input->Observe(stages.input_s);
  series.run->Observe(stages.run_s);
  series.output->Observe(stages.output_s);
}

void Metrics::observe_run(const std::string& model, int64_t images, const Trace& trace) {
  const std::lock_guard lock(mutex_);
  ModelSeries& series = series_of(model);
  series.images->Observe(static_cast<double>(images));
  for (const double macs : trace.image_macs)
    series.macs_ratio->Observe(macs / static_cast<double>(trace.static_macs));
  for (const BlockTrace& block : trace.blocks) {
    if (block.granularity == 0) continue;
    prometheus::Histogram*& rates = series.rates[block.name];
    if (rates == nullptr) {
      rates = &rates_.Add({{"model", model}, {"block", block.name}}, kRates);
    }
    for (const double rate : block.rates) rates->Observe(rate);
  }
}

void Metrics::count_reload(bool succeeded) {
  reloads_.Add({{"result", succeeded ? "success" : "failure"}}).Increment();
}

void Metrics::count_lost_log_lines(size_t lines) { lost_log_lines_.Increment(static_cast<double>(lines)); }

std::string Metrics::text(const Levels& levels) {
  queue_length_.Set(static_cast<double>(levels.queue_length));
  connections_.Set(static_cast<double>(levels.connections));
  body_bytes_.Set(static_cast<double>(levels.body_bytes));
  resident_.Set(resident_bytes());
  cpu_seconds_.Set(cpu_seconds());
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

prometheus::Histogram& Metrics::times(const char* name, const char* help, const std::string& model) {
  return BuildHistogram().Name(name).Help(help).Register(registry_).Add({{"model", model}}, kSeconds);
}

Metrics::ModelSeries& Metrics::series_of(const std::string& model) {
  const auto found = models_.find(model);
  if (found != models_.end()) return found->second;
  const auto histogram = [&](const char* name, const char* help, const auto& buckets) {
    return &BuildHistogram().Name(name).Help(help).Register(registry_).Add({{"model", model}}, buckets);
  };
  return models_[model] = {
             .request = &times("lasnet_request_seconds", "From the request's body to its answer", model),
             .queue = &times("lasnet_queue_seconds", "Waiting for a worker", model),
             .input = &times("lasnet_input_seconds", "Decoding and preprocessing", model),
             .run = &times("lasnet_run_seconds", "Running the network", model),
             .output = &times("lasnet_output_seconds", "Making the outputs", model),
             .images = histogram("lasnet_batch_images", "Images that ran together", kImages),
             .macs_ratio = histogram("lasnet_macs_ratio",
                                     "Multiply-accumulates of an image over the static network's", kShares),
             .rates = {}};
}

}  // namespace lasnet::serve
