// A request that is refused.
#pragma once

#include <utility>

#include "base/fail.h"

namespace lasnet::serve {

/// Its message goes to the client, in an answer with this HTTP status.
class RequestError : public Error {
 public:
  RequestError(int status, const std::string& message) : Error(message), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

inline constexpr int kBadRequest = 400, kUnauthorised = 401, kNotFound = 404, kMethodNotAllowed = 405,
                     kRequestTimeout = 408, kTooLarge = 413, kUriTooLong = 414, kUnsupportedMedia = 415,
                     kTooManyRequests = 429, kHeaderTooLarge = 431, kClientGone = 499, kServerFault = 500,
                     kUnavailable = 503, kTimeout = 504;

/// Throws RequestError with status 400.
template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw RequestError(kBadRequest, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lasnet::serve
