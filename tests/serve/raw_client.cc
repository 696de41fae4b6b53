#include "raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace lasnet::serve {

RawClient::RawClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{20, 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    throw std::runtime_error("cannot connect");
}

RawClient::~RawClient() {
  if (socket_ >= 0) close(socket_);
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

bool RawClient::receive_more() {
  char bytes[65536];
  const ssize_t count = recv(socket_, bytes, sizeof(bytes), 0);
  if (count <= 0) return false;
  received_.append(bytes, static_cast<size_t>(count));
  return true;
}

std::string RawClient::receive() {
  constexpr std::string_view kEnd = "\r\n\r\n", kLength = "Content-Length: ";
  size_t head = 0;
  while ((head = received_.find(kEnd)) == std::string::npos) {
    if (!receive_more()) return "";
  }
  size_t size = head + kEnd.size();
  const size_t length = received_.find(kLength);
  if (length < head) size += std::strtoul(received_.c_str() + length + kLength.size(), nullptr, 10);
  while (received_.size() < size) {
    if (!receive_more()) return "";
  }
  const std::string response = received_.substr(0, size);
  received_.erase(0, size);
  return response;
}

bool RawClient::is_closed() {
  while (true) {
    char byte = 0;
    const ssize_t count = recv(socket_, &byte, 1, 0);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return true;
    if (count < 0) return false;
  }
}

void RawClient::reset() {
  const linger at_once{1, 0};
  setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(socket_);
  socket_ = -1;
}

int status_of(const std::string& response) {
  constexpr std::string_view kBegin = "HTTP/1.1 ";
  return response.starts_with(kBegin) ? std::atoi(response.c_str() + kBegin.size()) : 0;
}

std::string body_of(const std::string& response) {
  const size_t head = response.find("\r\n\r\n");
  return head == std::string::npos ? "" : response.substr(head + 4);
}

}  // namespace lasnet::serve
