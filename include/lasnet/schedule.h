// How each block is executed: choices that change time and memory traffic, never the result (paper
// section 3.3).
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

/// Where the masker's pooled input comes from.
enum class MaskerSchedule {
  separate,    ///< a pass of its own over x
  pooled,      ///< what a stage's maskers ask of x is worked out once, then kept up to date where patches
               ///< change. cpu: the patch sums of x, by the last convolution of the block before; cuda: the
               ///< logits of all later maskers, by each masker
  with_conv1,  ///< convs[0] runs on every pixel and takes the dot product of each along: x is read once, but
               ///< the dilated mask saves nothing. Needs convs[0] to be a 1x1 of stride 1
};

/// "separate", "pooled" or "with_conv1".
LASNET_EXPORT std::string to_string(MaskerSchedule masker);

/// How the 3x3 after the dilated mask reads its input.
enum class GatherSchedule {
  indirect,  ///< through the list of active pixels, where they lie
  copied,    ///< active patches with their halo are copied to a buffer first
};

/// How the last convolution's output meets the identity path.
enum class ScatterSchedule {
  in_place,  ///< the convolution's epilogue adds and applies the ReLU; a projection is summed in its
             ///< registers
  separate,  ///< the convolution writes a zeroed map, and a pass over the whole map adds
};

/// In which order the block's convolutions pass over the map.
enum class Traversal {
  whole_map,  ///< one convolution after the other
  row_bands,  ///< all of them on a few rows of patches that stay in cache, then on the next. Needs an
              ///< identity block whose convs[0] is a 1x1, without Squeeze-and-Excitation
};

/// The schedule of one block. Results are the same bit for bit, with two exceptions by float rounding: the
/// masker's logits, whose sums each MaskerSchedule takes in its own order, and ScatterSchedule in blocks with
/// a projection, which is summed in registers or added afterwards.
struct BlockPlan {
  MaskerSchedule masker = MaskerSchedule::pooled;
  GatherSchedule gather = GatherSchedule::indirect;
  ScatterSchedule scatter = ScatterSchedule::in_place;
  Traversal traversal = Traversal::whole_map;
  /// Share of active pixels of the batch at and above which every convolution but the last computes the whole
  /// map, without lists: nothing is left to save there.
  double whole_map_above = 0.97;

  bool operator==(const BlockPlan&) const = default;
};

/// The schedule of a network, a BlockPlan per block.
struct NetworkPlan {
  std::vector<BlockPlan> blocks;

  bool operator==(const NetworkPlan&) const = default;
};

/// "masker=pooled,gather=indirect,scatter=in_place,traversal=whole_map,whole_map_above=0.97"; the order and
/// number of entries are free, what is not named keeps its default. Throws Error naming the entry that is
/// wrong and what it may be.
LASNET_EXPORT BlockPlan parse_block_plan(const std::string& text);
LASNET_EXPORT std::string to_string(const BlockPlan& plan);

/// The nearest plan to `wanted` that the block can run: choices whose need it does not meet become the
/// default.
LASNET_EXPORT BlockPlan fit_plan(const BlockSpec& block, BlockPlan wanted);

/// The same plan for every block, fitted to each.
LASNET_EXPORT NetworkPlan uniform_plan(const ModelSpec& spec, const BlockPlan& plan = {});

}  // namespace lasnet
