#include "network/normalisation.h"

#include <charconv>

#include "base/fail.h"
#include "lasnet/model.h"

namespace lasnet {
namespace {

/// Three numbers with commas, each of which is `allowed`, as `range` says in words.
std::vector<float> parse_colour(const std::string& text, bool (*allowed)(float), const char* range) {
  std::vector<float> values;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at <= end && values.size() < 4;) {
    float value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (stop != end && *stop != ',') || !allowed(value)) break;
    values.push_back(value);
    if (stop == end && values.size() == 3) return values;
    at = stop + 1;
  }
  fail(
      "'{}': expected three numbers {} with commas, of red, green and blue of pixels from 0 to 1 (those of "
      "pixels up to 255, divided by 255), or imagenet, raw or inception",
      text, range);
}

}  // namespace

std::optional<Normalisation> find_normalisation(std::string_view name) {
  const Preprocessing usual;
  if (name == "imagenet") return Normalisation{usual.mean, usual.std};
  if (name == "raw") return Normalisation{{0, 0, 0}, {1, 1, 1}};
  if (name == "inception") return Normalisation{{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
  return std::nullopt;
}

std::vector<float> parse_mean(const std::string& text) {
  if (const auto known = find_normalisation(text)) return known->mean;
  return parse_colour(
      text, [](float x) { return x >= 0 && x <= 1; }, "from 0 to 1");
}

std::vector<float> parse_std(const std::string& text) {
  if (const auto known = find_normalisation(text)) return known->std;
  return parse_colour(
      text, [](float x) { return x > 0 && x <= 1; }, "greater than 0, up to 1");
}

}  // namespace lasnet
