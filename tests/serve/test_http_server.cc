#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "header_block.h"
#include "http_server.h"
#include "raw_client.h"
#include "support/expect_error.h"

namespace lasnet::serve {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// The byte that the header x-aligned names.
size_t aligned_byte_of(const HttpRequest& head) { return std::stoul(head.header("x-aligned").value_or("0")); }

/// A server that answers with what it was sent.
class HttpServerTest : public testing::Test {
 protected:
  explicit HttpServerTest(HttpServerOptions options = {}) {
    options.port = 0;
    options.read_timeout = 400ms;
    options.max_body = 100'000;
    options.max_bodies = 250'000;
    start(options);
  }
  ~HttpServerTest() override {
    if (running_.valid()) stop();
  }

  void start(const HttpServerOptions& options) {
    server_ = std::make_unique<HttpServer>(
        options, HttpHandlers{.admit = [](const HttpRequest& head) -> std::optional<HttpResponse> {
                                if (head.path == "/refused") return error_response(403, "refused");
                                return std::nullopt;
                              },
                              .aligned_byte = aligned_byte_of,
                              .handle =
                                  [this](const HttpRequest& request, const std::function<bool()>& is_gone) {
                                    return answer(request, is_gone);
                                  },
                              .observe =
                                  [this](const Exchange& exchange) {
                                    const std::lock_guard lock(mutex_);
                                    statuses_.push_back(exchange.response.status);
                                  }});
    running_ = std::async(std::launch::async, [this] { return server_->run(); });
  }
  bool stop() {
    server_->stop();
    return running_.get();
  }

  HttpResponse answer(const HttpRequest& request, const std::function<bool()>& is_gone) {
    if (request.path == "/wait") {
      entered_ = true;
      while (!go_on_) std::this_thread::sleep_for(1ms);
      gone_ = is_gone();
    }
    if (request.path == "/address") last_address_ = reinterpret_cast<uintptr_t>(request.body.data());
    HttpResponse response;
    response.content_type = "text/plain";
    response.body = request.method + " " + request.path + " " + std::string(request.body);
    return response;
  }

  int port() const { return server_->port(); }
  /// The response to this and nothing else.
  std::string exchange(std::string_view bytes) {
    RawClient client(port());
    client.send(bytes);
    return client.receive();
  }

  std::unique_ptr<HttpServer> server_;
  std::future<bool> running_;
  std::atomic<uintptr_t> last_address_ = 0;
  std::atomic<bool> entered_ = false, go_on_ = false, gone_ = false;
  std::mutex mutex_;
  std::vector<int> statuses_;
};

std::string post(const std::string& path, const std::string& headers, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body;
}
std::string sized_post(const std::string& body) {
  return post("/x", "Content-Length: " + std::to_string(body.size()) + "\r\n", body);
}
constexpr const char* kGet = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";

std::string gzip(const std::string& text) {
  z_stream stream = {};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(HttpServerTest, ConnectionsAreKept) {
  RawClient client(port());
  for (int i = 0; i < 20; ++i) {
    client.send(i % 2 == 0 ? std::string(kGet) : sized_post("body " + std::to_string(i)));
    const std::string response = client.receive();
    EXPECT_EQ(status_of(response), 200);
    EXPECT_EQ(body_of(response), i % 2 == 0 ? "GET /x " : "POST /x body " + std::to_string(i));
  }
}

TEST_F(HttpServerTest, RequestsMayComeTogetherOrInPieces) {
  RawClient client(port());
  client.send(sized_post("one") + sized_post("two") + kGet);
  EXPECT_EQ(body_of(client.receive()), "POST /x one");
  EXPECT_EQ(body_of(client.receive()), "POST /x two");
  EXPECT_EQ(body_of(client.receive()), "GET /x ");
  for (const char c : sized_post("slow")) client.send({&c, 1});
  EXPECT_EQ(body_of(client.receive()), "POST /x slow");
}

TEST_F(HttpServerTest, LargeBodiesArriveWhole) {
  std::string body(100'000, 'a');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 26);
  EXPECT_EQ(body_of(exchange(sized_post(body))), "POST /x " + body);
}

TEST_F(HttpServerTest, NumbersInABodyAreAligned) {
  const std::string body(1000, 'x');
  for (const size_t byte : {0, 1, 3, 64, 117, 999}) {
    const std::string headers = fmt::format("Content-Length: 1000\r\nx-aligned: {}\r\n", byte);
    EXPECT_EQ(body_of(exchange(post("/address", headers, body))), "POST /address " + body);
    EXPECT_EQ((last_address_ + byte) % 64, 0U) << byte;
  }
}

TEST_F(HttpServerTest, ChunkedAndCompressedBodiesAreTaken) {
  EXPECT_EQ(
      body_of(exchange(post("/x", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))),
      "POST /x abcde");
  const std::string packed = gzip("some text");
  const std::string headers =
      "Content-Encoding: gzip\r\nContent-Length: " + std::to_string(packed.size()) + "\r\n";
  EXPECT_EQ(body_of(exchange(post("/x", headers, packed))), "POST /x some text");
}

TEST_F(HttpServerTest, ADecompressionBombIsRefused) {
  const std::string packed = gzip(std::string(50 << 20, '\0'));
  ASSERT_LT(packed.size(), 100'000U);
  const std::string headers =
      "Content-Encoding: gzip\r\nContent-Length: " + std::to_string(packed.size()) + "\r\n";
  EXPECT_EQ(status_of(exchange(post("/x", headers, packed))), 413);
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  RawClient client(port());
  client.send("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n" + sized_post("y"));
  // Its Content-Length is that of the body which is not there.
  const std::string both = client.receive() + client.receive();
  EXPECT_THAT(both, HasSubstr("Content-Length: 8"));
}

TEST_F(HttpServerTest, WrongRequestsGetAReason) {
  const std::pair<std::string, int> wrong[] = {
      {"\r\n\r\n", 400},
      {"hello\r\n\r\n", 400},
      {"GET / HTTP/9.9\r\n\r\n", 400},
      {"BREW /x HTTP/1.1\r\n\r\n", 400},
      {"GET /x HTTP/1.1\nHost: x\r\n\r\n", 400},
      {post("/x", "Content-Length: x\r\n", ""), 400},
      {post("/x", "Content-Length: 1\r\nContent-Length: 2\r\n", "ab"), 400},
      {post("/x", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
      {post("/x", "Transfer-Encoding: chunked\r\n", "zz\r\n\r\n"), 400},
      {post("/x", "Content-Length: 100001\r\n", ""), 413},
      {post("/x", "Content-Length: 99999999999999\r\n", ""), 413},
      {post("/x", "Content-Encoding: br\r\nContent-Length: 3\r\n", "abc"), 415},
      {post("/x", "Content-Encoding: gzip\r\nContent-Length: 3\r\n", "abc"), 400},
      {post("/refused", "Content-Length: 3\r\n", "abc"), 403},
      {"GET /" + std::string(kMaxTargetBytes, 'a') + " HTTP/1.1\r\n\r\n", 414},
      {"GET /x HTTP/1.1\r\n" + std::string(kMaxHeaderBytes, 'a'), 431},
      {"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 200},
  };
  for (const auto& [bytes, status] : wrong) {
    const std::string response = exchange(bytes);
    EXPECT_EQ(status_of(response), status) << bytes.substr(0, 200);
    if (status != 200) {
      EXPECT_THAT(body_of(response), HasSubstr("{\"error\":")) << bytes.substr(0, 200);
    }
  }
  EXPECT_EQ(status_of(exchange(kGet)), 200);
}

TEST_F(HttpServerTest, ABodyThatIsNotReadEndsTheConnection) {
  for (const std::string& request : {post("/refused", "Content-Length: 3\r\n", "abc"),
                                     std::string("GET /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")}) {
    RawClient client(port());
    client.send(request + kGet);
    EXPECT_THAT(client.receive(), HasSubstr("Connection: close"));
    EXPECT_TRUE(client.is_closed());
  }
}

TEST_F(HttpServerTest, ALongRangeHeaderDoesNoHarm) {
  std::string ranges = "Range: bytes=0-0";
  while (ranges.size() < kMaxHeaderLine - 10) ranges += ",0-0";
  EXPECT_EQ(status_of(exchange("GET /x HTTP/1.1\r\n" + ranges + "\r\n\r\n")), 200);
}

TEST_F(HttpServerTest, ExpectationsAreAnsweredFirst) {
  RawClient client(port());
  client.send("POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(status_of(client.receive()), 100);
  client.send("abc");
  EXPECT_EQ(body_of(client.receive()), "POST /x abc");
}

TEST_F(HttpServerTest, SlowHeadersAreCutOff) {
  RawClient client(port());
  client.send("GET /x HTTP/1.1\r\n");
  for (int i = 0; i < 20 && client.send("X: y\r\n"); ++i) std::this_thread::sleep_for(50ms);
  EXPECT_EQ(status_of(client.receive()), 408);
  EXPECT_TRUE(client.is_closed());
}

TEST_F(HttpServerTest, SlowAndShortBodiesAreCutOff) {
  RawClient slow(port()), shorter(port());
  slow.send("POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
  shorter.send("POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
  for (int i = 0; i < 20 && slow.send("y"); ++i) std::this_thread::sleep_for(50ms);
  EXPECT_EQ(status_of(slow.receive()), 408);
  EXPECT_EQ(status_of(shorter.receive()), 408);
  EXPECT_TRUE(slow.is_closed());
}

TEST_F(HttpServerTest, BodiesShareTheirMemory) {
  std::vector<std::unique_ptr<RawClient>> clients;
  int refused = 0;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<RawClient>(port()));
    clients.back()->send("POST /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
  }
  for (const auto& client : clients) refused += status_of(client->receive()) == 503 ? 1 : 0;
  EXPECT_EQ(refused, 3);
  while (server_->body_bytes() > 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(status_of(exchange(sized_post(std::string(100'000, 'a')))), 200);
}

TEST_F(HttpServerTest, StoppingAnswersWhatIsUnderWay) {
  RawClient idle(port()), busy(port());
  idle.send(kGet);
  idle.receive();
  busy.send("GET /wait HTTP/1.1\r\n\r\n");
  while (!entered_) std::this_thread::sleep_for(1ms);
  server_->stop();
  EXPECT_TRUE(idle.is_closed());
  EXPECT_EQ(running_.wait_for(50ms), std::future_status::timeout);
  go_on_ = true;
  EXPECT_EQ(body_of(busy.receive()), "GET /wait ");
  EXPECT_TRUE(busy.is_closed());
  EXPECT_TRUE(running_.get());
}

TEST_F(HttpServerTest, AClientThatWentAwayIsNoticed) {
  {
    RawClient client(port());
    client.send("GET /wait HTTP/1.1\r\n\r\n");
    while (!entered_) std::this_thread::sleep_for(1ms);
  }
  go_on_ = true;
  EXPECT_TRUE(stop());
  EXPECT_TRUE(gone_);
}

TEST_F(HttpServerTest, ResetsDoNoHarm) {
  for (int i = 0; i < 50; ++i) {
    RawClient client(port());
    client.send(i % 2 == 0 ? "POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc" : kGet);
    client.reset();
  }
  EXPECT_EQ(status_of(exchange(kGet)), 200);
}

TEST_F(HttpServerTest, EveryAnswerIsReportedOnce) {
  exchange(kGet);
  exchange("hello\r\n\r\n");
  exchange(post("/refused", "", ""));
  EXPECT_TRUE(stop());
  EXPECT_THAT(statuses_, testing::UnorderedElementsAre(200, 400, 403));
}

class FewConnections : public HttpServerTest {
 protected:
  FewConnections() : HttpServerTest({.connections = 2}) {}
};

TEST_F(FewConnections, MoreAreTurnedAway) {
  RawClient first(port()), second(port());
  first.send(kGet);
  second.send(kGet);
  EXPECT_EQ(status_of(first.receive()), 200);
  EXPECT_EQ(status_of(second.receive()), 200);
  RawClient third(port());
  EXPECT_EQ(status_of(third.receive()), 503);
  EXPECT_TRUE(third.is_closed());
  first.reset();
  while (server_->connections() > 1) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(status_of(exchange(kGet)), 200);
}

TEST_F(HttpServerTest, APortThatIsTakenIsNamed) {
  EXPECT_ERROR(HttpServer({.port = port()}, {}), HasSubstr("port " + std::to_string(port())));
  EXPECT_ERROR(HttpServer({.host = "203.0.113.1", .port = 0}, {}), HasSubstr("203.0.113.1"));
}

}  // namespace
}  // namespace lasnet::serve
