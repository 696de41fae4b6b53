// A quantized model compiled for the int8 kernels of one instruction set.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/layout.h"
#include "base/aligned.h"
#include "engine/executable.h"
#include "engine/int8_network.h"

namespace lasnet {

/// Words between the pixels of a map: whole cache lines, which are whole vectors of every instruction set.
constexpr int64_t word_pitch(int64_t channels) { return map_pitch(ceil_div(channels, kWordBytes)); }

/// A pixel of the input: red, green, blue and a zero.
inline constexpr int64_t kImageWords = 1;

/// Whether a kernel row of the convolution is one contiguous run of a map of this pitch.
inline bool merges_word_rows(const ConvSpec& conv, int64_t pitch) {
  return merges_rows(conv, pitch, ceil_div(conv.in_channels, kWordBytes));
}

/// A convolution ready for a kernel table.
struct Int8Conv {
  ConvSpec spec;
  PackedInt8Conv packed;
  bool merge_rows = false;  ///< a kernel row is one contiguous run of the input map
};

struct Int8CpuBlock {
  std::optional<Int8SqueezeExcite> squeeze_excite;
  std::vector<Int8Conv> convs;  ///< the last one without weights if projected_last has them
  /// Projection plus, as the extra input of active pixels, the last of the convs.
  std::optional<PackedInt8Conv> projected_last;
  /// Of the masker, for sums of patches that are kept: [padded input channels]; empty in a static block.
  AlignedArray<int32_t> masker_weight;
  PackedMasker packed_masker;  ///< the same for the bytes of a map
  std::optional<Int8Masker> masker;
};

class Int8Executable final : public Executable {
 public:
  /// `plan` has an entry per block; it may choose whole_map_above alone.
  Int8Executable(const Model& model, const Int8Kernels& kernels, NetworkSchedule plan);

  std::unique_ptr<Runner> make_runner(std::shared_ptr<Executor> executor) const override;
  int64_t run_bytes(const NetworkGeometry& geometry, int64_t images) const override;

  const Int8Kernels& kernels() const { return kernels_; }
  const Int8Network& network() const { return network_; }
  const Int8Conv& stem() const { return stem_; }
  const std::vector<Int8CpuBlock>& blocks() const { return blocks_; }
  const PackedInt8Conv& head() const { return head_; }
  const NetworkSchedule& plan() const { return plan_; }

  /// Channels rounded up to the kernels' vectors.
  int padded(int channels) const { return static_cast<int>(round_up(channels, kernels_.vector_width)); }

 private:
  Int8CpuBlock compile_block(const BlockSpec& spec, const Int8Block& block) const;

  const Int8Kernels& kernels_;
  Int8Network network_;  ///< without the weights of layers
  Int8Conv stem_;
  std::vector<Int8CpuBlock> blocks_;
  PackedInt8Conv head_;  ///< empty without one
  NetworkSchedule plan_;
};

}  // namespace lasnet
