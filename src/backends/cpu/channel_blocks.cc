#include "backends/cpu/channel_blocks.h"

#include <algorithm>

#include "base/math.h"

namespace lasnet {
namespace {

/// Blocks of at most `width` output channels.
std::vector<ChannelBlock> cut_blocks(const GroupedShape& shape, int width, int vector_width) {
  std::vector<ChannelBlock> blocks;
  for (int channel = 0; channel < shape.out; channel += width) {
    int end = std::min(channel + width, shape.out);
    int first_group = channel / shape.group_out(), last_group = (end - 1) / shape.group_out();
    blocks.push_back({.channel = channel,
                      .width = static_cast<int>(round_up(end - channel, vector_width)),
                      .input = first_group * shape.group_in,
                      .run = (last_group - first_group + 1) * shape.group_in});
  }
  return blocks;
}

int64_t macs_per_tap(const std::vector<ChannelBlock>& blocks) {
  int64_t macs = 0;
  for (const ChannelBlock& block : blocks) macs += int64_t{block.width} * block.run;
  return macs;
}

}  // namespace

std::vector<ChannelBlock> cut_channel_blocks(const GroupedShape& shape, int block_width, int vector_width) {
  std::vector<ChannelBlock> best = cut_blocks(shape, block_width, vector_width);
  if (shape.groups == 1) return best;
  for (int width = block_width - vector_width; width > 0; width -= vector_width) {
    std::vector<ChannelBlock> blocks = cut_blocks(shape, width, vector_width);
    if (macs_per_tap(blocks) < macs_per_tap(best)) best = std::move(blocks);
  }
  return best;
}

std::vector<ChannelBlock> in_units(std::vector<ChannelBlock> blocks, int unit_channels) {
  for (ChannelBlock& block : blocks) {
    const int end = ceil_div(block.input + block.run, unit_channels);
    block.input /= unit_channels;
    block.run = end - block.input;
  }
  return blocks;
}

}  // namespace lasnet
