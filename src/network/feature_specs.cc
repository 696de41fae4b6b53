// The maps between stages.
#include <algorithm>

#include "base/fail.h"
#include "lasnet/model.h"

namespace lasnet {
namespace {

/// "layer1.0" -> "layer1"; "trunk_output.block1.block1-0" -> "block1".
std::string stage_name(const BlockSpec& block) {
  const std::string path = block.name.substr(0, block.name.rfind('.'));
  return path.substr(path.rfind('.') + 1);
}

}  // namespace

std::vector<FeatureSpec> feature_specs(const ModelSpec& spec) {
  int stride = spec.stem.stride * (spec.stem_pool ? 2 : 1);
  std::vector<FeatureSpec> specs = {{"stem", spec.stem.out_channels, stride, 0}};
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const BlockSpec& block = spec.blocks[i];
    stride *= block.stride;
    const bool ends_stage = i + 1 == spec.blocks.size() || spec.blocks[i + 1].stage != block.stage;
    if (ends_stage) specs.push_back({stage_name(block), block.out_channels, stride, i + 1});
  }
  return specs;
}

const FeatureSpec& find_feature(const std::vector<FeatureSpec>& specs, const std::string& name) {
  const auto found = std::ranges::find(specs, name, &FeatureSpec::name);
  if (found != specs.end()) return *found;
  std::vector<std::string> names;
  for (const FeatureSpec& feature : specs) names.push_back(feature.name);
  fail("feature '{}': the network has no map of this name; it has {}", name, fmt::join(names, ", "));
}

}  // namespace lasnet
