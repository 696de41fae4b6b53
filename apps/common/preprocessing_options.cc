#include "preprocessing_options.h"

#include <fmt/format.h>

#include "formats/metadata.h"
#include "network/normalisation.h"

namespace lasnet::cli {
namespace {

/// A name says both, unless --std was given.
void set_mean(const std::string& text, PreprocessingOptions& options) {
  options.mean = parse_mean(text);
  const auto known = find_normalisation(text);
  if (known && !options.std) options.std = known->std;
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
             [&](const std::string& text) { options.std = parse_std(text); })
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
