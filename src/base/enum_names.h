// Enumerations as text: one table per enumeration, in the order in which messages list the names.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/fail.h"

namespace lasnet {

/// "a", "a or b", "a, b or c".
inline std::string one_of(std::span<const std::string_view> names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

template <class Enum, size_t N>
struct EnumNames {
  std::string_view what;  ///< that the enumeration says, as messages call it: "instruction set"
  std::array<std::pair<Enum, std::string_view>, N> entries;

  std::string name(Enum value) const {
    for (const auto& [entry, name] : entries) {
      if (entry == value) return std::string(name);
    }
    fail("{} {} is unknown", what, static_cast<int>(value));
  }

  /// Throws Error on any other text.
  Enum parse(std::string_view text) const {
    std::array<std::string_view, N> names;
    for (size_t i = 0; i < N; ++i) {
      if (entries[i].second == text) return entries[i].first;
      names[i] = entries[i].second;
    }
    fail("{} '{}' is unknown; expected {}", what, text, one_of(names));
  }
};

/// Of `{{value, "name"}, ...}`.
template <class Enum, size_t N>
constexpr EnumNames<Enum, N> enum_names(std::string_view what,
                                        std::pair<Enum, std::string_view> const (&entries)[N]) {
  return {what, std::to_array(entries)};
}

}  // namespace lasnet
