// The options of `lasnet serve`.
#pragma once

#include <string>
#include <vector>

#include "cli.h"
#include "http_server.h"
#include "lasnet/engine.h"
#include "scheduler.h"

namespace lasnet::serve {

struct ServeOptions {
  std::vector<std::string> models;
  SessionOptions session;
  HttpServerOptions http;
  SchedulerOptions scheduler;
  std::string api_keys;    ///< file; "": everybody may
  std::string access_log;  ///< file; "": standard output
  bool has_access_log = true;
};

void add_serve_options(CLI::App& app, ServeOptions& options);
/// The models' names and files. Throws UsageError.
std::vector<ModelSource> sources_of(const ServeOptions& options);

}  // namespace lasnet::serve
