#include "network/normalisation.h"

#include "base/fail.h"
#include "base/numbers.h"
#include "lasnet/model.h"

namespace lasnet {
namespace {

/// Three numbers with commas, each of which is `allowed`, as `range` says in words.
std::vector<float> parse_colour(const std::string& text, bool (*allowed)(float), const char* range) {
  const std::vector<std::string_view> parts = split_list(text);
  std::vector<float> values;
  for (const std::string_view part : parts) {
    const auto value = parse_number<float>(part);
    if (value && allowed(*value)) values.push_back(*value);
  }
  if (parts.size() == 3 && values.size() == 3) return values;
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
