#include <gtest/gtest.h>

#include "header_block.h"
#include "request_error.h"

namespace lasnet::serve {
namespace {

int status_of(const std::string& text) {
  try {
    read_header_block(text);
  } catch (const RequestError& error) {
    return error.status();
  }
  return 200;
}

std::string with_header(const std::string& line) {
  return "GET / HTTP/1.1\r\nHost: x\r\n" + line + "\r\n\r\n";
}

TEST(HeaderBlock, SaysHowTheBodyComes) {
  const HeaderBlock none = read_header_block("GET / HTTP/1.1\r\n\r\n");
  EXPECT_FALSE(none.has_body());
  const HeaderBlock sized = read_header_block("POST /x HTTP/1.1\r\ncontent-LENGTH: \t12 \r\n\r\n");
  EXPECT_TRUE(sized.has_body());
  EXPECT_EQ(sized.content_length, 12U);
  const HeaderBlock chunked =
      read_header_block("POST /x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nContent-Encoding: GZIP\r\n\r\n");
  EXPECT_TRUE(chunked.is_chunked);
  EXPECT_EQ(chunked.encoding, "gzip");
}

TEST(HeaderBlock, LeavesOutWhatTheLibraryWouldActOn) {
  const std::string text = "GET / HTTP/1.1\r\nRange: bytes=0-1\r\nAccept-Encoding: br\r\nX-Range: 1\r\n\r\n";
  EXPECT_EQ(read_header_block(text).text, "GET / HTTP/1.1\r\nX-Range: 1\r\n\r\n");
}

TEST(HeaderBlock, RefusesWhatTwoReadersCouldReadDifferently) {
  for (const char* const line :
       {"Content-Length: 1\r\nContent-Length: 1", "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: -1", "Content-Length: +1", "Content-Length: 0x10", "Content-Length: 1, 1",
        "Content-Length: 99999999999999999999", "Content-Length:", "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length : 1", " folded: x", "no colon", ": no name", "Na me: x", "X: a\nY: b", "X: a\rY: b"})
    EXPECT_EQ(status_of(with_header(line)), kBadRequest) << line;
  EXPECT_EQ(status_of(with_header(std::string("X: a\0b", 6))), kBadRequest);
  EXPECT_EQ(status_of("GET /\r\n\r\n"), kBadRequest);
  EXPECT_EQ(status_of("GET / a HTTP/1.1\r\n\r\n"), kBadRequest);
  EXPECT_EQ(status_of("\r\n\r\n"), kBadRequest);
  EXPECT_EQ(status_of("GET /\x01 HTTP/1.1\r\n\r\n"), kBadRequest);
}

TEST(HeaderBlock, BoundsEverything) {
  EXPECT_EQ(status_of("GET /" + std::string(kMaxTargetBytes, 'a') + " HTTP/1.1\r\n\r\n"), kUriTooLong);
  EXPECT_EQ(status_of(with_header("X: " + std::string(kMaxHeaderLine, 'a'))), kHeaderTooLarge);
  std::string many = "GET / HTTP/1.1\r\n";
  for (size_t i = 0; i < kMaxHeaders; ++i) many += "X: a\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), 200);
  EXPECT_EQ(status_of(many + "X: a\r\n\r\n"), kHeaderTooLarge);
}

}  // namespace
}  // namespace lasnet::serve
