#include "backends/cpu/int8/executable.h"

#include <algorithm>
#include <utility>

#include "backends/cpu/int8/memory.h"
#include "backends/cpu/int8/runner.h"

namespace lasnet {
namespace {

/// `pitch`: of the map that it reads, words.
Int8Conv compile_conv(const Int8Layer& layer, int64_t pitch, const Int8Kernels& kernels) {
  const bool merge = merges_word_rows(layer.spec, pitch);
  return {layer.spec, pack_int8_conv(layer, merge, kernels), merge};
}

}  // namespace

Int8Executable::Int8Executable(const Model& model, const Int8Kernels& kernels, NetworkSchedule plan)
    : Executable(model.spec, Backend::cpu, kernels.isa, Precision::int8),
      kernels_(kernels),
      network_(make_int8_network(model)),
      plan_(std::move(plan)) {
  stem_ = compile_conv(network_.stem, kImageWords, kernels);
  for (size_t i = 0; i < model.spec.blocks.size(); ++i)
    blocks_.push_back(compile_block(model.spec.blocks[i], network_.blocks[i]));
  if (network_.head) head_ = pack_int8_conv(*network_.head, false, kernels);
  network_.blocks.clear();  // packed now
  network_.stem.weight = {};
  if (network_.head) network_.head->weight = {};
}

Int8CpuBlock Int8Executable::compile_block(const BlockSpec& spec, const Int8Block& block) const {
  Int8CpuBlock compiled;
  const Int8Layer& last = block.convs.back();
  for (const Int8Layer& layer : block.convs) {
    const int64_t pitch = word_pitch(layer.spec.in_channels);
    if (&layer == &last && block.projection) {
      compiled.convs.push_back({layer.spec, {}, merges_word_rows(layer.spec, pitch)});
    } else {
      compiled.convs.push_back(compile_conv(layer, pitch, kernels_));
    }
  }
  if (block.projection)
    compiled.projected_last =
        pack_int8_sum(*block.projection, last, compiled.convs.back().merge_rows, kernels_);
  compiled.squeeze_excite = block.squeeze_excite;
  if (block.masker) {
    compiled.masker = *block.masker;
    compiled.masker_weight = AlignedArray<int32_t>(padded(spec.in_channels));
    std::ranges::copy(block.masker->weight, compiled.masker_weight.data());
    compiled.packed_masker = pack_masker(block.masker->weight, kernels_);
  }
  return compiled;
}

std::unique_ptr<Runner> Int8Executable::make_runner(std::shared_ptr<Executor> executor) const {
  return std::make_unique<Int8Runner>(std::static_pointer_cast<const Int8Executable>(shared_from_this()),
                                      std::move(executor));
}

int64_t Int8Executable::run_bytes(const NetworkGeometry& geometry, int64_t images) const {
  return Int8Memory::bytes_for(*this, geometry, images);
}

std::shared_ptr<const Executable> make_int8_executable(const Model& model, Isa isa,
                                                       const NetworkSchedule& plan) {
  return std::make_shared<Int8Executable>(model, int8_kernels(isa), plan);
}

}  // namespace lasnet
