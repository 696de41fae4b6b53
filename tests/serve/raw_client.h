// A client that sends what it is told to, however wrong that is.
#pragma once

#include <string>
#include <string_view>

namespace lasnet::serve {

class RawClient {
 public:
  /// Connects to this machine.
  explicit RawClient(int port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  /// Whether all of it could be sent.
  bool send(std::string_view bytes);
  /// A whole response: head and body. "" if the server closed before one came.
  std::string receive();
  /// Whether the server closed the connection, waiting for that for some seconds.
  bool is_closed();
  /// Closes it so that the server sees a reset.
  void reset();

 private:
  bool receive_more();

  int socket_ = -1;
  std::string received_;
};

/// The number behind "HTTP/1.1"; 0 in anything else.
int status_of(const std::string& response);
std::string body_of(const std::string& response);

}  // namespace lasnet::serve
