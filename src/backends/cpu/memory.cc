#include "backends/cpu/memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/memory.h"
#include "mask/tap_offsets.h"

namespace lasnet {
namespace {

/// Roles of scratch maps: inner maps are 0, 1.
constexpr size_t kAddendRole = 2;

}  // namespace

CpuMemory::CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images)
    : CpuMemory(executable, geometry, images, MemoryPass::take) {}

int64_t CpuMemory::bytes_for(const CpuExecutable& executable, const NetworkGeometry& geometry,
                             int64_t images) {
  const CpuMemory measured(executable, geometry, images, MemoryPass::measure);
  return measured.pool_.bytes() + measured.lists_.bytes();
}

CpuMemory::CpuMemory(const CpuExecutable& executable, const NetworkGeometry& geometry, int64_t images,
                     MemoryPass pass)
    : images_(images), pass_(pass), pool_(images, pass), lists_(images, pass) {
  if (pass == MemoryPass::take) {
    require_memory(bytes_for(executable, geometry, images),
                   fmt::format("a batch of {} images of {} x {} px", images, geometry.input.height,
                               geometry.input.width),
                   "use a smaller batch, input size or network");
  }
  plan_stem(executable, geometry);
  std::vector<CpuBlockProgram> programs = cpu_programs(executable.spec(), geometry, executable.plan());
  CpuMap* x = trunk;
  for (size_t i = 0; i < geometry.blocks.size(); ++i) {
    plan_block(executable, i, geometry.blocks[i], std::move(programs[i]), x);
    x = blocks.back().y;
  }
  plan_head(executable);
}

void CpuMemory::plan_gather(const CpuConv& conv, const PatchGrid& grid, BlockMemory& block) {
  const CpuMap& in = *block.inner[0];
  int64_t side = halo_side(grid.granularity, conv.spec.stride);
  pool_.grow(gathered_.data, images_ * grid.patches() * side * side * in.pitch);
  if (pass_ == MemoryPass::take) {
    gathered_.centres.reserve(std::max<size_t>(gathered_.centres.capacity(), images_ * grid.map.pixels()));
  }
  block.gathered = &gathered_;
  block.gathered_taps = tap_offsets(conv.spec.kernel, side, in.pitch, conv.merge_rows);
}

void CpuMemory::plan_stem(const CpuExecutable& executable, const NetworkGeometry& geometry) {
  const ConvSpec& conv = executable.stem().spec;
  stem.pixels = stem_pixels(conv, geometry, images_, pass_);
  pool_.add_bytes(stem.pixels.bytes);
  stem.image = pool_.new_array<float>(images_ * stem.pixels.image_pixels * conv.in_channels);
  stem.taps =
      tap_offsets(conv.kernel, stem.pixels.row_pixels, conv.in_channels, executable.stem().merge_rows);
  stem.output = pool_.new_map(geometry.stem, conv.out_channels);
  trunk = executable.spec().stem_pool ? pool_.new_map(geometry.trunk, conv.out_channels) : stem.output;
}

void CpuMemory::plan_block(const CpuExecutable& executable, size_t index, const BlockGeometry& geometry,
                           CpuBlockProgram program, CpuMap* x) {
  const BlockSpec& spec = executable.spec().blocks[index];
  const CpuBlock& compiled = executable.blocks()[index];
  BlockMemory block(std::move(program), spec, geometry, lists_.of(geometry, list_options(spec)), images_);
  block.x = x;
  block.y = spec.projection ? pool_.new_map(geometry.output, spec.out_channels) : x;
  CpuMap* in = x;
  for (size_t i = 0; i < compiled.convs.size(); ++i) {
    const CpuConv& conv = compiled.convs[i];
    block.taps.push_back(
        tap_offsets(conv.spec.kernel, in->row_pixels(), in->pitch, conv.merge_rows, conv.spec.dilation));
    if (i + 1 == compiled.convs.size()) break;
    in = i == 0 ? pool_.scratch_map(i, geometry.middle, conv.spec.out_channels, geometry.dilation)
                : pool_.scratch_map(i, geometry.output, conv.spec.out_channels);
    block.inner.push_back(in);
  }
  const PatchSumUse& sums = block.program.sums;
  if (sums.reads) block.sums = pool_.sums_of(*x, sums.cell, executable.padded(spec.in_channels));
  if (sums.keeps)
    block.kept_sums = pool_.sums_of(*block.y, sums.kept_cell, executable.padded(spec.out_channels));
  const BlockSchedule& plan = executable.plan().blocks[index];
  if (spec.is_dynamic() && plan.masker == MaskerSchedule::with_conv1) {
    pool_.grow(pixel_dots_, bordered_pixels(x->size, images_));
    block.pixel_dots = &pixel_dots_;
  }
  if (plan.gather == GatherSchedule::copied) plan_gather(compiled.convs[1], block.builder.grid(), block);
  if (plan.scatter == ScatterSchedule::separate) {
    block.addend = pool_.scratch_map(kAddendRole, geometry.output, spec.out_channels);
  }
  if (compiled.projection) block.projection_taps = tap_offsets(1, x->row_pixels(), x->pitch, false);
  if (compiled.squeeze_excite) {
    const CpuSqueezeExcite& layers = *compiled.squeeze_excite;
    block.squeeze_excite.pooled = pool_.new_array<float>(images_ * layers.fc2.out_channels);
    block.squeeze_excite.squeezed = pool_.new_array<float>(images_ * layers.fc1.out_channels);
    block.squeeze_excite.scale = pool_.new_array<float>(images_ * layers.fc2.out_channels);
    block.squeeze_excite.images.reserve(images_, images_);
  }
  blocks.push_back(std::move(block));
}

void CpuMemory::plan_head(const CpuExecutable& executable) {
  if (!executable.spec().has_head()) return;
  pooled = pool_.new_array<float>(images_ * executable.padded(executable.spec().features));
  logits = pool_.new_array<float>(images_ * executable.head().out_channels);
  head_pixels.reserve(images_, images_);
  head_pixels.append({0, 1, 0, images_});
  if (pass_ == MemoryPass::take) list_last_pixels();
}

void CpuMemory::list_last_pixels() {
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
