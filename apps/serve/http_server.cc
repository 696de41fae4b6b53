#include "http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <httplib.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/fail.h"
#include "header_block.h"
#include "log.h"
#include "request_error.h"

namespace lasnet::serve {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr size_t kReceiveBytes = 16 << 10;
constexpr size_t kKeptBody = 1 << 20;    ///< memory of a body that a connection keeps for the next
constexpr size_t kSendBytes = 64 << 10;  ///< answers up to this size leave in one call
constexpr size_t kAlignment = 64;        ///< of tensors in bodies
constexpr double kMinBytesPerMs = 64;    ///< that a client sends and takes
constexpr Milliseconds kLinger{1000};    ///< for a client to read why it was refused
constexpr int kBacklog = 1024;

/// Memory for a body. Pages that no byte arrives for are never touched.
class BodyBuffer {
 public:
  /// Room for so many bytes. That at `aligned` lies as a cache line does.
  char* reserve(size_t bytes, size_t aligned) {
    if (const size_t needed = bytes + kAlignment; needed > capacity_) {
      data_.reset();
      data_ = std::make_unique_for_overwrite<char[]>(needed);
      capacity_ = needed;
    }
    const size_t remainder = (reinterpret_cast<uintptr_t>(data_.get()) + aligned) % kAlignment;
    return data_.get() + (kAlignment - remainder);
  }
  void shrink() {
    if (capacity_ <= kKeptBody) return;
    data_.reset();
    capacity_ = 0;
  }

 private:
  std::unique_ptr<char[]> data_;
  size_t capacity_ = 0;
};

/// A share of the memory for bodies, given back at the end.
class BodyLease {
 public:
  BodyLease(std::atomic<size_t>& used, size_t most) : used_(used), most_(most) {}
  ~BodyLease() { used_ -= held_; }
  BodyLease(const BodyLease&) = delete;
  BodyLease& operator=(const BodyLease&) = delete;

  void take(size_t bytes) {
    held_ += bytes;
    if (used_.fetch_add(bytes) + bytes > most_)
      throw RequestError(kUnavailable,
                         "the bodies of other requests take all memory that they may; come again");
  }

 private:
  std::atomic<size_t>& used_;
  const size_t most_;
  size_t held_ = 0;
};

/// A connection's bytes, each of which has to come or go before a deadline.
class SocketStream final : public httplib::Stream {
 public:
  SocketStream(int socket, int wake) : socket_(socket), wake_(wake) {
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST], service[NI_MAXSERV];
    if (getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof(host), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
      peer_ = host;
      peer_port_ = std::atoi(service);
    }
  }

  const std::string& peer() const { return peer_; }

  void set_deadline(Clock::time_point deadline) { deadline_ = deadline; }
  bool has_input() const { return position_ < input_.size(); }
  bool has_failed() const { return has_failed_; }

  /// Waits for the next request. False: the client closed, was idle for too long, or the server stops.
  bool wait_for_request(Milliseconds idle) {
    if (has_input()) return true;
    pollfd events[] = {{socket_, POLLIN, 0}, {wake_, POLLIN, 0}};
    const int ready = poll_retrying(events, 2, Clock::now() + idle);
    return ready > 0 && events[0].revents != 0;
  }

  /// Takes request line and headers, the empty line included. "": the client closed before the first byte.
  std::string take_header_block() {
    constexpr std::string_view kEnd = "\r\n\r\n";
    input_.erase(0, position_);
    position_ = 0;
    size_t searched = 0;
    while (true) {
      const size_t found = input_.find(kEnd, searched);
      if (found != std::string::npos && found + kEnd.size() <= kMaxHeaderBytes) {
        std::string block = input_.substr(0, found + kEnd.size());
        position_ = found + kEnd.size();
        return block;
      }
      if (input_.size() > kMaxHeaderBytes)
        throw RequestError(kHeaderTooLarge,
                           fmt::format("the headers have more than {} bytes", kMaxHeaderBytes));
      searched = input_.size() - std::min(input_.size(), kEnd.size() - 1);
      const bool is_first = input_.empty();
      if (!receive_more()) {
        if (is_first) return "";
        throw RequestError(kRequestTimeout, "the headers did not come in time, or not whole");
      }
    }
  }
  /// What the HTTP library is to read before further input.
  void put_back(std::string text) { input_.replace(0, position_, text), position_ = 0; }

  /// Fills `to`; false if the client closes or is late.
  bool read_exactly(char* to, size_t bytes) {
    while (bytes > 0) {
      const ssize_t count = read(to, bytes);
      if (count <= 0) return false;
      to += count;
      bytes -= static_cast<size_t>(count);
    }
    return true;
  }

  /// Sends what is held back. False if the client is gone or late.
  bool flush() {
    const bool sent = send_all(output_.data(), output_.size());
    output_.clear();
    return sent;
  }

  /// Whether the client closed its side.
  bool is_gone() const {
    pollfd event{socket_, POLLRDHUP, 0};
    return poll(&event, 1, 0) > 0 && (event.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

  /// Ends the connection so that the client gets what was sent, although it may still be sending itself.
  void close_gently() {
    shutdown(socket_, SHUT_WR);
    const auto until = Clock::now() + kLinger;
    char ignored[kReceiveBytes];
    for (pollfd event{socket_, POLLIN, 0}; poll_retrying(&event, 1, until) > 0;) {
      if (recv(socket_, ignored, sizeof(ignored), MSG_DONTWAIT) <= 0) break;
    }
  }

  // What the HTTP library calls.
  bool is_readable() const override { return true; }
  bool is_writable() const override { return !has_failed_; }
  ssize_t read(char* to, size_t bytes) override {
    if (!output_.empty() && !flush()) return -1;  // "100 Continue" goes before the body comes
    if (has_input()) {
      const size_t count = std::min(bytes, input_.size() - position_);
      std::memcpy(to, input_.data() + position_, count);
      position_ += count;
      return static_cast<ssize_t>(count);
    }
    if (bytes >= kReceiveBytes) return receive(to, bytes);
    if (!receive_more()) return -1;
    return read(to, bytes);
  }
  ssize_t write(const char* from, size_t bytes) override {
    if (has_failed_) return -1;
    if (output_.size() + bytes <= kSendBytes) {
      output_.append(from, bytes);
      return static_cast<ssize_t>(bytes);
    }
    if (!flush() || !send_all(from, bytes)) return -1;
    return static_cast<ssize_t>(bytes);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override { ip = peer_, port = peer_port_; }
  void get_local_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
  socket_t socket() const override { return socket_; }

 private:
  /// Events before `until`; 0 afterwards.
  static int poll_retrying(pollfd* events, nfds_t count, Clock::time_point until) {
    while (true) {
      const auto left = std::chrono::ceil<Milliseconds>(until - Clock::now()).count();
      const int ready = poll(events, count, static_cast<int>(std::max<int64_t>(left, 0)));
      if (ready >= 0 || errno != EINTR) return ready;
    }
  }
  bool wait_until_ready(short what) {
    pollfd event{socket_, what, 0};
    return poll_retrying(&event, 1, deadline_) > 0;
  }
  ssize_t receive(char* to, size_t bytes) {
    while (true) {
      const ssize_t count = recv(socket_, to, bytes, MSG_DONTWAIT);
      if (count >= 0) return count;
      if (errno == EINTR) continue;
      if ((errno != EAGAIN && errno != EWOULDBLOCK) || !wait_until_ready(POLLIN)) return -1;
    }
  }
  bool receive_more() {
    if (position_ == input_.size()) input_.clear(), position_ = 0;
    const size_t before = input_.size();
    input_.resize(before + kReceiveBytes);
    const ssize_t count = receive(input_.data() + before, kReceiveBytes);
    input_.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    return count > 0;
  }
  bool send_all(const char* from, size_t bytes) {
    while (bytes > 0 && !has_failed_) {
      const ssize_t count = send(socket_, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) {
        from += count;
        bytes -= static_cast<size_t>(count);
      } else if (errno != EINTR) {
        has_failed_ = (errno != EAGAIN && errno != EWOULDBLOCK) || !wait_until_ready(POLLOUT);
      }
    }
    return !has_failed_;
  }

  const int socket_, wake_;
  std::string peer_;
  int peer_port_ = 0;
  std::string input_, output_;
  size_t position_ = 0;  ///< in input_, of what was not read yet
  Clock::time_point deadline_ = Clock::time_point::max();
  bool has_failed_ = false;
};

/// What is known of the connection that the calling thread serves, for the library's callbacks.
struct Connection {
  explicit Connection(int socket, int wake) : stream(socket, wake) {}

  SocketStream stream;
  BodyBuffer buffer;
  HeaderBlock head;
  HttpRequest request;
  HttpResponse response;
  size_t bytes_in = 0, bytes_out = 0;
  bool is_body_read = false;
  bool is_misread = false;  ///< by the library, which leaves the rest of what it refuses
};
thread_local Connection* current = nullptr;

HttpRequest request_of(const httplib::Request& from) {
  HttpRequest request{
      .method = from.method, .path = from.path, .headers = {}, .body = {}, .peer = from.remote_addr};
  for (const auto& [name, value] : from.headers) {
    std::string key = name;
    std::ranges::transform(key, key.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers.emplace(std::move(key), value);
  }
  return request;
}

/// Threads for connections, started when they are needed and never more than allowed.
class ConnectionThreads {
 public:
  ConnectionThreads(size_t most, std::function<void(int socket)> serve)
      : most_(most), serve_(std::move(serve)) {}
  ~ConnectionThreads() { join(); }

  /// Whether a thread took the connection.
  bool give(int socket) {
    const std::lock_guard lock(mutex_);
    if (is_ending_) return false;
    if (waiting_.size() >= idle_) {
      if (threads_.size() >= most_) return false;
      try {
        threads_.emplace_back([this] { run(); });
      } catch (const std::system_error&) {
        return false;
      }
      ++idle_;
    }
    waiting_.push_back(socket);
    changed_.notify_one();
    return true;
  }
  size_t busy() const {
    const std::lock_guard lock(mutex_);
    return threads_.size() - idle_;
  }
  /// Waits until no thread serves a connection. Whether that was in time.
  bool wait_until_idle(Clock::time_point until) {
    std::unique_lock lock(mutex_);
    return ended_.wait_until(lock, until, [&] { return waiting_.empty() && idle_ == threads_.size(); });
  }
  void join() {
    {
      const std::lock_guard lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return is_ending_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const int socket = waiting_.front();
      waiting_.pop_front();
      --idle_;
      lock.unlock();
      serve_(socket);
      lock.lock();
      ++idle_;
      ended_.notify_all();
    }
  }

  const size_t most_;
  const std::function<void(int)> serve_;
  mutable std::mutex mutex_;
  std::condition_variable changed_, ended_;
  std::deque<int> waiting_;
  size_t idle_ = 0;  ///< threads without a connection; a new one counts before it runs
  bool is_ending_ = false;
  std::vector<std::thread> threads_;
};

/// The words behind a status; clients only look at the number.
const char* reason_of(int status) {
  switch (status) {
    case kBadRequest:
      return "Bad Request";
    case kRequestTimeout:
      return "Request Timeout";
    case kUriTooLong:
      return "URI Too Long";
    case kHeaderTooLarge:
      return "Request Header Fields Too Large";
    case kUnavailable:
      return "Service Unavailable";
    default:
      return "Refused";
  }
}

/// A response outside the library, for connections that it does not get to see.
std::string plain_response(const HttpResponse& response) {
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
                  response.status, reason_of(response.status), response.content_type, response.body.size());
  for (const auto& [name, value] : response.headers) text += fmt::format("{}: {}\r\n", name, value);
  return text + "\r\n" + response.body;
}

}  // namespace

struct HttpServer::Impl final : httplib::Server {
  Impl(const HttpServerOptions& given, HttpHandlers handlers_given)
      : options(given), handlers(std::move(handlers_given)), wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (wake < 0) fail("http: cannot make an eventfd: {}", std::strerror(errno));
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      return begin(request, response) ? HandlerResponse::Handled : HandlerResponse::Unhandled;
    });
    Post(R"([\s\S]*)", [this](const httplib::Request&, httplib::Response& response,
                              const httplib::ContentReader& reader) { read_encoded(reader, response); });
    set_error_handler(HandlerWithResponse(complete_error));
    set_socket_options([](socket_t socket) {
      const int yes = 1;  // not SO_REUSEPORT, which would let a second server share the port
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    set_keep_alive_max_count(1'000'000);  // there is no limit, but the library says one
    set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(options.idle_timeout).count());
    bind();
  }
  ~Impl() override {
    if (svr_sock_ != INVALID_SOCKET) close(svr_sock_);
    close(wake);
  }

  void bind() {
    errno = 0;
    if (options.port == 0) {
      port = bind_to_any_port(options.host);
    } else {
      port = bind_to_port(options.host, options.port) ? options.port : -1;
    }
    // The library listens with a backlog of 5, which drops connections that come together.
    if (port < 0 || ::listen(svr_sock_, kBacklog) != 0 || fcntl(svr_sock_, F_SETFL, O_NONBLOCK) != 0) {
      fail("host {}, port {}: cannot be listened on: {}", options.host, options.port,
           errno != 0 ? std::strerror(errno) : "expected an address of this machine and a port that is free");
    }
  }

  /// Takes connections until the server stops.
  void accept_all() {
    while (true) {
      pollfd events[] = {{svr_sock_, POLLIN, 0}, {wake, POLLIN, 0}};
      if (poll(events, 2, -1) < 0) continue;
      if ((events[0].revents & POLLIN) == 0) {
        if (is_stopping) break;  // what came before it is answered
        continue;
      }
      const int socket = accept4(svr_sock_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) {
        // No descriptors are left until a connection ends. Other faults are that connection's own.
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
          std::this_thread::sleep_for(Milliseconds(10));
        continue;
      }
      if (!threads.give(socket)) turn_away(socket);
    }
    close(svr_sock_.exchange(INVALID_SOCKET));
  }

  /// Never waits: the client may not read.
  void turn_away(int socket) {
    const std::string text =
        plain_response(error_response(kUnavailable, "all connections that may be open are; come again"));
    send(socket, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    close(socket);
  }

  void serve(int socket) {
    const int yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    {
      Connection connection(socket, wake);
      current = &connection;
      try {
        while (connection.stream.wait_for_request(options.idle_timeout) && serve_one(connection) &&
               !is_stopping) {
        }
      } catch (const std::exception& error) {
        cli::log_error(fmt::format("a connection ended by a fault of the server: {}", error.what()));
      }
      current = nullptr;
    }
    close(socket);
  }

  /// Whether the connection goes on.
  bool serve_one(Connection& connection) {
    SocketStream& stream = connection.stream;
    const Clock::time_point begun = Clock::now();
    stream.set_deadline(begun + options.read_timeout);
    connection.head = {};
    connection.request = {};
    connection.request.peer = stream.peer();
    connection.response = {};
    connection.bytes_in = connection.bytes_out = 0;
    connection.is_body_read = connection.is_misread = false;
    bool is_closed = false;
    try {
      const std::string block = stream.take_header_block();
      if (block.empty()) return false;
      connection.head = read_header_block(block);
      stream.put_back(std::move(connection.head.text));
      BodyLease lease(bodies, options.max_bodies);
      current_lease = &lease;
      const bool succeeded = process_request(stream, is_stopping, is_closed, {});
      current_lease = nullptr;
      stream.set_deadline(writing_deadline(connection.bytes_out));
      if (!succeeded || !stream.flush()) is_closed = true;
    } catch (const RequestError& error) {
      current_lease = nullptr;
      connection.response = error_response(error.status(), error.what());
      const std::string text = plain_response(connection.response);
      connection.bytes_out = connection.response.body.size();
      stream.set_deadline(writing_deadline(text.size()));
      stream.write(text.data(), text.size());
      stream.flush();
      is_closed = true;
    }
    connection.buffer.shrink();
    handlers.observe({connection.request, connection.response, connection.bytes_in, connection.bytes_out,
                      std::chrono::duration<double>(Clock::now() - begun).count()});
    const bool has_rest = connection.is_misread || (connection.head.has_body() && !connection.is_body_read);
    if ((is_closed || has_rest) && !stream.has_failed()) stream.close_gently();
    return !is_closed && !has_rest;
  }

  Clock::time_point deadline_for(size_t bytes) const {
    return Clock::now() + options.read_timeout +
           Milliseconds(static_cast<int64_t>(static_cast<double>(bytes) / kMinBytesPerMs));
  }
  Clock::time_point writing_deadline(size_t bytes) const { return deadline_for(bytes); }

  /// Whether the request is answered. Else the library is to read its body, which is chunked or compressed.
  bool begin(const httplib::Request& from, httplib::Response& to) {
    Connection& connection = *current;
    connection.request = request_of(from);
    if (auto refused = guarded([&] { return refusal(connection); })) {
      answer(std::move(*refused), to);
      return true;
    }
    const bool is_plain = connection.head.encoding.empty() || connection.head.encoding == "identity";
    if (from.method == "POST" && (connection.head.is_chunked || !is_plain)) return false;
    answer(*guarded([&]() -> std::optional<HttpResponse> {
      read_plain(connection);
      return handle(connection);
    }),
           to);
    return true;
  }

  /// The answer to a request whose body is not to be read.
  std::optional<HttpResponse> refusal(const Connection& connection) const {
    const HeaderBlock& head = connection.head;
    if (auto refused = handlers.admit(connection.request)) return refused;
    if (connection.request.method != "POST" || !head.has_body()) return std::nullopt;
    if (head.content_length > options.max_body) fail_too_large();
    const std::string& encoding = head.encoding;
    if (!encoding.empty() && encoding != "identity" && encoding != "gzip" && encoding != "deflate") {
      throw RequestError(kUnsupportedMedia,
                         fmt::format("header Content-Encoding: '{}'; expected gzip or deflate", encoding));
    }
    return std::nullopt;
  }

  [[noreturn]] void fail_too_large() const {
    throw RequestError(
        kTooLarge, fmt::format("body: more than {} bytes, which the server takes at most", options.max_body));
  }
  [[noreturn]] static void fail_short() {
    throw RequestError(kRequestTimeout, "body: did not come in time, or is shorter than Content-Length says");
  }

  /// A body of known length, straight into its memory.
  void read_plain(Connection& connection) const {
    const size_t length = connection.request.method == "POST" ? connection.head.content_length : 0;
    if (length == 0) return;
    current_lease->take(length);
    connection.stream.set_deadline(deadline_for(length));
    char* const body = connection.buffer.reserve(length, handlers.aligned_byte(connection.request));
    if (!connection.stream.read_exactly(body, length)) fail_short();
    connection.is_body_read = true;
    connection.bytes_in = length;
    connection.request.body = {body, length};
  }

  /// A body that the library takes apart, bounded as it grows.
  void read_encoded(const httplib::ContentReader& reader, httplib::Response& to) const {
    Connection& connection = *current;
    std::string body;
    std::optional<RequestError> error;
    connection.stream.set_deadline(deadline_for(options.max_body));
    const bool is_whole = reader([&](const char* data, size_t bytes) {
      try {
        if (body.size() + bytes > options.max_body) fail_too_large();
        current_lease->take(bytes);
        body.append(data, bytes);
      } catch (const RequestError& refused) {
        error = refused;
      }
      return !error;
    });
    if (!is_whole) {
      if (!error)
        error = RequestError(kBadRequest, "body: is not whole, or not in the encoding that its headers say");
      return answer(error_response(error->status(), error->what()), to);
    }
    connection.is_body_read = true;
    connection.bytes_in = body.size();
    connection.request.body = body;
    answer(handle(connection), to);
    connection.request.body = {};
  }

  HttpResponse handle(const Connection& connection) const {
    return handlers.handle(connection.request, [&] { return connection.stream.is_gone(); });
  }

  /// What `function` returns, or the answer to its RequestError.
  template <typename Function>
  static std::optional<HttpResponse> guarded(const Function& function) {
    try {
      return function();
    } catch (const RequestError& error) {
      return error_response(error.status(), error.what());
    } catch (const std::bad_alloc&) {
      return error_response(kUnavailable, "there is not enough memory for this request now");
    }
  }

  /// Fills the library's response. A body that was not read ends the connection.
  void answer(HttpResponse response, httplib::Response& to) const {
    Connection& connection = *current;
    to.status = response.status;
    to.set_header("Content-Type", response.content_type);
    to.set_header("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : response.headers) to.set_header(name, value);
    if (connection.head.has_body() && !connection.is_body_read) to.set_header("Connection", "close");
    connection.bytes_out = response.body.size();
    to.body = std::move(response.body);
    connection.response = std::move(response);
    connection.stream.set_deadline(writing_deadline(connection.bytes_out));
  }

  /// What the library refuses itself has no body yet.
  static HandlerResponse complete_error(const httplib::Request&, httplib::Response& to) {
    if (current->response.status == to.status && !to.body.empty()) return HandlerResponse::Unhandled;
    HttpResponse response = error_response(
        to.status,
        fmt::format("{}: the request is no HTTP/1.1 that this server understands", reason_of(to.status)));
    to.set_header("Content-Type", response.content_type);
    to.set_header("Connection", "close");
    to.body = response.body;
    current->is_misread = true;
    current->bytes_out = response.body.size();
    current->response = std::move(response);
    return HandlerResponse::Handled;
  }

  static thread_local BodyLease* current_lease;

  const HttpServerOptions options;
  const HttpHandlers handlers;
  const int wake;
  int port = -1;
  std::atomic<bool> is_stopping = false;
  std::atomic<size_t> bodies = 0;
  ConnectionThreads threads{options.connections, [this](int socket) { serve(socket); }};
};

thread_local BodyLease* HttpServer::Impl::current_lease = nullptr;

HttpServer::HttpServer(const HttpServerOptions& options, HttpHandlers handlers)
    : impl_(std::make_unique<Impl>(options, std::move(handlers))) {}
HttpServer::~HttpServer() = default;

int HttpServer::port() const { return impl_->port; }

std::string HttpServer::url() const {
  const std::string& host = impl_->options.host;
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return fmt::format("http://{}:{}", is_ipv6 ? "[" + host + "]" : host, impl_->port);
}

bool HttpServer::run() {
  impl_->accept_all();
  return impl_->threads.wait_until_idle(Clock::now() + impl_->options.drain_timeout);
}

void HttpServer::stop() {
  impl_->is_stopping = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(impl_->wake, &one, sizeof(one));
}

size_t HttpServer::connections() const { return impl_->threads.busy(); }
size_t HttpServer::body_bytes() const { return impl_->bodies; }

}  // namespace lasnet::serve
