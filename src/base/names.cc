#include "base/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace lasnet {

std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  if (names.empty()) return "none";
  // All but one more would be no shorter than that one.
  const size_t shown = names.size() <= kShown + 1 ? names.size() : kShown;
  const bool quoted = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name.find(',') != std::string::npos;
  });
  std::string text;
  for (size_t i = 0; i < shown; ++i) {
    text += fmt::format("{}{}", i > 0 ? ", " : "", quoted ? "'" + names[i] + "'" : names[i]);
  }
  return shown < names.size() ? text + fmt::format(" ... {} more", names.size() - shown) : text;
}

std::vector<std::string> missing_from(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  const std::set<std::string> known(b.begin(), b.end());
  std::vector<std::string> missing;
  std::copy_if(a.begin(), a.end(), std::back_inserter(missing),
               [&](const std::string& name) { return !known.contains(name); });
  return missing;
}

}  // namespace lasnet
