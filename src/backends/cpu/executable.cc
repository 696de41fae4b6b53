#include "backends/cpu/executable.h"

#include <algorithm>

#include "backends/cpu/memory.h"
#include "backends/cpu/runner.h"
#include "engine/fold.h"

namespace lasnet {
namespace {

CpuConv compile_conv(const ConvSpec& spec, const Weights& weights, int64_t pitch, const CpuKernels& kernels) {
  FoldedConv folded = fold(spec, weights);
  bool merge_rows = merges_rows(spec, pitch, spec.in_channels);
  return {spec, pack_conv({folded.weight, folded.bias, spec.groups, merge_rows}, kernels), merge_rows};
}

PackedConv compile_head(const ModelSpec& spec, const Weights& weights, const CpuKernels& kernels) {
  if (!spec.has_head()) return {};
  Tensor weight = weights.at(spec.head_name + ".weight");
  weight.shape = {spec.arch.classes, spec.features, 1, 1};
  return pack_conv({weight, weights.at(spec.head_name + ".bias").data}, kernels);
}

CpuSqueezeExcite compile_squeeze_excite(const SqueezeExciteSpec& spec, const Weights& weights,
                                        const CpuKernels& kernels) {
  auto layer = [&](const char* name) {
    return pack_conv({weights.at(spec.name + name + ".weight"), weights.at(spec.name + name + ".bias").data},
                     kernels);
  };
  return {spec.name, spec.channels, layer(".fc1"), layer(".fc2"), spec.pool};
}

}  // namespace

CpuExecutable::CpuExecutable(const Model& model, const CpuKernels& kernels, NetworkSchedule plan)
    : Executable(model.spec, Backend::cpu, kernels.isa),
      kernels_(kernels),
      stem_(compile_conv(model.spec.stem, model.weights, model.spec.stem.in_channels, kernels)),
      head_(compile_head(model.spec, model.weights, kernels)),
      plan_(std::move(plan)) {
  for (size_t i = 0; i < model.spec.blocks.size(); ++i) {
    plan_.blocks[i] = feasible_schedule(model.spec.blocks[i], plan_.blocks[i]);
    blocks_.push_back(compile_block(model.spec.blocks[i], plan_.blocks[i], model.weights));
  }
}

CpuBlock CpuExecutable::compile_block(const BlockSpec& block, const BlockSchedule& plan,
                                      const Weights& weights) const {
  CpuBlock compiled;
  bool fused = block.projection && plan.scatter == ScatterSchedule::in_place;
  for (const ConvSpec& conv : block.convs) {
    bool last = &conv == &block.convs.back();
    compiled.convs.push_back(
        fused && last ? CpuConv{conv, {}, merges_rows(conv, map_pitch(conv.in_channels), conv.in_channels)}
                      : compile_conv(conv, weights, map_pitch(conv.in_channels), kernels_));
  }
  if (fused) {
    FoldedConv projection = fold(*block.projection, weights), last = fold(block.convs.back(), weights);
    compiled.projection = CpuConv{*block.projection, {}, false};
    compiled.projected_last = pack_conv_sum(
        {projection.weight, projection.bias},
        {last.weight, last.bias, block.convs.back().groups, compiled.convs.back().merge_rows}, kernels_);
  } else if (block.projection) {
    compiled.projection = compile_conv(*block.projection, weights, map_pitch(block.in_channels), kernels_);
  }
  if (block.squeeze_excite) {
    compiled.squeeze_excite = compile_squeeze_excite(*block.squeeze_excite, weights, kernels_);
  }
  if (block.is_dynamic()) {
    FoldedMasker masker = fold_masker(block, weights);
    compiled.masker_weight = AlignedBuffer(padded(block.in_channels));
    std::copy(masker.weight.begin(), masker.weight.end(), compiled.masker_weight.data());
    compiled.masker_bias = masker.bias;
  }
  return compiled;
}

std::unique_ptr<Runner> CpuExecutable::make_runner(std::shared_ptr<Executor> executor) const {
  return std::make_unique<CpuRunner>(std::static_pointer_cast<const CpuExecutable>(shared_from_this()),
                                     std::move(executor));
}

int64_t CpuExecutable::run_bytes(const NetworkGeometry& geometry, int64_t images) const {
  return CpuMemory::bytes_for(*this, geometry, images);
}

std::shared_ptr<const Executable> make_cpu_executable(const Model& model, Isa isa,
                                                      const NetworkSchedule& plan) {
  return std::make_shared<CpuExecutable>(model, cpu_kernels(isa), plan);
}

}  // namespace lasnet
