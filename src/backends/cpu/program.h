// What one block runs on a CPU, as a value: the engine executes it, the latency model prices it.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "backends/cpu/patch_sums.h"
#include "lasnet/geometry.h"
#include "lasnet/schedule.h"

namespace lasnet {

enum class CpuOperator {
  masker,          ///< logit differences of all patches
  lists,           ///< pixel lists of the patches that were decided to be active
  gather,          ///< active patches of the middle map, with their halo, copied to a buffer
  conv,            ///< one of BlockSpec::convs
  squeeze_excite,  ///< in place, on the map before the last convolution
  projection,      ///< BlockSpec::projection, of every output pixel
  scatter_add,     ///< the last convolution's map added to the output map, and the ReLU
};

/// Pixels of the map that an operation writes.
enum class PixelSet {
  whole_map,
  active_images,  ///< every pixel of images with an active patch
  dilated,        ///< the dilated mask D
  active,         ///< the mask M
};

/// Where a convolution's sums go.
enum class ConvOutput {
  relu,       ///< with bias and ReLU to a map of its own
  add_relu,   ///< added to the output map: in place, or to the projection's sums in registers; then the ReLU
  bias,       ///< with bias to a map that a later operation adds
  registers,  ///< stays in registers for the next operation, which runs in the same loop
};

struct CpuOperation {
  CpuOperator op = CpuOperator::conv;
  int conv = 0;  ///< index into BlockSpec::convs
  PixelSet over = PixelSet::whole_map;
  ConvOutput output = ConvOutput::relu;
  bool masker_beside = false;  ///< a conv that takes the masker's dot product of each pixel along

  bool operator==(const CpuOperation&) const = default;
};

/// What is known once a block's mask is.
enum class MaskOutcome {
  unmasked,  ///< the masker did not run: a static block, or a dense run
  full,      ///< every patch is active
  crowded,   ///< so many that all convolutions but the last compute whole maps
  partial,   ///< the rest, also no patch at all
};
inline constexpr size_t kMaskOutcomes = 4;

struct CpuBlockProgram {
  std::vector<CpuOperation> masking;  ///< before the mask is known; not of MaskOutcome::unmasked
  std::array<std::vector<CpuOperation>, kMaskOutcomes> bodies;
  PatchSumUse sums;
  double crowded_from = 0;  ///< share of active pixels from which a mask is MaskOutcome::crowded
  /// Rows of patches that pass through all convolutions before the next ones, where the mask is
  /// MaskOutcome::partial; 0: each convolution passes over the whole map.
  int64_t band_patch_rows = 0;

  const std::vector<CpuOperation>& body(MaskOutcome outcome) const {
    return bodies[static_cast<size_t>(outcome)];
  }
  /// Of a mask with so many active pixels of `pixels`, in a block whose masker ran.
  MaskOutcome outcome(double active, double pixels, bool every_patch) const {
    if (every_patch) return MaskOutcome::full;
    return active > 0 && active >= crowded_from * pixels ? MaskOutcome::crowded : MaskOutcome::partial;
  }
};

/// The program of a block under a plan that it can run (feasible_schedule).
CpuBlockProgram cpu_block_program(const BlockSpec& block, const BlockGeometry& geometry,
                                  const BlockSchedule& plan, const PatchSumUse& sums);

/// By block.
std::vector<CpuBlockProgram> cpu_programs(const ModelSpec& spec, const NetworkGeometry& geometry,
                                          const NetworkSchedule& plan);

/// Its name in predictions: "masker", "masker_conv1", "conv2", "projection", ...
std::string to_string(const CpuOperation& operation);

}  // namespace lasnet
