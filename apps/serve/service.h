// The server without its socket: requests to responses.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api_keys.h"
#include "http.h"
#include "metrics.h"
#include "model_stats.h"
#include "scheduler.h"
#include "served_model.h"

namespace lasnet::serve {

/// What a path means. Of each there are few, so that they can name series of metrics.
enum class Endpoint {
  page,
  metrics,
  server,
  live,
  ready,
  description,
  repository,
  all_stats,
  model,
  model_ready,
  config,
  stats,
  infer,
  unknown
};
struct Route {
  Endpoint endpoint = Endpoint::unknown;
  std::string model = {};    ///< name in the path
  std::string version = {};  ///< "": not said
};
Route route_of(std::string_view path);
std::string to_string(Endpoint endpoint);

/// A file of the page, compiled in; null if there is none of this path.
struct PageFile {
  std::string_view path, content_type, text;
};
const PageFile* find_page_file(std::string_view path);

class Service {
 public:
  using Models = std::map<std::string, std::shared_ptr<const ServedModel>>;
  using Loader = std::function<std::shared_ptr<const ServedModel>(const ModelSource& source)>;
  using KeyLoader = std::function<ApiKeys()>;

  /// Loads the models and keys. Throws Error on one that cannot be, and on two models of a name.
  Service(std::vector<ModelSource> sources, Loader loader, KeyLoader keys, const SchedulerOptions& options);

  /// The answer to a request that can be refused before its body is read; nothing for one that cannot.
  std::optional<HttpResponse> admit(const HttpRequest& head);
  /// Where the binary tensors of a request begin in its body; 0 if it says nothing of any.
  static size_t aligned_byte(const HttpRequest& head);
  /// The answer to a request, which admit() let pass. Never throws. `is_gone`: whether nobody waits for it.
  HttpResponse handle(const HttpRequest& request, const std::function<bool()>& is_gone = {});

  /// Reads models and keys again; what fails stays as it was, and is logged. Whether nothing failed. Requests
  /// go on.
  bool reload();
  /// Not ready any more.
  void begin_drain() { is_draining_ = true; }

  Metrics& metrics() { return metrics_; }
  /// Connections and bodies of the server that this stands behind.
  void set_levels(std::function<Levels()> levels) { levels_ = std::move(levels); }

 private:
  std::shared_ptr<const Models> models() const;
  std::shared_ptr<const ApiKeys> keys() const;
  std::shared_ptr<const ServedModel> find_model(const Route& route) const;
  HttpResponse respond(const Route& route, const HttpRequest& request, const std::function<bool()>& is_gone);
  HttpResponse infer(const Route& route, const HttpRequest& request, const std::function<bool()>& is_gone);
  HttpResponse describe_server() const;
  HttpResponse stats_of_all() const;
  HttpResponse repository() const;
  HttpResponse readiness(bool is_ready) const;

  const std::vector<ModelSource> sources_;
  const Loader loader_;
  const KeyLoader key_loader_;
  Metrics metrics_;
  ModelStats stats_;
  std::function<Levels()> levels_;
  std::atomic<bool> is_draining_ = false;
  mutable std::mutex mutex_;
  std::shared_ptr<const Models> models_;
  std::shared_ptr<const ApiKeys> keys_;
  Scheduler scheduler_;  ///< last: its workers end first
};

}  // namespace lasnet::serve
