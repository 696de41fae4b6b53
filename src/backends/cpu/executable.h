// A model compiled for the CPU kernels: folded, packed for one instruction set, with the schedule of each
// block.
#pragma once

#include <optional>
#include <vector>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/tiling.h"
#include "base/aligned.h"
#include "base/math.h"
#include "engine/executable.h"

namespace lasnet {

/// A convolution ready for a kernel table.
struct CpuConv {
  ConvSpec spec;
  PackedConv packed;
  bool merge_rows = false;  ///< a kernel row is one contiguous run of the input map
};

/// The two layers of Squeeze-and-Excitation as convolutions over one "pixel" per image.
struct CpuSqueezeExcite {
  std::string name;
  int channels = 0;  ///< of the map
  PackedConv fc1, fc2;
  SePool pool = SePool::active;
};

struct CpuBlock {
  std::vector<CpuConv> convs;  ///< the last one without weights if projected_last has them
  std::optional<CpuSqueezeExcite> squeeze_excite;
  std::optional<CpuConv> projection;  ///< without weights if projected_last has them
  /// Projection plus, as the extra input of active pixels, the last of the convs.
  std::optional<PackedConv> projected_last;
  AlignedBuffer masker_weight;  ///< [padded input channels]; empty in a static block
  float masker_bias = 0;
};

class CpuExecutable final : public Executable {
 public:
  /// `plan` has an entry per block, which is fitted to it.
  CpuExecutable(const Model& model, const CpuKernels& kernels, NetworkSchedule plan);

  std::unique_ptr<Runner> make_runner(std::shared_ptr<Executor> executor) const override;
  int64_t run_bytes(const NetworkGeometry& geometry, int64_t images) const override;

  const CpuKernels& kernels() const { return kernels_; }
  const CpuConv& stem() const { return stem_; }
  const std::vector<CpuBlock>& blocks() const { return blocks_; }
  const PackedConv& head() const { return head_; }
  const NetworkSchedule& plan() const { return plan_; }

  /// Channels rounded up to the kernels' vectors.
  int padded(int channels) const { return static_cast<int>(round_up(channels, kernels_.vector_width)); }

 private:
  CpuBlock compile_block(const BlockSpec& block, const BlockSchedule& plan, const Weights& weights) const;

  const CpuKernels& kernels_;
  CpuConv stem_;
  std::vector<CpuBlock> blocks_;
  PackedConv head_;  ///< empty without one
  NetworkSchedule plan_;
};

}  // namespace lasnet
