#include "engine/cpu_memory.h"

#include <algorithm>
#include <limits>

#include "core/fail.h"

namespace lasnet {
namespace {

/// Lists of every pixel: one patch per image, active.
void build_full_lists(const BlockGeometry& geometry, int stride, bool has_projection, int64_t images,
                      ActiveLists& lists) {
  BlockGeometry whole = geometry;
  whole.grid.granularity = static_cast<int>(std::max(geometry.output.height, geometry.output.width));
  std::vector<uint8_t> patches(images, 1);
  ActiveListBuilder(whole, stride, has_projection, images).build(patches, lists);
}

}  // namespace

CpuMemory::CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images)
    : images_(images) {
  plan_stem(executable, geometry);
  CpuMap* x = trunk;
  for (size_t i = 0; i < geometry.blocks.size(); ++i) {
    plan_block(executable, i, geometry.blocks[i], x);
    x = blocks.back().y;
  }
  plan_head(executable);
}

CpuMap* CpuMemory::new_map(MapSize size, int64_t channels) {
  return &maps_.emplace_back(size, channels, images_);
}

CpuMap* CpuMemory::scratch_map(size_t role, MapSize size, int64_t channels) {
  CpuMap*& map = scratch_[{role, size.height, size.width, channels}];
  if (map == nullptr) map = new_map(size, channels);
  return map;
}

BlockLists* CpuMemory::shared_lists(const BlockGeometry& geometry, int stride, bool has_projection) {
  ListKey key{
      geometry.input.height, geometry.input.width, geometry.middle.height, geometry.middle.width, stride,
      has_projection};
  auto [entry, is_new] = lists_.try_emplace(key);
  if (is_new) build_full_lists(geometry, stride, has_projection, images_, entry->second.everything);
  return &entry->second;
}

void CpuMemory::plan_stem(const CpuExecutable& executable, const NetworkGeometry& geometry) {
  const ConvSpec& conv = executable.stem().spec;
  int64_t border = conv.padding(), channels = conv.in_channels;
  stem.row_pixels = geometry.input.width + 2 * border;
  stem.image_pixels = (geometry.input.height + 2 * border) * stem.row_pixels;
  if (images_ * stem.image_pixels > std::numeric_limits<int32_t>::max()) {
    fail("a batch of {} images of {} x {} exceeds 2^31 pixels; use a smaller batch", images_,
         geometry.input.height, geometry.input.width);
  }
  stem.image = AlignedBuffer(images_ * stem.image_pixels * channels);
  stem.taps = tap_offsets(conv.kernel, stem.row_pixels, channels, executable.stem().merge_rows);
  stem.output = new_map(geometry.stem, conv.out_channels);
  trunk = executable.spec().stem_pool ? new_map(geometry.trunk, conv.out_channels) : stem.output;
  stem.pixels.reserve(images_ * geometry.stem.pixels());
  std::vector<uint8_t> all(geometry.stem.width, 1);
  for (int64_t n = 0; n < images_; ++n) {
    for (int64_t y = 0; y < geometry.stem.height; ++y) {
      int64_t in = n * stem.image_pixels + (y * conv.stride + border) * stem.row_pixels + border;
      stem.pixels.append(all, 1, in, conv.stride, bordered_index(geometry.stem, n, y, 0));
    }
  }
}

void CpuMemory::plan_block(const CpuExecutable& executable, size_t index, const BlockGeometry& geometry,
                           CpuMap* x) {
  const BlockSpec& spec = executable.spec().blocks[index];
  const CpuBlock& compiled = executable.blocks()[index];
  int64_t patches = spec.is_dynamic() ? images_ * geometry.grid.patches() : 0;
  BlockMemory block{.images = images_,
                    .x = x,
                    .inner = {},
                    .y = spec.projection ? new_map(geometry.output, spec.out_channels) : x,
                    .taps = {},
                    .projection_taps = {},
                    .squeeze_excite = {},
                    .lists = shared_lists(geometry, spec.stride, spec.projection.has_value()),
                    .builder = {geometry, spec.stride, spec.projection.has_value(), images_},
                    .differences = std::vector<float>(patches),
                    .patches = std::vector<uint8_t>(patches)};
  CpuMap* in = x;
  for (size_t i = 0; i < compiled.convs.size(); ++i) {
    const CpuConv& conv = compiled.convs[i];
    block.taps.push_back(tap_offsets(conv.spec.kernel, in->row_pixels(), in->pitch, conv.merge_rows));
    if (i + 1 == compiled.convs.size()) break;
    in = scratch_map(i, i == 0 ? geometry.middle : geometry.output, conv.spec.out_channels);
    block.inner.push_back(in);
  }
  if (compiled.projection) block.projection_taps = tap_offsets(1, x->row_pixels(), x->pitch, false);
  if (compiled.squeeze_excite) {
    const CpuSqueezeExcite& layers = *compiled.squeeze_excite;
    block.squeeze_excite.pooled = AlignedBuffer(images_ * layers.fc2.out_channels);
    block.squeeze_excite.squeezed = AlignedBuffer(images_ * layers.fc1.out_channels);
    block.squeeze_excite.scale = AlignedBuffer(images_ * layers.fc2.out_channels);
    block.squeeze_excite.images.reserve(images_);
  }
  blocks.push_back(std::move(block));
}

void CpuMemory::plan_head(const CpuExecutable& executable) {
  pooled = AlignedBuffer(images_ * executable.padded(executable.spec().features));
  logits = AlignedBuffer(images_ * executable.head().out_channels);
  head_pixels.reserve(images_);
  std::vector<uint8_t> all(images_, 1);
  head_pixels.append(all, 1, 0, 1, 0);
}

}  // namespace lasnet
