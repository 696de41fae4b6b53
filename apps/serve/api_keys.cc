#include "api_keys.h"

#include <algorithm>
#include <cstdint>

#include "base/fail.h"
#include "base/file.h"
#include "base/numbers.h"

namespace lasnet::serve {
namespace {

constexpr size_t kMinKeyBytes = 16, kMaxKeyBytes = 256;
constexpr uint64_t kMaxFile = 64 << 10;

bool is_key(std::string_view text) {
  return text.size() >= kMinKeyBytes && text.size() <= kMaxKeyBytes &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

/// Looks at every character of both, whatever differs.
bool equal_in_constant_time(std::string_view given, std::string_view key) {
  volatile unsigned difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i)
    difference = difference | static_cast<unsigned>(given[i] ^ key[i % key.size()]);
  return difference == 0;
}

}  // namespace

ApiKeys ApiKeys::load(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxFile);
  const std::string text(bytes.begin(), bytes.end());
  ApiKeys keys;
  size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    if (!is_key(line)) {
      fail(
          "{}, line {}: is no key; expected {} to {} visible ASCII characters (openssl rand -hex 32 makes "
          "one)",
          path, number, kMinKeyBytes, kMaxKeyBytes);
    }
    keys.keys_.emplace_back(line);
  }
  if (keys.empty()) fail("{}: has no key; expected one per line", path);
  return keys;
}

bool ApiKeys::accepts(const HttpRequest& request) const {
  if (empty()) return true;
  constexpr std::string_view kScheme = "Bearer ";
  const auto bearer = request.header("authorization");
  if (bearer && bearer->starts_with(kScheme))
    return accepts(std::string_view(*bearer).substr(kScheme.size()));
  const auto key = request.header("x-api-key");
  return key && accepts(std::string_view(*key));
}

bool ApiKeys::accepts(std::string_view given) const {
  bool is_one = false;
  for (const std::string& key : keys_) is_one = equal_in_constant_time(given, key) || is_one;
  return is_one;
}

}  // namespace lasnet::serve
