// Who may use the server.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http.h"

namespace lasnet::serve {

class ApiKeys {
 public:
  /// Everybody may.
  ApiKeys() = default;
  /// Reads a key per line; blank lines and lines that begin with '#' are none. Throws Error naming file and
  /// line on a key shorter than 16 visible ASCII characters, and on a file without keys.
  static ApiKeys load(const std::string& path);

  bool empty() const { return keys_.empty(); }
  /// Whether the request has a key, as "Authorization: Bearer KEY" or "X-API-Key: KEY". The time that this
  /// takes does not depend on how much of a key is right.
  bool accepts(const HttpRequest& request) const;

 private:
  bool accepts(std::string_view key) const;

  std::vector<std::string> keys_;
};

}  // namespace lasnet::serve
