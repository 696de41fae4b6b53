// What an HTTP exchange is to the handlers: values, without a socket.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lasnet::serve {

using Json = nlohmann::ordered_json;

/// A request. `body` is memory of the connection, valid until the request is answered.
struct HttpRequest {
  std::string method;                          ///< "GET", "HEAD" or "POST"
  std::string path;                            ///< percent-decoded, without the query
  std::map<std::string, std::string> headers;  ///< by name in lower case
  std::string_view body = {};
  std::string peer = {};  ///< address of the client

  /// The header of this name in lower case; nothing if there is none.
  std::optional<std::string> header(const std::string& name) const;
};

/// A response.
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  Json notes = Json::object();  ///< further fields of the access log's line; not sent
};

/// {"error": message}, as the protocol has it; 429 and 503 also say when to come again.
HttpResponse error_response(int status, const std::string& message);
/// Milliseconds to the microsecond, for the access log.
double rounded_ms(double seconds);
/// The value on one line.
HttpResponse json_response(const Json& json);

}  // namespace lasnet::serve
