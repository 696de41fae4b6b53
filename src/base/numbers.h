// Numbers and lists in text, whatever the program's locale is.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

namespace lasnet {

/// All of `text` as a T; nothing if it is no such number or does not fit.
template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The shortest decimal that reads back as this finite float: 0.485 rather than 0.48500001430511475.
inline double shortest_decimal(float value) { return *parse_number<double>(fmt::format("{}", value)); }

/// What stands before, between and behind the separators: one part more than there are separators.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) break;
    begin = end + 1;
  }
  return parts;
}

/// What stands between commas, without the blanks around it.
inline std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> parts = split(text, ',');
  for (std::string_view& part : parts) {
    const size_t begin = std::min(part.find_first_not_of(' '), part.size());
    part = part.substr(begin, part.find_last_not_of(' ') + 1 - begin);
  }
  return parts;
}

}  // namespace lasnet
