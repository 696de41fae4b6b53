// ResNets with torchvision's structure and names.
#include <algorithm>
#include <array>

#include "base/fail.h"
#include "network/families.h"

namespace lasnet {
namespace {

struct ResNet {
  const char* name;
  bool bottleneck;
  std::array<int, kStages> depths;
  int groups = 1;
  int width_per_group = 64;  ///< of the first stage's 3x3
};

constexpr ResNet kResNets[] = {
    {"resnet18", false, {2, 2, 2, 2}},
    {"resnet34", false, {3, 4, 6, 3}},
    {"resnet50", true, {3, 4, 6, 3}},
    {"resnet101", true, {3, 4, 23, 3}},
    {"resnet152", true, {3, 8, 36, 3}},
    {"resnext50_32x4d", true, {3, 4, 6, 3}, 32, 4},
    {"resnext101_32x8d", true, {3, 4, 23, 3}, 32, 8},
    {"wide_resnet50_2", true, {3, 4, 6, 3}, 1, 128},
    {"wide_resnet101_2", true, {3, 4, 23, 3}, 1, 128},
};
constexpr std::array<int, kStages> kStageChannels = {64, 128, 256, 512};
constexpr int kBottleneckExpansion = 4;

/// A block's channels: of its input, between its convolutions, of its output.
struct Channels {
  int in, middle, out;
};

/// Of a block's 3x3: where it reads. At most one of them is more than 1.
struct Window {
  int stride = 1, dilation = 1;
};

std::vector<ConvSpec> block_body(const std::string& prefix, const ResNet& net, Channels c, Window window) {
  auto conv = [&](int index, int from, int to, int kernel, Window at, int groups) {
    return ConvSpec{fmt::format("{}.conv{}", prefix, index),
                    fmt::format("{}.bn{}", prefix, index),
                    from,
                    to,
                    kernel,
                    at.stride,
                    groups,
                    at.dilation};
  };
  if (!net.bottleneck) return {conv(1, c.in, c.middle, 3, window, 1), conv(2, c.middle, c.out, 3, {}, 1)};
  return {conv(1, c.in, c.middle, 1, {}, 1), conv(2, c.middle, c.middle, 3, window, net.groups),
          conv(3, c.middle, c.out, 1, {}, 1)};
}

/// As torchvision has it: the first block of a dilated stage keeps the dilation of the stage before.
Window window_of(const ArchConfig& arch, int stage, int index) {
  const int dilated = stage - (kStages - arch.dilated_stages) + 1;  // how many stages, with this one
  if (dilated < 1) return {.stride = stage > 0 && index == 0 ? 2 : 1};
  return {.dilation = index == 0 ? 1 << (dilated - 1) : 1 << dilated};
}

BlockSpec make_block(const ResNet& net, int stage, int index, Channels channels, Window window) {
  BlockSpec block;
  block.name = fmt::format("layer{}.{}", stage + 1, index);
  block.stage = stage;
  block.in_channels = channels.in;
  block.out_channels = channels.out;
  block.stride = window.stride;
  block.convs = block_body(block.name, net, channels, window);
  if (block.stride != 1 || channels.in != channels.out) {
    block.projection = ConvSpec{block.name + ".downsample.0",
                                block.name + ".downsample.1",
                                channels.in,
                                channels.out,
                                1,
                                block.stride,
                                1};
  }
  return block;
}

/// torchvision: int(planes * width_per_group / 64) * groups.
int bottleneck_channels(const ResNet& net, int planes) {
  return std::max(planes * net.width_per_group / 64, 1) * net.groups;
}

}  // namespace

std::vector<std::string> resnet_names() {
  std::vector<std::string> names;
  for (const ResNet& net : kResNets) names.emplace_back(net.name);
  return names;
}

void build_resnet(const ArchConfig& arch, ModelSpec& spec) {
  const ResNet& net =
      *std::ranges::find(kResNets, arch.name, [](const ResNet& n) { return std::string(n.name); });
  if (!net.bottleneck && arch.dilated_stages > 0) {
    fail(
        "architecture {}: {} dilated stages; only ResNets with bottleneck blocks, from resnet50 on, have "
        "them",
        arch.name, arch.dilated_stages);
  }
  int channels = scaled_channels(kStageChannels[0], arch.width);
  spec.stem = {"conv1", "bn1", 3, channels, arch.stem == StemKind::imagenet ? 7 : 3, 2, 1};
  spec.stem_pool = arch.stem == StemKind::imagenet;
  spec.head_name = "fc";
  for (int stage = 0; stage < kStages; ++stage) {
    int planes = scaled_channels(kStageChannels[stage], arch.width);
    Channels c = net.bottleneck
                     ? Channels{channels, bottleneck_channels(net, planes), planes * kBottleneckExpansion}
                     : Channels{channels, planes, planes};
    for (int index = 0; index < net.depths[stage]; ++index) {
      spec.blocks.push_back(make_block(net, stage, index, c, window_of(arch, stage, index)));
      c.in = channels = c.out;
    }
  }
  spec.features = channels;
}

}  // namespace lasnet
