#include "service.h"

#include <algorithm>
#include <utility>

#include "base/enum_names.h"
#include "base/escape.h"
#include "base/names.h"
#include "base/numbers.h"
#include "base/stopwatch.h"
#include "infer_request.h"
#include "lasnet/version.h"
#include "log.h"
#include "request_error.h"

namespace lasnet::serve {
namespace {

constexpr auto kEndpoints = enum_names<Endpoint>("endpoint", {{Endpoint::page, "page"},
                                                              {Endpoint::metrics, "metrics"},
                                                              {Endpoint::server, "server"},
                                                              {Endpoint::live, "live"},
                                                              {Endpoint::ready, "ready"},
                                                              {Endpoint::description, "description"},
                                                              {Endpoint::repository, "repository"},
                                                              {Endpoint::all_stats, "stats_of_all"},
                                                              {Endpoint::model, "model"},
                                                              {Endpoint::model_ready, "model_ready"},
                                                              {Endpoint::config, "config"},
                                                              {Endpoint::stats, "stats"},
                                                              {Endpoint::infer, "infer"},
                                                              {Endpoint::unknown, "unknown"}});

/// "/v2/models/NAME[/versions/VERSION][/ACTION]", split after "models".
Route model_route(const std::vector<std::string_view>& parts) {
  Route route{.model = std::string(parts[0])};
  size_t next = 1;
  if (parts.size() > 2 && parts[1] == "versions") {
    route.version = parts[2];
    next = 3;
  }
  if (parts.size() > next + 1 || route.model.empty()) return {};
  const std::string_view action = parts.size() > next ? parts[next] : std::string_view();
  route.endpoint = action.empty()       ? Endpoint::model
                   : action == "ready"  ? Endpoint::model_ready
                   : action == "config" ? Endpoint::config
                   : action == "stats"  ? Endpoint::stats
                   : action == "infer"  ? Endpoint::infer
                                        : Endpoint::unknown;
  return route;
}

constexpr const char* kJsonSizeHeader = "inference-header-content-length";

bool takes_post(Endpoint endpoint) { return endpoint == Endpoint::infer || endpoint == Endpoint::repository; }

/// Load balancers and people without a key see these.
bool is_open(Endpoint endpoint) {
  return endpoint == Endpoint::page || endpoint == Endpoint::live || endpoint == Endpoint::ready;
}

HttpResponse page_response(const std::string& path) {
  const PageFile* const file = find_page_file(path);
  if (file == nullptr) return error_response(kNotFound, "no such page");
  HttpResponse response;
  response.content_type = file->content_type;
  response.body = file->text;
  response.headers = {{"Content-Security-Policy",
                       "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
                       "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                       "frame-ancestors 'none'"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cache-Control", "no-cache"}};
  return response;
}

Service::Models load_all(const std::vector<ModelSource>& sources, const Service::Loader& loader) {
  Service::Models models;
  for (const ModelSource& source : sources) {
    if (models.contains(source.name))
      fail("MODEL {}: a model of the name '{}' is there already; give another as NAME=FILE", source.path,
           source.name);
    models[source.name] = loader(source);
  }
  return models;
}

}  // namespace

std::string to_string(Endpoint endpoint) { return kEndpoints.name(endpoint); }

Route route_of(std::string_view path) {
  if (find_page_file(path) != nullptr) return {.endpoint = Endpoint::page};
  if (path == "/metrics") return {.endpoint = Endpoint::metrics};
  if (!path.starts_with("/v2")) return {};
  path.remove_prefix(3);
  if (path.ends_with('/')) path.remove_suffix(1);
  if (path.empty()) return {.endpoint = Endpoint::server};
  if (path == "/health/live") return {.endpoint = Endpoint::live};
  if (path == "/health/ready") return {.endpoint = Endpoint::ready};
  if (path == "/lasnet") return {.endpoint = Endpoint::description};
  if (path == "/repository/index") return {.endpoint = Endpoint::repository};
  if (path == "/models/stats") return {.endpoint = Endpoint::all_stats};
  constexpr std::string_view kModels = "/models/";
  if (!path.starts_with(kModels)) return {};
  return model_route(split(path.substr(kModels.size()), '/'));
}

Service::Service(std::vector<ModelSource> sources, Loader loader, KeyLoader keys,
                 const SchedulerOptions& options)
    : sources_(std::move(sources)),
      loader_(std::move(loader)),
      key_loader_(std::move(keys)),
      models_(std::make_shared<const Models>(load_all(sources_, loader_))),
      keys_(std::make_shared<const ApiKeys>(key_loader_())),
      scheduler_(options, metrics_) {
  std::vector<std::shared_ptr<const ServedModel>> all;
  for (const auto& [name, model] : *models_) all.push_back(model);
  scheduler_.warm_up(all);
}

std::shared_ptr<const Service::Models> Service::models() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

std::shared_ptr<const ApiKeys> Service::keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

bool Service::reload() {
  bool succeeded = true;
  const auto attempt = [&](const std::string& what, const auto& function) {
    try {
      function();
    } catch (const std::exception& error) {
      succeeded = false;
      cli::log_error(fmt::format("reload: {} stays as it was: {}", what, error.what()));
    }
  };
  auto models = std::make_shared<Models>(*this->models());
  for (const ModelSource& source : sources_)
    attempt("model " + source.name, [&] {
      const std::shared_ptr<const ServedModel> model = loader_(source);
      scheduler_.warm_up({model});
      (*models)[source.name] = model;
    });
  std::shared_ptr<const ApiKeys> keys = this->keys();
  attempt("the list of API keys", [&] { keys = std::make_shared<const ApiKeys>(key_loader_()); });
  {
    const std::lock_guard lock(mutex_);
    models_ = std::move(models);
    keys_ = std::move(keys);
  }
  metrics_.count_reload(succeeded);
  return succeeded;
}

std::optional<HttpResponse> Service::admit(const HttpRequest& head) {
  const Route route = route_of(head.path);
  if (!is_open(route.endpoint) && !keys()->accepts(head)) {
    HttpResponse response = error_response(
        kUnauthorised, "API key: missing or wrong; expected the header 'Authorization: Bearer KEY'");
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return response;
  }
  if (route.endpoint == Endpoint::unknown)
    return error_response(
        kNotFound,
        fmt::format("{}: there is nothing here; GET /v2 and docs/serve.md say what is", excerpt(head.path)));
  const bool is_get = head.method == "GET" || head.method == "HEAD";
  if (takes_post(route.endpoint) ? head.method != "POST" : !is_get) {
    const char* const expected = takes_post(route.endpoint) ? "POST" : "GET";
    HttpResponse response = error_response(
        kMethodNotAllowed,
        fmt::format("{}: {}; expected {}", excerpt(head.path), excerpt(head.method), expected));
    response.headers.emplace_back("Allow", expected);
    return response;
  }
  if (route.model.empty()) return std::nullopt;
  try {
    find_model(route);
  } catch (const RequestError& error) {
    return error_response(error.status(), error.what());
  }
  return std::nullopt;
}

size_t Service::aligned_byte(const HttpRequest& head) {
  const auto json_size = head.header(kJsonSizeHeader);
  return json_size ? static_cast<size_t>(parse_number<uint64_t>(*json_size).value_or(0)) : 0;
}

HttpResponse Service::handle(const HttpRequest& request, const std::function<bool()>& is_gone) {
  const Route route = route_of(request.path);
  try {
    return respond(route, request, is_gone);
  } catch (const RequestError& error) {
    return error_response(error.status(), error.what());
  } catch (const std::bad_alloc&) {
    return error_response(kUnavailable,
                          "there is not enough memory for this request now; send a smaller one");
  } catch (const std::exception& error) {
    cli::log_error(fmt::format("{}: a fault of the server: {}", request.path, error.what()));
    return error_response(kServerFault, "a fault of the server, which its log describes");
  }
}

HttpResponse Service::respond(const Route& route, const HttpRequest& request,
                              const std::function<bool()>& is_gone) {
  switch (route.endpoint) {
    case Endpoint::page:
      return page_response(request.path);
    case Endpoint::metrics: {
      Levels levels = levels_ ? levels_() : Levels{};
      levels.queue_length = scheduler_.queue_length();
      HttpResponse response;
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body = metrics_.text(levels);
      return response;
    }
    case Endpoint::server:
      return json_response({{"name", "lasnet"},
                            {"version", LASNET_VERSION},
                            {"extensions",
                             {"binary_tensor_data", "classification", "model_configuration",
                              "model_repository", "statistics", "lasnet"}}});
    case Endpoint::live:
      return json_response({{"live", true}});
    case Endpoint::ready:
      return readiness(!is_draining_);
    case Endpoint::description:
      return describe_server();
    case Endpoint::repository:
      return repository();
    case Endpoint::all_stats:
      return stats_of_all();
    case Endpoint::model:
      return json_response(metadata_of(*find_model(route)));
    case Endpoint::model_ready:
      find_model(route);
      return readiness(!is_draining_);
    case Endpoint::config:
      return json_response(config_of(*find_model(route), scheduler_.options().limits.max_images));
    case Endpoint::stats:
      return json_response({{"model_stats", {stats_.of(find_model(route)->name)}}});
    case Endpoint::infer:
      return infer(route, request, is_gone);
    case Endpoint::unknown:
      break;
  }
  throw RequestError(kNotFound, "there is nothing here");
}

std::shared_ptr<const ServedModel> Service::find_model(const Route& route) const {
  const std::shared_ptr<const Models> all = models();
  const auto found = all->find(route.model);
  if (found == all->end()) {
    std::vector<std::string> names;
    for (const auto& [name, model] : *all) names.push_back(name);
    throw RequestError(kNotFound, fmt::format("model '{}': is not served; expected {}", excerpt(route.model),
                                              some_of(names)));
  }
  if (!route.version.empty() && route.version != kModelVersion) {
    throw RequestError(kNotFound, fmt::format("model '{}', version '{}': is not served; expected version {}",
                                              route.model, excerpt(route.version), kModelVersion));
  }
  return found->second;
}

HttpResponse Service::infer(const Route& route, const HttpRequest& request,
                            const std::function<bool()>& is_gone) {
  const Stopwatch watch;
  const std::shared_ptr<const ServedModel> model = find_model(route);
  const InferenceLimits& limits = scheduler_.options().limits;
  try {
    const Inference inference = resolve(
        model, parse_infer_request(request.body, request.header(kJsonSizeHeader), limits.max_values()),
        limits, scheduler_.options().threads);
    const Answer answer = scheduler_.run(inference, is_gone);
    HttpResponse response = infer_response(inference, answer.outputs, answer.facts);
    const double seconds = watch.seconds();
    stats_.count_success(model->name, inference.images, answer, seconds);
    metrics_.observe_inference(model->name, seconds, answer.stages);
    response.notes = {{"model", model->name},
                      {"id", inference.request.id},
                      {"images", inference.images},
                      {"batch", answer.batch_images},
                      {"queue_ms", rounded_ms(answer.stages.queue_s)},
                      {"input_ms", rounded_ms(answer.stages.input_s)},
                      {"run_ms", rounded_ms(answer.stages.run_s)},
                      {"output_ms", rounded_ms(answer.stages.output_s)},
                      {"macs_ratio", answer.facts.macs_ratio}};
    return response;
  } catch (...) {
    stats_.count_failure(model->name, watch.seconds());
    throw;
  }
}

HttpResponse Service::describe_server() const {
  Json list = Json::array();
  for (const auto& [name, model] : *models()) list.push_back(description_of(*model));
  const SchedulerOptions& options = scheduler_.options();
  return json_response({{"version", LASNET_VERSION},
                        {"workers", options.workers},
                        {"threads", options.threads},
                        {"max_photo_pixels", options.limits.max_photo_pixels},
                        {"models", list}});
}

HttpResponse Service::stats_of_all() const {
  Json list = Json::array();
  for (const auto& [name, model] : *models()) list.push_back(stats_.of(name));
  return json_response({{"model_stats", list}});
}

HttpResponse Service::repository() const {
  Json list = Json::array();
  for (const auto& [name, model] : *models())
    list.push_back({{"name", name}, {"version", kModelVersion}, {"state", "READY"}, {"reason", ""}});
  return json_response(list);
}

HttpResponse Service::readiness(bool is_ready) const {
  if (!is_ready) return error_response(kUnavailable, "the server is shutting down");
  return json_response({{"ready", true}});
}

}  // namespace lasnet::serve
