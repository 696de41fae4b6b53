#include "backends/cpu/program.h"

#include "backends/cpu/tiling.h"
#include "base/fail.h"

namespace lasnet {
namespace {

/// Lists a body's operations in the order in which they run.
class BodyBuilder {
 public:
  BodyBuilder(const BlockSpec& block, const BlockSchedule& plan, MaskOutcome outcome)
      : block_(block), plan_(plan), outcome_(outcome) {}

  std::vector<CpuOperation> build() {
    if (listed()) add({.op = CpuOperator::lists});
    const int last = static_cast<int>(block_.convs.size()) - 1;
    for (int i = 0; i < last; ++i) inner(i);
    if (block_.squeeze_excite) add({.op = CpuOperator::squeeze_excite, .over = active()});
    if (block_.projection) {
      add({.op = CpuOperator::projection, .output = separate() ? ConvOutput::bias : ConvOutput::registers});
    }
    if (last == 1) gather(active());
    add({.op = CpuOperator::conv,
         .conv = last,
         .over = active(),
         .output = separate() ? ConvOutput::bias : ConvOutput::add_relu});
    if (separate()) add({.op = CpuOperator::scatter_add});
    return std::move(operations_);
  }

 private:
  bool separate() const { return plan_.scatter == ScatterSchedule::separate; }
  /// Whether there are lists of the mask.
  bool listed() const { return outcome_ == MaskOutcome::crowded || outcome_ == MaskOutcome::partial; }
  PixelSet active() const { return listed() ? PixelSet::active : PixelSet::whole_map; }

  PixelSet inner_pixels(int conv) const {
    if (!listed()) return PixelSet::whole_map;
    if (block_.pools_densely()) return PixelSet::active_images;
    if (outcome_ == MaskOutcome::crowded) return PixelSet::whole_map;
    return conv == 0 ? PixelSet::dilated : PixelSet::active;
  }

  void inner(int conv) {
    const bool with_masker = conv == 0 && plan_.masker == MaskerSchedule::with_conv1;
    if (with_masker && outcome_ != MaskOutcome::unmasked) return;  // has run beside the masker
    if (conv == 1) gather(inner_pixels(conv));
    add({.op = CpuOperator::conv, .conv = conv, .over = inner_pixels(conv)});
  }

  /// Patches that convs[1] reads, if it follows the mask.
  void gather(PixelSet pixels) {
    if (plan_.gather != GatherSchedule::copied || pixels != PixelSet::active) return;
    add({.op = CpuOperator::gather, .over = pixels});
  }

  void add(const CpuOperation& operation) { operations_.push_back(operation); }

  const BlockSpec& block_;
  const BlockSchedule& plan_;
  MaskOutcome outcome_;
  std::vector<CpuOperation> operations_;
};

std::vector<CpuOperation> masking_operations(const BlockSpec& block, const BlockSchedule& plan) {
  if (!block.is_dynamic()) return {};
  if (plan.masker == MaskerSchedule::with_conv1) return {{.op = CpuOperator::conv, .masker_beside = true}};
  return {{.op = CpuOperator::masker}};
}

}  // namespace

CpuBlockProgram cpu_block_program(const BlockSpec& block, const BlockGeometry& geometry,
                                  const BlockSchedule& plan, const PatchSumUse& sums) {
  CpuBlockProgram program{.masking = masking_operations(block, plan),
                          .bodies = {},
                          .sums = sums,
                          .crowded_from = plan.whole_map_above};
  if (plan.traversal == Traversal::row_bands) program.band_patch_rows = band_patch_rows(block, geometry);
  for (size_t i = 0; i < kMaskOutcomes; ++i) {
    const auto outcome = static_cast<MaskOutcome>(i);
    if (outcome != MaskOutcome::unmasked && !block.is_dynamic()) continue;
    program.bodies[i] = BodyBuilder(block, plan, outcome).build();
  }
  return program;
}

std::vector<CpuBlockProgram> cpu_programs(const ModelSpec& spec, const NetworkGeometry& geometry,
                                          const NetworkSchedule& plan) {
  const std::vector<PatchSumUse> sums = patch_sum_uses(spec, geometry, plan);
  std::vector<CpuBlockProgram> programs;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    programs.push_back(cpu_block_program(spec.blocks[b], geometry.blocks[b], plan.blocks[b], sums[b]));
  }
  return programs;
}

std::string to_string(const CpuOperation& operation) {
  switch (operation.op) {
    case CpuOperator::masker:
      return "masker";
    case CpuOperator::lists:
      return "lists";
    case CpuOperator::gather:
      return "gather";
    case CpuOperator::conv:
      return fmt::format("{}conv{}", operation.masker_beside ? "masker_" : "", operation.conv + 1);
    case CpuOperator::squeeze_excite:
      return "squeeze_excite";
    case CpuOperator::projection:
      return "projection";
    case CpuOperator::scatter_add:
      return "scatter_add";
  }
  return "?";
}

}  // namespace lasnet
