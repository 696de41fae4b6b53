#include "serve_options.h"

#include "base/enum_names.h"
#include "log.h"
#include "session_options.h"

namespace lasnet::serve {
namespace {

using cli::add_number;

constexpr const char* kFooter =
    R"(The server speaks the Open Inference Protocol v2 (REST, with the binary tensor extension): clients of Triton,
KServe and OpenVINO's model server work. GET / is a page with a picture of what is computed, GET /metrics is for
Prometheus. docs/serve.md has all of it.

Signals
  SIGTERM, SIGINT   answers what is under way, then exits with 0
  SIGHUP            reads models and API keys again; one that fails stays as it was

Examples
  lasnet serve models/demo.safetensors
  lasnet serve birds=out/birds.safetensors dogs=out/dogs.safetensors --host 0.0.0.0 --api-key keys.txt
  curl --data-binary @photo.jpg -H 'Inference-Header-Content-Length: 0' localhost:8000/v2/models/demo/infer)";

constexpr auto kLogLevels = enum_names<cli::LogLevel>(
    "log level",
    {{cli::LogLevel::error, "error"}, {cli::LogLevel::warning, "warning"}, {cli::LogLevel::info, "info"}});

/// A number that is stored otherwise than as an int.
template <typename Store>
CLI::Option* add_stored(CLI::App& app, const std::string& name, int low, int high, const std::string& help,
                        Store store) {
  return app.add_option_function<int>(name, store, help)
      ->check(cli::whole_number(static_cast<uint64_t>(low), static_cast<uint64_t>(high)))
      ->type_name("N");
}

void add_limits(CLI::App& app, ServeOptions& options) {
  constexpr const char* kGroup = "Limits";
  add_stored(app, "--queue", 1, 1'000'000,
             "Requests that wait for a worker; more are told to come again [128]",
             [&](int value) { options.scheduler.queue = static_cast<size_t>(value); })
      ->group(kGroup);
  add_stored(app, "--connections", 1, 10'000, "Open at a time, a thread each [256]", [&](int value) {
    options.http.connections = static_cast<size_t>(value);
  })->group(kGroup);
  add_stored(app, "--timeout", 1, 86'400, "Seconds that a request may wait and run [30]", [&](int value) {
    options.scheduler.timeout = std::chrono::seconds(value);
  })->group(kGroup);
  add_stored(app, "--read-timeout", 1, 3600,
             "Seconds for a request's headers, and for its body beside a second for each 64 kB [10]",
             [&](int value) { options.http.read_timeout = std::chrono::seconds(value); })
      ->group(kGroup);
  add_stored(app, "--keep-alive", 1, 86'400, "Seconds that a connection may be idle [60]", [&](int value) {
    options.http.idle_timeout = std::chrono::seconds(value);
  })->group(kGroup);
  add_stored(app, "--drain", 0, 86'400, "Seconds for requests under way after SIGTERM [30]", [&](int value) {
    options.http.drain_timeout = std::chrono::seconds(value);
  })->group(kGroup);
  add_stored(app, "--max-body", 1, 1024,
             "MiB of a request's body; all bodies together may have eight times that [32]",
             [&](int value) {
               options.http.max_body = static_cast<size_t>(value) << 20;
               options.http.max_bodies = 8 * options.http.max_body;
             })
      ->group(kGroup);
  add_number(app, "--max-images", options.scheduler.limits.max_images, 1, 1024, "In a request")
      ->group(kGroup);
  add_stored(app, "--max-pixels", 1, 1 << 30, "Of a photograph, before it takes memory [50000000]",
             [&](int value) { options.scheduler.limits.max_photo_pixels = value; })
      ->group(kGroup);
  add_stored(app, "--max-input-pixels", 1024, 1 << 28,
             "Height x width of the network's input, times the images of a request [4194304]",
             [&](int value) { options.scheduler.limits.max_input_pixels = value; })
      ->group(kGroup);
}

void add_batching(CLI::App& app, ServeOptions& options) {
  constexpr const char* kGroup = "Batching";
  add_number(app, "--batch", options.scheduler.max_batch, 1, 256,
             "Images of different requests that run together, if they wait and have one size and budget")
      ->group(kGroup);
  add_stored(app, "--batch-delay", 0, 1'000'000, "Microseconds that a run waits for others to join [0]",
             [&](int value) { options.scheduler.batch_delay = std::chrono::microseconds(value); })
      ->group(kGroup);
}

void add_access(CLI::App& app, ServeOptions& options) {
  constexpr const char* kGroup = "Access and logs";
  app.add_option("--api-key", options.api_keys,
                 "File with a key per line; requests then need one ('Authorization: Bearer KEY')")
      ->type_name("FILE")
      ->group(kGroup);
  app.add_option("--access-log", options.access_log,
                 "File for a line of JSON per request; SIGHUP opens it again. Default: standard output")
      ->type_name("FILE")
      ->group(kGroup);
  app.add_flag("!--no-access-log", options.has_access_log, "Writes none")
      ->group(kGroup)
      ->excludes("--access-log");
  cli::add_parsed(app, "--log-level", "Of messages on standard error: error, warning or info (the default)",
                  [](const std::string& text) { cli::set_log_level(kLogLevels.parse(text)); })
      ->type_name("LEVEL")
      ->group(kGroup);
}

}  // namespace

void add_serve_options(CLI::App& app, ServeOptions& options) {
  app.add_option(
         "MODEL", options.models,
         "Model files (lasnet convert and lasnet train write them), or NAME=FILE; else the file's name is "
         "the model's")
      ->required();
  app.add_option("--host", options.http.host,
                 "Address to listen on; 0.0.0.0 is every network of this machine")
      ->capture_default_str();
  add_number(app, "--port", options.http.port, 0, 65535, "0: one that is free");
  cli::add_session_options(app, options.session, 0);
  app.get_option("--threads")->description("Of each worker");
  add_number(app, "--workers", options.scheduler.workers, 1, 256, "Requests that run at a time")
      ->group("Engine");
  add_limits(app, options);
  add_batching(app, options);
  add_access(app, options);
  app.footer(kFooter);
}

std::vector<ModelSource> sources_of(const ServeOptions& options) {
  std::vector<ModelSource> sources;
  for (const std::string& model : options.models)
    sources.push_back(cli::as_usage([&] { return parse_model_source(model); }));
  return sources;
}

}  // namespace lasnet::serve
