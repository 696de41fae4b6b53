#include "engine/cpu_memory.h"

#include <algorithm>
#include <limits>

#include "core/fail.h"
#include "core/memory.h"
#include "kernels/tap_offsets.h"

namespace lasnet {
namespace {

/// Roles of scratch maps: inner maps are 0, 1.
constexpr size_t kAddendRole = 2;

/// Height and width of the input pixels that a patch reads through the 3x3.
int64_t halo_side(int granularity, int stride) { return int64_t{granularity - 1} * stride + 3; }

/// Floats of a map, without its border.
int64_t floats_of(MapSize map, int channels) { return map.pixels() * map_pitch(channels); }

/// Asked before the first buffer is touched: each may fit where all of them do not. What is counted are the
/// maps that every run needs, without borders, lists and sums.
void check_memory(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t images) {
  int64_t floats =
      geometry.input.pixels() * spec.stem.in_channels + floats_of(geometry.stem, spec.stem.out_channels);
  if (spec.stem_pool) floats += floats_of(geometry.trunk, spec.stem.out_channels);
  int64_t most_inner = 0;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const BlockSpec& block = spec.blocks[i];
    const BlockGeometry& maps = geometry.blocks[i];
    if (block.projection) floats += floats_of(maps.output, block.out_channels);
    int64_t inner = floats_of(maps.middle, block.convs[0].out_channels);
    if (block.convs.size() > 2) inner += floats_of(maps.output, block.convs[1].out_channels);
    most_inner = std::max(most_inner, inner);
  }
  require_memory(images * (floats + most_inner) * static_cast<int64_t>(sizeof(float)),
                 fmt::format("{}: a batch of {} x {} x {} px", spec.arch.name, images, geometry.input.height,
                             geometry.input.width),
                 "use a smaller batch, input size or network");
}

}  // namespace

CpuMemory::CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images)
    : images_(images) {
  check_memory(executable.spec(), geometry, images);
  plan_stem(executable, geometry);
  CpuMap* x = trunk;
  for (size_t i = 0; i < geometry.blocks.size(); ++i) {
    plan_block(executable, i, geometry.blocks[i], x);
    x = blocks.back().y;
  }
  plan_kept_sums();
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

BlockLists* CpuMemory::shared_lists(const BlockGeometry& geometry, const ListOptions& options) {
  ListKey key{geometry.input.height, geometry.input.width,      geometry.middle.height,
              geometry.middle.width, geometry.grid.granularity, options};
  auto [entry, is_new] = lists_.try_emplace(key);
  if (is_new) {
    ActiveListBuilder builder(geometry, options, images_);
    std::vector<uint8_t> all(images_ * builder.grid().patches(), 1);
    builder.build(all, entry->second.everything);
    builder.reserve(entry->second.current);
  }
  return &entry->second;
}

void CpuMemory::plan_masker(const CpuExecutable& executable, size_t index, const PatchGrid& grid,
                            BlockMemory& block) {
  const BlockSpec& spec = executable.spec().blocks[index];
  MaskerSchedule schedule = executable.plan().blocks[index].masker;
  if (schedule == MaskerSchedule::with_conv1) {
    int64_t pixels = bordered_pixels(block.x->size, images_);
    if (pixel_dots_.size() < pixels) pixel_dots_ = AlignedBuffer(pixels);
    block.pixel_dots = &pixel_dots_;
  }
  if (schedule != MaskerSchedule::pooled) return;
  auto found = sums_.find(block.x);
  if (found == sums_.end()) {
    if (spec.stride > 1) return;  // no block keeps sums of this map
    PatchGrid cells{block.x->size, grid.granularity};
    int channels = executable.padded(spec.in_channels);
    AlignedBuffer data(images_ * cells.patches() * block.x->pitch);
    found = sums_.emplace(block.x, PatchSums{block.x, cells, channels, std::move(data)}).first;
  }
  int64_t window = int64_t{grid.granularity} * spec.stride;
  if (window % found->second.grid.granularity == 0) block.sums = &found->second;
}

void CpuMemory::plan_gather(const CpuConv& conv, const PatchGrid& grid, BlockMemory& block) {
  const CpuMap& in = *block.inner[0];
  int64_t side = halo_side(grid.granularity, conv.spec.stride);
  int64_t size = images_ * grid.patches() * side * side * in.pitch;
  if (gathered_.data.size() < size) gathered_.data = AlignedBuffer(size);
  gathered_.centres.reserve(std::max<size_t>(gathered_.centres.capacity(), images_ * grid.map.pixels()));
  block.gathered = &gathered_;
  block.gathered_taps = tap_offsets(conv.spec.kernel, side, in.pitch, conv.merge_rows);
}

void CpuMemory::plan_kept_sums() {
  std::map<const PatchSums*, size_t> last_reader;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].sums != nullptr) last_reader[blocks[i].sums] = i;
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    auto sums = sums_.find(blocks[i].y);
    if (sums == sums_.end()) continue;
    auto reader = last_reader.find(&sums->second);
    if (reader != last_reader.end() && reader->second > i) blocks[i].kept_sums = &sums->second;
  }
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
  stem.pixels.reserve(images_ * geometry.stem.pixels(), images_);
  for (int64_t n = 0; n < images_; ++n) {
    for (int64_t y = 0; y < geometry.stem.height; ++y) {
      int64_t in = n * stem.image_pixels + (y * conv.stride + border) * stem.row_pixels + border;
      stem.pixels.append({in, conv.stride, bordered_index(geometry.stem, n, y, 0), geometry.stem.width});
    }
  }
}

void CpuMemory::plan_block(const CpuExecutable& executable, size_t index, const BlockGeometry& geometry,
                           CpuMap* x) {
  const BlockSpec& spec = executable.spec().blocks[index];
  const CpuBlock& compiled = executable.blocks()[index];
  int64_t patches = spec.is_dynamic() ? images_ * geometry.grid.patches() : 0;
  ListOptions options{.stride = spec.stride,
                      .projected = spec.projection.has_value(),
                      .by_row = spec.squeeze_excite.has_value()};
  BlockMemory block{.images = images_,
                    .x = x,
                    .inner = {},
                    .y = spec.projection ? new_map(geometry.output, spec.out_channels) : x,
                    .taps = {},
                    .projection_taps = {},
                    .squeeze_excite = {},
                    .gathered_taps = {},
                    .lists = shared_lists(geometry, options),
                    .builder = {geometry, options, images_},
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
  if (spec.is_dynamic()) plan_masker(executable, index, geometry.grid, block);
  const BlockPlan& plan = executable.plan().blocks[index];
  if (plan.traversal == Traversal::row_bands) block.band_patch_rows = band_patch_rows(spec, geometry);
  if (plan.gather == GatherSchedule::copied) plan_gather(compiled.convs[1], block.builder.grid(), block);
  if (plan.scatter == ScatterSchedule::separate) {
    block.addend = scratch_map(kAddendRole, geometry.output, spec.out_channels);
  }
  if (compiled.projection) block.projection_taps = tap_offsets(1, x->row_pixels(), x->pitch, false);
  if (compiled.squeeze_excite) {
    const CpuSqueezeExcite& layers = *compiled.squeeze_excite;
    block.squeeze_excite.pooled = AlignedBuffer(images_ * layers.fc2.out_channels);
    block.squeeze_excite.squeezed = AlignedBuffer(images_ * layers.fc1.out_channels);
    block.squeeze_excite.scale = AlignedBuffer(images_ * layers.fc2.out_channels);
    block.squeeze_excite.images.reserve(images_, images_);
  }
  blocks.push_back(std::move(block));
}

void CpuMemory::plan_head(const CpuExecutable& executable) {
  pooled = AlignedBuffer(images_ * executable.padded(executable.spec().features));
  logits = AlignedBuffer(images_ * executable.head().out_channels);
  head_pixels.reserve(images_, images_);
  head_pixels.append({0, 1, 0, images_});
  const MapSize& map = blocks.back().y->size;
  last_pixels.reserve(images_ * map.pixels(), images_);
  for (int64_t n = 0; n < images_; ++n) {
    for (int64_t y = 0; y < map.height; ++y) {
      last_pixels.append({.in = 0, .in_step = 0, .out = bordered_index(map, n, y, 0), .length = map.width});
    }
    last_pixels.end_image();
  }
}

}  // namespace lasnet
