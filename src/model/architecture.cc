// Architectures as data: ResNets with torchvision's structure (v1.5: a stage's stride sits on the 3x3) and
// names.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>

#include "core/fail.h"
#include "core/suggest.h"
#include "lasnet/model.h"

namespace lasnet {
namespace {

struct ResNetFamily {
  const char* name;
  bool bottleneck;
  std::array<int, 4> depths;
};

constexpr std::array<ResNetFamily, 4> kResNets = {{
    {"resnet18", false, {2, 2, 2, 2}},
    {"resnet34", false, {3, 4, 6, 3}},
    {"resnet50", true, {3, 4, 6, 3}},
    {"resnet101", true, {3, 4, 23, 3}},
}};
constexpr std::array<int, 4> kStageChannels = {64, 128, 256, 512};
constexpr int kStages = 4;
constexpr int kBottleneckExpansion = 4;
constexpr int kChannelMultiple = 8;
constexpr int kMaxChannels = 1 << 16;

const ResNetFamily& find_family(const std::string& name) {
  for (const ResNetFamily& family : kResNets) {
    if (name == family.name) return family;
  }
  std::string near = nearest_name(name, architecture_names());
  fail("architecture '{}' is unknown{}; known: {}", name,
       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), fmt::join(architecture_names(), ", "));
}

int scaled_channels(int channels, double width) {
  int scaled = static_cast<int>(std::lround(channels * width / kChannelMultiple)) * kChannelMultiple;
  return std::max(scaled, kChannelMultiple);
}

void check_config(const ArchConfig& arch) {
  if (!(arch.width > 0) || arch.width * kStageChannels.back() * kBottleneckExpansion > kMaxChannels) {
    fail(
        "architecture {}: width multiplier {} is out of range; expected a number > 0 that leaves at most {} "
        "channels",
        arch.name, arch.width, kMaxChannels);
  }
  if (arch.classes < 1 || arch.classes > (1 << 20)) {
    fail("architecture {}: {} classes; expected 1 to {}", arch.name, arch.classes, 1 << 20);
  }
  for (int s : arch.granularity) {
    if (s < 1)
      fail("architecture {}: granularity {} is not allowed; S counts output pixels and must be >= 1",
           arch.name, s);
  }
}

/// S of each block, from one number per stage or per block.
std::vector<int> block_granularities(const ArchConfig& arch, std::span<const int> depths, int blocks) {
  const std::vector<int>& given = arch.granularity;
  if (given.empty()) return std::vector<int>(blocks, 0);
  if (static_cast<int>(given.size()) == blocks) return given;
  if (given.size() != depths.size()) {
    fail("architecture {}: granularity {} has {} entries; expected {} (one per stage) or {} (one per block)",
         arch.name, granularity_to_string(given), given.size(), depths.size(), blocks);
  }
  std::vector<int> result;
  for (size_t stage = 0; stage < depths.size(); ++stage)
    result.insert(result.end(), depths[stage], given[stage]);
  return result;
}

std::vector<ConvSpec> block_body(const std::string& prefix, bool bottleneck, int in, int middle, int out,
                                 int stride) {
  auto conv = [&](int index, int from, int to, int kernel, int conv_stride) {
    return ConvSpec{fmt::format("{}.conv{}", prefix, index),
                    fmt::format("{}.bn{}", prefix, index),
                    from,
                    to,
                    kernel,
                    conv_stride,
                    1};
  };
  if (!bottleneck) return {conv(1, in, middle, 3, stride), conv(2, middle, out, 3, 1)};
  return {conv(1, in, middle, 1, 1), conv(2, middle, middle, 3, stride), conv(3, middle, out, 1, 1)};
}

BlockSpec make_block(const ResNetFamily& family, int stage, int index, int in, int middle) {
  BlockSpec block;
  block.name = fmt::format("layer{}.{}", stage + 1, index);
  block.stage = stage;
  block.in_channels = in;
  block.out_channels = family.bottleneck ? middle * kBottleneckExpansion : middle;
  block.stride = stage > 0 && index == 0 ? 2 : 1;
  block.convs = block_body(block.name, family.bottleneck, in, middle, block.out_channels, block.stride);
  if (block.stride != 1 || in != block.out_channels) {
    block.projection = ConvSpec{block.name + ".downsample.0",
                                block.name + ".downsample.1",
                                in,
                                block.out_channels,
                                1,
                                block.stride,
                                1};
  }
  return block;
}

ConvSpec make_stem(StemKind kind, int channels) {
  return ConvSpec{"conv1", "bn1", 3, channels, kind == StemKind::imagenet ? 7 : 3, 2, 1};
}

}  // namespace

std::string to_string(StemKind kind) { return kind == StemKind::imagenet ? "imagenet" : "small"; }

StemKind parse_stem(const std::string& text) {
  if (text == "imagenet") return StemKind::imagenet;
  if (text == "small") return StemKind::small;
  fail("stem '{}' is unknown; expected imagenet or small", text);
}

std::vector<int> parse_granularity(const std::string& text) {
  if (text.empty() || text == "static") return {};
  std::vector<int> result;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find('-', begin), text.size());
    int value = 0;
    auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end || value < 1) {
      fail(
          "granularity '{}': entry '{}' is not an integer >= 1; expected e.g. 4-4-2-1 (S per stage or per "
          "block) or "
          "static",
          text, text.substr(begin, end - begin));
    }
    result.push_back(value);
    begin = end + 1;
  }
  return result;
}

std::string granularity_to_string(const std::vector<int>& granularity) {
  return granularity.empty() ? "static" : fmt::format("{}", fmt::join(granularity, "-"));
}

std::vector<std::string> architecture_names() {
  std::vector<std::string> names;
  for (const ResNetFamily& family : kResNets) names.emplace_back(family.name);
  return names;
}

ModelSpec make_spec(const ArchConfig& arch) {
  const ResNetFamily& family = find_family(arch.name);
  check_config(arch);
  ModelSpec spec;
  spec.arch = arch;
  int channels = scaled_channels(kStageChannels[0], arch.width);
  spec.stem = make_stem(arch.stem, channels);
  spec.stem_pool = arch.stem == StemKind::imagenet;
  for (int stage = 0; stage < kStages; ++stage) {
    int middle = scaled_channels(kStageChannels[stage], arch.width);
    for (int index = 0; index < family.depths[stage]; ++index) {
      spec.blocks.push_back(make_block(family, stage, index, channels, middle));
      channels = spec.blocks.back().out_channels;
    }
  }
  spec.features = channels;
  std::vector<int> granularities =
      block_granularities(arch, family.depths, static_cast<int>(spec.blocks.size()));
  for (size_t i = 0; i < spec.blocks.size(); ++i) spec.blocks[i].granularity = granularities[i];
  return spec;
}

}  // namespace lasnet
