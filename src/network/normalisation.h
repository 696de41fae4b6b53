// Mean and standard deviation of a network's inputs as people write them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lasnet {

/// Of red, green and blue, of pixels from 0 to 1.
struct Normalisation {
  std::vector<float> mean, std;
};

/// The one called `imagenet`, `raw` (pixels as they are) or `inception`; nothing for other names.
std::optional<Normalisation> find_normalisation(std::string_view name);

/// "0.485,0.456,0.406" or a name of the above: three numbers from 0 to 1. Throws Error.
std::vector<float> parse_mean(const std::string& text);
/// The same; greater than 0.
std::vector<float> parse_std(const std::string& text);

}  // namespace lasnet
