// RegNetY (Radosavovic et al., Designing Network Design Spaces) with torchvision's structure and names: every
// stage starts with stride 2, blocks are bottlenecks without expansion, the 3x3 is grouped, and
// Squeeze-and-Excitation follows it with a quarter of the block *input's* channels.
#include <algorithm>
#include <array>

#include "base/fail.h"
#include "network/families.h"

namespace lasnet {
namespace {

struct RegNet {
  const char* name;
  std::array<int, kStages> depths;
  std::array<int, kStages> widths;
  int group_width;
};

constexpr RegNet kRegNets[] = {
    {"regnet_y_400mf", {1, 3, 6, 6}, {48, 104, 208, 440}, 8},
    {"regnet_y_800mf", {1, 3, 8, 2}, {64, 144, 320, 784}, 16},
    {"regnet_y_1_6gf", {2, 6, 17, 2}, {48, 120, 336, 888}, 24},
};
constexpr int kStemChannels = 32;
constexpr int kSqueezeRatio = 4;

BlockSpec make_block(int stage, int index, int in, int out, int group_width, SePool pool) {
  BlockSpec block;
  block.name = fmt::format("trunk_output.block{0}.block{0}-{1}", stage + 1, index);
  block.stage = stage;
  block.in_channels = in;
  block.out_channels = out;
  block.stride = index == 0 ? 2 : 1;
  auto conv = [&](const std::string& part, int from, int kernel, int stride, int groups) {
    std::string name = block.name + "." + part;
    return ConvSpec{name + ".0", name + ".1", from, out, kernel, stride, groups};
  };
  block.convs = {conv("f.a", in, 1, 1, 1), conv("f.b", out, 3, block.stride, out / group_width),
                 conv("f.c", out, 1, 1, 1)};
  block.squeeze_excite = {block.name + ".f.se", out, std::max(in / kSqueezeRatio, 1), pool};
  if (block.stride != 1 || in != out) block.projection = conv("proj", in, 1, block.stride, 1);
  return block;
}

}  // namespace

std::vector<std::string> regnet_names() {
  std::vector<std::string> names;
  for (const RegNet& net : kRegNets) names.emplace_back(net.name);
  return names;
}

void build_regnet(const ArchConfig& arch, ModelSpec& spec) {
  const RegNet& net =
      *std::ranges::find(kRegNets, arch.name, [](const RegNet& n) { return std::string(n.name); });
  if (arch.dilated_stages > 0)
    fail("architecture {}: {} dilated stages; a RegNet has none", arch.name, arch.dilated_stages);
  int channels = scaled_channels(kStemChannels, arch.width);
  spec.stem = {"stem.0", "stem.1", 3, channels, 3, arch.stem == StemKind::imagenet ? 2 : 1, 1};
  spec.stem_pool = false;
  spec.head_name = "fc";
  for (int stage = 0; stage < kStages; ++stage) {
    int out = scaled_channels(net.widths[stage], arch.width, net.group_width);
    for (int index = 0; index < net.depths[stage]; ++index) {
      spec.blocks.push_back(make_block(stage, index, channels, out, net.group_width, arch.se_pool));
      channels = out;
    }
  }
  spec.features = channels;
}

}  // namespace lasnet
