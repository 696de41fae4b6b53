#include "preprocessing_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <string_view>

#include "core/fail.h"
#include "model/metadata.h"

namespace lasnet::cli {
namespace {

/// What networks are usually trained on, by the name that --mean and --std take.
struct Normalisation {
  std::string_view name;
  std::array<float, 3> mean, std;
};
constexpr Normalisation kNormalisations[] = {
    {"imagenet", {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
    {"raw", {0, 0, 0}, {1, 1, 1}},
    {"inception", {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},
};

const Normalisation* find_normalisation(const std::string& name) {
  const auto found = std::ranges::find(kNormalisations, name, &Normalisation::name);
  return found == std::end(kNormalisations) ? nullptr : &*found;
}

std::vector<float> listed(const std::array<float, 3>& values) { return {values.begin(), values.end()}; }

/// "0.485,0.456,0.406": numbers that are `allowed`, which `range` says in words.
std::vector<float> parse_rgb(const std::string& text, const std::function<bool(float)>& allowed,
                             const char* range) {
  std::vector<float> values;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    float value = 0;
    const char* const part_end = part.data() + part.size();
    const auto [end, error] = std::from_chars(part.data(), part_end, value);
    if (error != std::errc() || end != part_end || !allowed(value)) {
      fail(
          "'{}': expected numbers {}, of pixels from 0 to 1 (those of pixels up to 255, divided by 255), or "
          "imagenet, raw or inception",
          part, range);
    }
    values.push_back(value);
  }
  if (values.size() != 3) fail("'{}': expected three numbers with commas, of red, green and blue", text);
  return values;
}

void set_mean(const std::string& text, PreprocessingOptions& options) {
  const Normalisation* const known = find_normalisation(text);
  if (known == nullptr) {
    options.mean = parse_rgb(
        text, [](float x) { return x >= 0 && x <= 1; }, "from 0 to 1");
    return;
  }
  options.mean = listed(known->mean);
  if (!options.std) options.std = listed(known->std);
}

void set_std(const std::string& text, PreprocessingOptions& options) {
  const Normalisation* const known = find_normalisation(text);
  options.std = known != nullptr
                    ? listed(known->std)
                    : parse_rgb(
                          text, [](float x) { return x > 0 && x <= 1; }, "greater than 0, up to 1");
}

}  // namespace

void add_preprocessing_options(CLI::App& app, PreprocessingOptions& options) {
  const std::string group = "Preprocessing (what the file says, else ImageNet's usual one)";
  const auto side = [](uint64_t least) { return whole_number(least, kMaxPreparedSide); };
  app.add_option("--resize", options.resize, "Shorter side of a photograph, px; else 256")
      ->check(side(32))
      ->type_name("N")
      ->group(group);
  app.add_option("--crop", options.crop, "Centre crop, px; 0: none; else 224")
      ->check(side(0))
      ->type_name("N")
      ->group(group);
  add_parsed(
      app, "--mean",
      "Of red, green and blue in 0 ... 1; or with its --std: imagenet (else), raw (0 and 1) or inception "
      "(0.5 and 0.5)",
      [&](const std::string& text) { set_mean(text, options); })
      ->type_name("R,G,B|NAME")
      ->group(group);
  add_parsed(app, "--std", "The same; wins over what --mean NAME says",
             [&](const std::string& text) { set_std(text, options); })
      ->type_name("R,G,B|NAME")
      ->group(group);
}

Preprocessing apply(const PreprocessingOptions& options, Preprocessing preprocessing) {
  preprocessing.resize = options.resize.value_or(preprocessing.resize);
  preprocessing.crop = options.crop.value_or(preprocessing.crop);
  preprocessing.mean = options.mean.value_or(preprocessing.mean);
  preprocessing.std = options.std.value_or(preprocessing.std);
  if (preprocessing.crop > preprocessing.resize) {
    throw UsageError(
        fmt::format("--crop: {} px of images whose shorter side is {} px; expected no more than --resize",
                    preprocessing.crop, preprocessing.resize));
  }
  return preprocessing;
}

}  // namespace lasnet::cli
