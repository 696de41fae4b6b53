// How each block is executed: choices that change time and memory traffic, never the result (paper
// section 3.3).
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

/// Where the mean of x over patches comes from, which the masker needs.
enum class MaskerSchedule {
  /// A pass of the masker's own over x.
  separate,
  /// Computed once for the maskers of a stage, then updated where patches change. cpu: the last convolution
  /// of the block before updates the patch sums of x. cuda: each masker updates the logits of all later ones.
  incremental,
  /// convs[0] runs on every pixel and takes the dot product with the masker's weights along. x is read once,
  /// but the dilated mask saves nothing. Needs convs[0] to be a 1x1 of stride 1.
  with_conv1,
};

/// "separate", "incremental" or "with_conv1".
LASNET_EXPORT std::string to_string(MaskerSchedule masker);

/// How the 3x3 after the dilated mask reads its input.
enum class GatherSchedule {
  indirect,  ///< through the list of active pixels, where they lie
  copied,    ///< active patches with their halo are copied to a buffer first
};

/// How the last convolution's output meets the identity path.
enum class ScatterSchedule {
  /// The convolution's epilogue adds and applies the ReLU. A projection is summed in its registers.
  in_place,
  /// The convolution writes a zeroed map, and a pass over the whole map adds.
  separate,
};

/// In which order the block's convolutions pass over the map.
enum class Traversal {
  /// One convolution after the other.
  whole_map,
  /// All convolutions on a few rows of patches that stay in cache, then on the next rows. Needs an identity
  /// block whose convs[0] is a 1x1, without Squeeze-and-Excitation.
  row_bands,
};

/// The schedule of one block. Results are the same bit for bit, with two exceptions by float rounding. Each
/// MaskerSchedule sums the masker's logits in an order of its own. ScatterSchedule decides whether a
/// projection is summed in registers or added afterwards.
struct BlockSchedule {
  MaskerSchedule masker = MaskerSchedule::incremental;  ///< where the masker's means come from
  GatherSchedule gather = GatherSchedule::indirect;     ///< how the 3x3 reads
  ScatterSchedule scatter = ScatterSchedule::in_place;  ///< how the output meets the identity path
  Traversal traversal = Traversal::whole_map;           ///< in which order the map is passed
  /// From this share of active pixels of the batch on, every convolution but the last computes the whole map,
  /// without lists. Nothing is left to save there.
  double whole_map_above = 0.97;

  bool operator==(const BlockSchedule&) const = default;
};

/// The schedule of a network.
struct NetworkSchedule {
  std::vector<BlockSchedule> blocks;  ///< one per block, in network order

  bool operator==(const NetworkSchedule&) const = default;
};

/// Reads "masker=incremental,gather=indirect,scatter=in_place,traversal=whole_map,whole_map_above=0.97". The
/// order and number of entries are free. What is not named keeps its default. Throws Error naming the entry
/// that is wrong and what it may be. "pooled" is read as "incremental", whose name it was.
LASNET_EXPORT BlockSchedule parse_block_schedule(const std::string& text);
/// Writes what parse_block_schedule reads.
LASNET_EXPORT std::string to_string(const BlockSchedule& plan);

/// The nearest plan to `wanted` that the block can run. Choices whose need it does not meet become the
/// default.
LASNET_EXPORT BlockSchedule feasible_schedule(const BlockSpec& block, BlockSchedule wanted);

/// The same plan for every block, fitted to each.
LASNET_EXPORT NetworkSchedule uniform_schedule(const ModelSpec& spec, const BlockSchedule& plan = {});

}  // namespace lasnet
