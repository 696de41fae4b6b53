// From what a user chooses to the description of a whole network.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/enum_names.h"
#include "base/fail.h"
#include "base/numbers.h"
#include "base/suggest.h"
#include "network/families.h"

namespace lasnet {
namespace {

constexpr auto kStems =
    enum_names<StemKind>("stem", {{StemKind::imagenet, "imagenet"}, {StemKind::small, "small"}});
constexpr auto kPools = enum_names<SePool>("pool of Squeeze-and-Excitation",
                                           {{SePool::active, "active"}, {SePool::dense, "dense"}});

/// How texts write kWholeMapGranularity.
constexpr const char* kWholeMap = "layer";

constexpr int kMaxChannels = 1 << 16;
constexpr double kMaxWidth = 32;

bool is_one_of(const std::string& name, const std::vector<std::string>& names) {
  return std::ranges::find(names, name) != names.end();
}

void check_config(const ArchConfig& arch) {
  if (!is_one_of(arch.name, architecture_names())) {
    std::string near = nearest_name(arch.name, architecture_names());
    fail("architecture '{}' is unknown{}; known: {}", arch.name,
         near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
         fmt::join(architecture_names(), ", "));
  }
  if (!(arch.width > 0) || arch.width > kMaxWidth) {
    fail("architecture {}: width multiplier {} is out of range; expected a number > 0 and <= {}", arch.name,
         arch.width, kMaxWidth);
  }
  if (arch.classes < 0 || arch.classes > (1 << 20)) {
    fail("architecture {}: {} classes; expected 1 to {}, or 0 for a backbone without a classifier", arch.name,
         arch.classes, 1 << 20);
  }
  if (arch.dilated_stages < 0 || arch.dilated_stages >= kStages) {
    fail("architecture {}: {} dilated stages; expected 0 to {}, the first one never being dilated", arch.name,
         arch.dilated_stages, kStages - 1);
  }
  for (int s : arch.granularity) {
    if (s >= 1 && s <= kWholeMapGranularity) continue;
    fail("architecture {}: granularity {} is not allowed; S counts output pixels: 1 to {}, or layer",
         arch.name, s, kWholeMapGranularity - 1);
  }
}

void check_channels(const ModelSpec& spec) {
  for (const BlockSpec& block : spec.blocks) {
    for (const ConvSpec& conv : block.convs) {
      if (conv.out_channels <= kMaxChannels) continue;
      fail("architecture {}: width multiplier {} gives {} {} channels; expected at most {}", spec.arch.name,
           spec.arch.width, conv.name, conv.out_channels, kMaxChannels);
    }
  }
}

/// One granularity per stage, or per block.
void set_granularities(ModelSpec& spec) {
  const std::vector<int>& given = spec.arch.granularity;
  if (given.empty()) return;
  bool per_block = given.size() == spec.blocks.size();
  if (!per_block && given.size() != static_cast<size_t>(kStages)) {
    fail("architecture {}: granularity {} has {} entries; expected {} (one per stage) or {} (one per block)",
         spec.arch.name, granularity_to_string(given), given.size(), kStages, spec.blocks.size());
  }
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    spec.blocks[i].granularity = given[per_block ? i : static_cast<size_t>(spec.blocks[i].stage)];
  }
}

std::optional<int> patch_side(std::string_view text) {
  if (text == kWholeMap) return kWholeMapGranularity;
  const auto side = parse_number<int>(text);
  return side && *side >= 1 ? side : std::nullopt;
}

}  // namespace

std::string to_string(StemKind kind) { return kStems.name(kind); }
StemKind parse_stem(const std::string& text) { return kStems.parse(text); }

std::string to_string(SePool pool) { return kPools.name(pool); }
SePool parse_se_pool(const std::string& text) { return kPools.parse(text); }

int scaled_channels(int channels, double width, int multiple) {
  int scaled = static_cast<int>(std::lround(channels * width / multiple)) * multiple;
  return std::max(scaled, multiple);
}

int parse_patch_side(const std::string& text) {
  const std::optional<int> side = patch_side(text);
  if (!side) fail("granularity '{}' is not an integer >= 1, nor layer (one patch per image)", text);
  return *side;
}

std::string patch_side_to_string(int granularity) {
  return granularity == kWholeMapGranularity ? kWholeMap : std::to_string(granularity);
}

std::vector<int> parse_granularity(const std::string& text) {
  if (text.empty() || text == "static") return {};
  if (text == kWholeMap) return std::vector<int>(kStages, kWholeMapGranularity);
  std::vector<int> result;
  for (const std::string_view entry : split(text, '-')) {
    const std::optional<int> side = patch_side(entry);
    if (!side) {
      fail(
          "granularity '{}': entry '{}' is not an integer >= 1, nor layer; expected e.g. 4-4-2-1 (S per "
          "stage or per block), layer or static",
          text, entry);
    }
    result.push_back(*side);
  }
  return result;
}

std::string granularity_to_string(const std::vector<int>& granularity) {
  if (granularity.empty()) return "static";
  std::string text;
  for (const int side : granularity) text += (text.empty() ? "" : "-") + patch_side_to_string(side);
  return text;
}

std::vector<std::string> architecture_names() {
  std::vector<std::string> names = resnet_names();
  std::ranges::copy(regnet_names(), std::back_inserter(names));
  return names;
}

float fresh_masker_bias(const ArchConfig& arch) {
  return is_one_of(arch.name, regnet_names()) ? 10.0f : 5.0f;
}

ModelSpec make_spec(const ArchConfig& arch) {
  check_config(arch);
  ModelSpec spec;
  spec.arch = arch;
  (is_one_of(arch.name, regnet_names()) ? build_regnet : build_resnet)(arch, spec);
  check_channels(spec);
  set_granularities(spec);
  return spec;
}

}  // namespace lasnet
