// The head of an HTTP/1.1 request, checked before the HTTP library sees it: sizes, and everything about which
// two programs could be of two minds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lasnet::serve {

inline constexpr size_t kMaxHeaderBytes = 32 << 10;  ///< of request line and headers
inline constexpr size_t kMaxTargetBytes = 2048;      ///< of the request line
inline constexpr size_t kMaxHeaderLine = 8000;
inline constexpr size_t kMaxHeaders = 100;

struct HeaderBlock {
  std::string text;  ///< what the HTTP library reads: without headers that ask it for more than it should do
  uint64_t content_length = 0;
  bool has_length = false;
  bool is_chunked = false;
  std::string encoding = {};  ///< of the body, in lower case; "" or "identity": none

  bool has_body() const { return is_chunked || content_length > 0; }
};

/// Reads a block that ends with an empty line. Throws RequestError.
HeaderBlock read_header_block(std::string_view block);

}  // namespace lasnet::serve
