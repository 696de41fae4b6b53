// How a convolution's output channels are cut into blocks of one register tile each: shared by the kernels'
// weight packing and the latency model.
#pragma once

#include <cstdint>
#include <vector>

namespace lasnet {

/// Output channels that one register tile computes, and the input channels that they read: of a grouped
/// convolution those of all groups that the tile touches, with zero weights between.
struct ChannelBlock {
  int channel = 0;      ///< first output channel
  int width = 0;        ///< output channels, a multiple of the vector width
  int input = 0;        ///< first input channel
  int run = 0;          ///< contiguous floats read per tap
  int64_t weights = 0;  ///< offset of the block's [taps][run][width] array

  bool operator==(const ChannelBlock&) const = default;
};

struct GroupedShape {
  int groups = 1, out = 0, group_in = 0;

  int group_out() const { return out / groups; }
};

/// Blocks of at most `block_width` channels: the widest among those with the fewest multiplications by zero.
/// Both widths in floats, the first a multiple of the second. `weights` stay 0.
std::vector<ChannelBlock> cut_channel_blocks(const GroupedShape& shape, int block_width, int vector_width);

/// The same blocks with their input counted in units of so many channels: those that their channels lie in.
std::vector<ChannelBlock> in_units(std::vector<ChannelBlock> blocks, int unit_channels);

}  // namespace lasnet
