#include "backends/reference/mask.h"

#include <algorithm>
#include <span>

namespace lasnet::reference {

BlockMask full_mask(const RunRequest& request, size_t block) {
  const MapSize& output = request.geometry.blocks[block].output;
  return {.patches = {},
          .mask = ByteTensor({request.batch(), output.height, output.width}, 1),
          .active_counts = {},
          .dilated_counts = {}};
}

BlockMask decide_mask(const RunRequest& request, size_t block, const std::vector<float>& differences) {
  const BlockGeometry& geometry = request.geometry.blocks[block];
  BlockMask decided = full_mask(request, block);
  for (const float difference : differences)
    decided.patches.push_back(difference >= request.thresholds[block]);
  if (!request.forced_patches[block].empty()) decided.patches = request.forced_patches[block];
  const int64_t pixels = geometry.output.pixels(), patches = geometry.grid.patches();
  std::vector<uint8_t> dilated(geometry.middle.pixels());
  for (int64_t n = 0; n < request.batch(); ++n) {
    const std::span<uint8_t> image = std::span(decided.mask.data).subspan(n * pixels, pixels);
    expand_patches(geometry.grid, std::span(decided.patches).subspan(n * patches, patches), image);
    dilate_mask(image, geometry.output, geometry.dilation_stride, geometry.middle, dilated,
                geometry.dilation);
    decided.active_counts.push_back(std::count(image.begin(), image.end(), uint8_t{1}));
    decided.dilated_counts.push_back(std::count(dilated.begin(), dilated.end(), uint8_t{1}));
  }
  return decided;
}

}  // namespace lasnet::reference
