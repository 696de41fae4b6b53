// Which schedules the cuda backend runs, and which blocks' maskers decide together.
#pragma once

#include <vector>

#include "backends/cuda/tile_choice.h"
#include "lasnet/geometry.h"
#include "lasnet/schedule.h"

namespace lasnet {

/// What the cuda backend runs unless asked otherwise, or where a calibration of the device knows better, but
/// for batches whose first convolutions hide the masker. Maskers of one map decide together where its
/// elements have 4 bytes: where they have 2, reading them again takes less time than a pass of many maskers
/// (measured on an H100).
BlockSchedule usual_cuda_schedule(Precision precision);

/// What runs of a block where nobody chose: the usual plan, its masker beside the first convolution where
/// that hides it. The convolution must leave room on the device. It may compute more than the sparse one
/// would, as long as that takes less time than what it hides.
BlockSchedule usual_cuda_schedule(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                                  const CudaTarget& target);

/// Convolutions of a block that compute every pixel while masker and lists are made beside them: none unless
/// the plan says with_conv1, and two where the first takes less time than masker and lists, and what the
/// second computes more takes less than the rest.
int convs_beside_masker(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                        const BlockSchedule& plan, const CudaTarget& target);

/// Active patches of an image, of `patches`, from which it lists its whole map, for a plan's whole_map_above;
/// more than there are: never.
int whole_map_patches(double whole_map_above, int patches);

/// What the cuda backend runs for a plan: with_conv1 is a masker beside a dense first convolution, on a
/// stream of its own, incremental one that decides for later blocks too (CudaMaskerShare); it passes over
/// whole maps. Its whole_map_above counts the patches of each image, and decides about the first convolution.
BlockSchedule feasible_cuda_schedule(const BlockSpec& block, const BlockSchedule& wanted);

/// What a block's masker decides under MaskerSchedule::incremental. Logits change only where x does, which is
/// in the active patches of the block before: the first block of those that read one map decides for all of
/// them, each of the others for itself and the rest, about the patches that the block before changed.
struct CudaMaskerShare {
  int blocks = 1;          ///< decided for: this one and those after it
  bool refreshes = false;  ///< only what the block before changed, else every patch

  bool operator==(const CudaMaskerShare&) const = default;
};
/// By block. Blocks take part whose masker pools the same windows of the same map, at most kMaxMaskers (32)
/// of them together.
std::vector<CudaMaskerShare> cuda_masker_shares(const ModelSpec& spec, const NetworkGeometry& geometry,
                                                const NetworkSchedule& plan);

}  // namespace lasnet
