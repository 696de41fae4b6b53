// Text of foreign files in messages.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace lasnet {

/// At most 80 bytes of the text, everything but printable ASCII escaped as \xNN, so that a message can
/// neither grow with a file nor control a terminal.
inline std::string printable(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string result;
  for (char c : text.substr(0, kShown)) {
    bool plain = c >= ' ' && c <= '~' && c != '\\';
    result += plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return text.size() > kShown ? result + "..." : result;
}

}  // namespace lasnet
