#include "header_block.h"

#include <algorithm>
#include <array>

#include "base/escape.h"
#include "base/numbers.h"
#include "request_error.h"

namespace lasnet::serve {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

/// Headers that the library would act on: parts of answers, and compression that costs more than it saves.
constexpr std::array<std::string_view, 3> kDropped = {"range", "if-range", "accept-encoding"};

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; });
  return result;
}

std::string_view trimmed(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// A character of a name, RFC 9110 section 5.6.2.
bool is_token_character(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kOthers.find(c) != std::string_view::npos;
}

void check_request_line(std::string_view line) {
  if (line.size() > kMaxTargetBytes) {
    throw RequestError(kUriTooLong, fmt::format("the request line has {} bytes; expected at most {}",
                                                line.size(), kMaxTargetBytes));
  }
  const auto is_visible = [](char c) { return c >= ' ' && c < 0x7f; };
  if (!std::ranges::all_of(line, is_visible) || std::ranges::count(line, ' ') != 2)
    refuse("request line '{}': expected METHOD TARGET VERSION", excerpt(line));
}

void read_length(std::string_view value, HeaderBlock& block) {
  constexpr uint64_t kMaxLength = uint64_t{1} << 62;
  const auto length = parse_number<uint64_t>(value);
  if (!length || *length > kMaxLength)
    refuse("header Content-Length: '{}'; expected a whole number", excerpt(value));
  if (block.has_length) refuse("header Content-Length: is there twice");
  block.has_length = true;
  block.content_length = *length;
}

/// Whether the library is to see the header.
bool read_header(std::string_view line, HeaderBlock& block) {
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || name.empty() || !std::ranges::all_of(name, is_token_character))
    refuse("header '{}': expected NAME: VALUE", excerpt(line));
  const std::string key = lower(name);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (key == "content-length") {
    read_length(value, block);
  } else if (key == "transfer-encoding") {
    if (lower(value) != "chunked" || block.is_chunked)
      refuse("header Transfer-Encoding: '{}'; expected chunked", excerpt(value));
    block.is_chunked = true;
  } else if (key == "content-encoding") {
    block.encoding = lower(value);
  }
  return std::ranges::find(kDropped, key) == kDropped.end();
}

}  // namespace

HeaderBlock read_header_block(std::string_view text) {
  HeaderBlock block;
  size_t lines = 0;
  while (!text.empty()) {
    const size_t end = text.find(kLineEnd);
    const std::string_view line = text.substr(0, end);
    if (end == std::string_view::npos ||
        line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
      refuse("headers: a line ends otherwise than with CR and LF, or holds a zero byte");
    text.remove_prefix(end + kLineEnd.size());
    if (lines == 0) {
      check_request_line(line);
    } else if (line.empty()) {
      break;
    } else if (lines > kMaxHeaders || line.size() > kMaxHeaderLine) {
      throw RequestError(kHeaderTooLarge, fmt::format("more than {} headers, or one of more than {} bytes",
                                                      kMaxHeaders, kMaxHeaderLine));
    }
    if (lines == 0 || read_header(line, block)) block.text.append(line).append(kLineEnd);
    ++lines;
  }
  block.text += kLineEnd;
  if (block.is_chunked && block.has_length)
    refuse("headers: Content-Length and Transfer-Encoding; expected one of them");
  return block;
}

}  // namespace lasnet::serve
