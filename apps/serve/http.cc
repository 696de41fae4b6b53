#include "http.h"

#include <cmath>

#include "base/escape.h"

namespace lasnet::serve {

std::optional<std::string> HttpRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  if (found == headers.end()) return std::nullopt;
  return found->second;
}

HttpResponse error_response(int status, const std::string& message) {
  HttpResponse response = json_response({{"error", as_message(message)}});
  response.status = status;
  response.notes["error"] = message;
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

double rounded_ms(double seconds) { return std::round(1e6 * seconds) / 1e3; }

HttpResponse json_response(const Json& json) {
  HttpResponse response;
  response.body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

}  // namespace lasnet::serve
