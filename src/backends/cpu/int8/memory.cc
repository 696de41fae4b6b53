#include "backends/cpu/int8/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/memory.h"
#include "mask/tap_offsets.h"

namespace lasnet {

Int8Memory::Int8Memory(const Int8Executable& executable, const NetworkGeometry& geometry, int64_t images)
    : Int8Memory(executable, geometry, images, MemoryPass::take) {}

int64_t Int8Memory::bytes_for(const Int8Executable& executable, const NetworkGeometry& geometry,
                              int64_t images) {
  const Int8Memory measured(executable, geometry, images, MemoryPass::measure);
  return measured.pool_.bytes() + measured.lists_.bytes();
}

Int8Memory::Int8Memory(const Int8Executable& executable, const NetworkGeometry& geometry, int64_t images,
                       MemoryPass pass)
    : images_(images), pass_(pass), pool_(images, pass), lists_(images, pass) {
  check_summed_pixels(executable.spec(), geometry);
  if (pass == MemoryPass::take) {
    require_memory(bytes_for(executable, geometry, images),
                   fmt::format("a batch of {} images of {} x {} px", images, geometry.input.height,
                               geometry.input.width),
                   "use a smaller batch, input size or network");
  }
  plan_stem(executable, geometry);
  std::vector<CpuBlockProgram> programs = cpu_programs(executable.spec(), geometry, executable.plan());
  ByteMap* x = trunk;
  for (size_t i = 0; i < geometry.blocks.size(); ++i) {
    plan_block(executable, i, geometry.blocks[i], std::move(programs[i]), x);
    x = blocks.back().y;
  }
  plan_head(executable);
}

void Int8Memory::plan_stem(const Int8Executable& executable, const NetworkGeometry& geometry) {
  const ConvSpec& conv = executable.stem().spec;
  stem.pixels = stem_pixels(conv, geometry, images_, pass_);
  pool_.add_bytes(stem.pixels.bytes);
  stem.image = pool_.new_array<uint32_t>(images_ * stem.pixels.image_pixels * kImageWords);
  stem.taps = tap_offsets(conv.kernel, stem.pixels.row_pixels, kImageWords, executable.stem().merge_rows);
  stem.output = pool_.new_map(geometry.stem, conv.out_channels);
  trunk = executable.spec().stem_pool ? pool_.new_map(geometry.trunk, conv.out_channels) : stem.output;
  if (pass_ == MemoryPass::measure) return;
  constexpr uint32_t kThreeBytes = 0x010101;
  const auto zero = static_cast<uint32_t>(executable.network().input_zero);
  std::fill_n(stem.image.data(), stem.image.size(), zero * kThreeBytes);
}

void Int8Memory::plan_block(const Int8Executable& executable, size_t index, const BlockGeometry& geometry,
                            CpuBlockProgram program, ByteMap* x) {
  const BlockSpec& spec = executable.spec().blocks[index];
  const Int8CpuBlock& compiled = executable.blocks()[index];
  Int8BlockMemory block(std::move(program), spec, geometry, lists_.of(geometry, list_options(spec)), images_);
  block.x = x;
  block.y = spec.projection ? pool_.new_map(geometry.output, spec.out_channels) : x;
  ByteMap* in = x;
  for (size_t i = 0; i < compiled.convs.size(); ++i) {
    const Int8Conv& conv = compiled.convs[i];
    block.taps.push_back(
        tap_offsets(conv.spec.kernel, in->row_pixels(), in->pitch, conv.merge_rows, conv.spec.dilation));
    if (i + 1 == compiled.convs.size()) break;
    in = i == 0 ? pool_.scratch_map(i, geometry.middle, conv.spec.out_channels, geometry.dilation)
                : pool_.scratch_map(i, geometry.output, conv.spec.out_channels);
    block.inner.push_back(in);
  }
  const PatchSumUse& sums = block.program.sums;
  if (spec.squeeze_excite) block.excitation.resize(static_cast<size_t>(images_));
  if (sums.reads) block.sums = pool_.sums_of(*x, sums.cell, executable.padded(spec.in_channels));
  if (sums.keeps)
    block.kept_sums = pool_.sums_of(*block.y, sums.kept_cell, executable.padded(spec.out_channels));
  if (spec.projection) block.projection_taps = tap_offsets(1, x->row_pixels(), x->pitch, false);
  blocks.push_back(std::move(block));
}

void Int8Memory::plan_head(const Int8Executable& executable) {
  if (!executable.spec().has_head()) return;
  pooled = pool_.new_array<uint32_t>(2 * images_ * word_pitch(executable.spec().features));
  head_sums = pool_.new_array<int32_t>(2 * images_ * executable.head().out_channels);
  head_pixels.reserve(2 * images_, images_);
  head_pixels.append({0, 1, 0, 2 * images_});
}

}  // namespace lasnet
