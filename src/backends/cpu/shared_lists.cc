#include "backends/cpu/shared_lists.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"

namespace lasnet {

BlockLists* SharedLists::of(const BlockGeometry& geometry, const ListOptions& options) {
  const Key key{geometry.input.height,
                geometry.input.width,
                geometry.middle.height,
                geometry.middle.width,
                geometry.grid.granularity,
                geometry.dilation,
                options};
  auto [entry, is_new] = lists_.try_emplace(key);
  if (is_new) {
    ActiveListBuilder builder(geometry, options, images_);
    bytes_ += 2 * builder.list_bytes();
    if (pass_ == MemoryPass::measure) return &entry->second;
    std::vector<uint8_t> all(images_ * builder.grid().patches(), 1);
    builder.build(all, entry->second.everything);
    builder.reserve(entry->second.current);
  }
  return &entry->second;
}

ListOptions list_options(const BlockSpec& block) {
  return {.stride = block.stride,
          .projected = block.projection.has_value(),
          .by_row = block.squeeze_excite.has_value()};
}

StemPixels stem_pixels(const ConvSpec& stem, const NetworkGeometry& geometry, int64_t images,
                       MemoryPass pass) {
  const int64_t border = stem.padding();
  StemPixels made;
  made.row_pixels = geometry.input.width + 2 * border;
  made.image_pixels = (geometry.input.height + 2 * border) * made.row_pixels;
  if (images * made.image_pixels > std::numeric_limits<int32_t>::max()) {
    fail("a batch of {} images of {} x {} exceeds 2^31 pixels; use a smaller batch", images,
         geometry.input.height, geometry.input.width);
  }
  made.bytes = PixelList::bytes_of(images * geometry.stem.pixels());
  if (pass == MemoryPass::measure) return made;
  made.pixels.reserve(images * geometry.stem.pixels(), images);
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t y = 0; y < geometry.stem.height; ++y) {
      const int64_t in = n * made.image_pixels + (y * stem.stride + border) * made.row_pixels + border;
      made.pixels.append({in, stem.stride, bordered_index(geometry.stem, n, y, 0), geometry.stem.width});
    }
  }
  return made;
}

BlockState::BlockState(CpuBlockProgram block_program, const BlockSpec& spec, const BlockGeometry& geometry,
                       BlockLists* block_lists, int64_t batch)
    : program(std::move(block_program)),
      images(batch),
      lists(block_lists),
      builder(geometry, list_options(spec), batch) {
  const int64_t patch_count = spec.is_dynamic() ? batch * geometry.grid.patches() : 0;
  differences.resize(patch_count);
  patches.resize(patch_count);
  for (const auto& body : program.bodies) computed.resize(std::max(computed.size(), body.size()));
  seconds.resize(computed.size());
}

}  // namespace lasnet
