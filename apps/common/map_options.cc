#include "map_options.h"

#include "base/numbers.h"

namespace lasnet::cli {

void add_map_options(CLI::App& app, MapOptions& options) {
  CLI::Option* const features = app.get_option("--features");
  add_parsed(app, "--maps",
             "Which of them: names with commas, of stem and layer1 to layer4 (of a RegNet block1 to block4); "
             "default all",
             [&](const std::string& text) {
               const std::vector<std::string_view> names = split_list(text);
               options.names.assign(names.begin(), names.end());
             })
      ->type_name("NAMES")
      ->needs(features);
  add_parsed(app, "--map-layout", "Order of their values: nchw (default) or nhwc",
             [&](const std::string& text) { options.layout = parse_map_layout(text); })
      ->needs(features);
}

std::vector<std::string> chosen_maps(const MapOptions& options, const ModelSpec& spec) {
  const std::vector<FeatureSpec> known = feature_specs(spec);
  std::vector<std::string> names = options.names;
  for (const std::string& name : names) as_usage([&] { find_feature(known, name); }, "--maps: ");
  if (names.empty()) std::ranges::transform(known, std::back_inserter(names), &FeatureSpec::name);
  return names;
}

}  // namespace lasnet::cli
