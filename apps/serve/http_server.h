// HTTP/1.1 over TCP, by cpp-httplib, whose headers only http_server.cc includes. The library parses requests
// and writes responses. Sockets, threads, deadlines and limits are ours, because it has none that hold
// against a slow or hostile client.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "http.h"

namespace lasnet::serve {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 8000;                                  ///< 0: any that is free
  size_t connections = 256;                         ///< open at a time; a thread each
  size_t max_body = 32 << 20;                       ///< bytes of a request's body, decompressed
  size_t max_bodies = 256 << 20;                    ///< bytes of all bodies at a time
  std::chrono::milliseconds read_timeout{10'000};   ///< for the head, and for 640 KB of a body
  std::chrono::milliseconds idle_timeout{60'000};   ///< between the requests of a connection
  std::chrono::milliseconds drain_timeout{30'000};  ///< for what is under way at stop()
};

/// A request that was answered, for the log.
struct Exchange {
  const HttpRequest& request;
  const HttpResponse& response;
  size_t bytes_in = 0, bytes_out = 0;  ///< of bodies
  double seconds = 0;                  ///< from the head to the last byte of the answer
};

struct HttpHandlers {
  /// The answer to a request that can be refused before its body is read; nothing for others.
  std::function<std::optional<HttpResponse>(const HttpRequest& head)> admit;
  /// Which byte of the body is to be aligned, so that numbers there can be used in place. 0: no matter.
  std::function<size_t(const HttpRequest& head)> aligned_byte;
  /// The answer. `is_gone`: whether the client closed the connection.
  std::function<HttpResponse(const HttpRequest& request, const std::function<bool()>& is_gone)> handle;
  /// Told after every answer.
  std::function<void(const Exchange& exchange)> observe;
};

class HttpServer {
 public:
  /// Takes the port. Throws Error naming it if it cannot be had.
  HttpServer(const HttpServerOptions& options, HttpHandlers handlers);
  ~HttpServer();

  /// That it listens on.
  int port() const;
  /// "http://127.0.0.1:8000".
  std::string url() const;
  /// Answers requests until stop(), then until those under way are answered. Handlers are called from many
  /// threads. Whether all ended within the drain timeout.
  bool run();
  /// Takes no connections any more, and ends idle ones. From any thread, once.
  void stop();

  size_t connections() const;
  size_t body_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lasnet::serve
