#include "base/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace lasnet {
namespace {

constexpr size_t kMaxMessage = 4096;
constexpr size_t kMessageEnd = 1024;  ///< of a cut message: there is what can be done

/// A character of a text: its code point and bytes, or one byte that is no UTF-8.
struct Character {
  uint32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// The first character of a text that is not empty. Overlong forms, surrogates and codes beyond Unicode are
/// not valid.
Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1, true};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {lead, 1, false};
  uint32_t code = lead & (0xFFu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if (!is_continuation(text[i])) return {lead, 1, false};
    code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  }
  constexpr uint32_t kMin[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kMin[bytes] || code > 0x10FFFF || surrogate) return {lead, 1, false};
  return {code, bytes, true};
}

/// Whether a character must not reach a terminal: controls, those that reorder text, line separators, and the
/// byte order mark, which cannot be seen.
bool is_unsafe(uint32_t code) {
  constexpr std::pair<uint32_t, uint32_t> kUnsafe[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0x61C, 0x61C},
                                                       {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2066, 0x2069},
                                                       {0xFEFF, 0xFEFF}};
  return std::any_of(std::begin(kUnsafe), std::end(kUnsafe),
                     [code](const auto& range) { return code >= range.first && code <= range.second; });
}

/// Calls `unsafe(character)` for what must be escaped, whose text it returns.
template <typename Unsafe>
std::string escape(std::string_view text, const Unsafe& unsafe) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.valid && !is_unsafe(character.code)) {
      result += text.substr(0, character.bytes);
    } else {
      result += unsafe(character, text);
    }
    text.remove_prefix(character.bytes);
  }
  return result;
}

std::string escape_of(const Character& character) {
  return !character.valid || character.code < 0x80 ? fmt::format("\\x{:02x}", character.code)
                                                   : fmt::format("\\u{{{:04x}}}", character.code);
}

/// The text's first bytes, at most `bytes`, no character cut in two.
std::string_view beginning(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && is_continuation(text[bytes])) --bytes;
  return text.substr(0, bytes);
}

std::string_view ending(std::string_view text, size_t bytes) {
  size_t begin = text.size() - bytes;
  while (begin < text.size() && is_continuation(text[begin])) ++begin;
  return text.substr(begin);
}

/// A newline stays where a message's further line follows it.
std::string escape_lines(std::string_view text) {
  return escape(text, [](const Character& character, std::string_view rest) {
    return rest.starts_with("\n  ") ? std::string("\n") : escape_of(character);
  });
}

}  // namespace

std::string escaped(std::string_view text) {
  return escape(text, [](const Character& character, std::string_view) { return escape_of(character); });
}

std::string excerpt(std::string_view text, size_t bytes) {
  return escaped(beginning(text, bytes)) + (text.size() > bytes ? "..." : "");
}

std::string as_message(std::string_view text) {
  if (text.size() <= kMaxMessage) return escape_lines(text);
  const std::string_view begin = beginning(text, kMaxMessage - kMessageEnd), end = ending(text, kMessageEnd);
  return fmt::format("{} [... {} bytes are left out ...] {}", escape_lines(begin),
                     text.size() - begin.size() - end.size(), escape_lines(end));
}

std::string escaped_json(std::string_view json) {
  return escape(json, [](const Character& character, std::string_view rest) {
    return rest.starts_with('\n') ? std::string("\n") : fmt::format("\\u{:04x}", character.code);
  });
}

}  // namespace lasnet
