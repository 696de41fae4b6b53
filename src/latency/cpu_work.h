// What this library's CPU kernels have to do for a block, counted in the units whose cost is fitted
// (WorkUnit): a list of operators, each a vector of counts. Latency is the counts times the profile's
// seconds.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "lasnet/latency.h"
#include "lasnet/schedule.h"
#include "latency/activity.h"

namespace lasnet {

/// A schedule replaces the default only if it is predicted to be this share faster: the model's own error is
/// not far below.
inline constexpr double kClearGain = 0.03;

using WorkCounts = std::array<double, kWorkUnits>;

struct OperatorWork {
  std::string name;
  WorkCounts counts = {};
  double utilisation = 1;  ///< of the register tiles
  std::string tile = {};

  double& operator[](WorkUnit unit) { return counts[static_cast<size_t>(unit)]; }
};

/// What the counts depend on beside the block.
struct CpuContext {
  CpuHardware hardware;
  int64_t batch = 1;
  int threads = 1;
  /// The network's weights and maps exceed the last-level cache, so every operator finds its weights in
  /// memory.
  bool cold_weights = true;
};

/// What a block has to do with the sums of patches that are kept beside the residual map
/// (MaskerSchedule::pooled): decided by the plans of all blocks together.
struct SumsRole {
  bool reads = false;     ///< the masker reads sums, else the map itself
  bool computes = false;  ///< and has to make them first: no block before kept them
  bool keeps = false;     ///< refreshes the sums of patches that it writes
  double cells = 1;       ///< sums per patch

  bool operator==(const SumsRole&) const = default;
};
std::vector<SumsRole> sums_roles(const ModelSpec& spec, const NetworkGeometry& geometry,
                                 const NetworkPlan& plan);

/// The context of a run of this network.
CpuContext cpu_context(const ModelSpec& spec, const CpuHardware& hardware, int64_t batch, int threads);

/// A block without masker.
std::vector<OperatorWork> static_work(const BlockSpec& block, const BlockGeometry& geometry,
                                      const CpuContext& context);

/// A dynamic block under one outcome of its masks. Operators are the same for every outcome.
std::vector<OperatorWork> dynamic_work(const BlockSpec& block, const BlockGeometry& geometry,
                                       const CpuContext& context, const ActiveCounts& counts,
                                       const BlockPlan& plan, const SumsRole& sums);

/// Stem, its pool, and the head.
std::vector<OperatorWork> fixed_work(const ModelSpec& spec, const NetworkGeometry& geometry,
                                     const CpuContext& context);

/// Expected time of a dynamic block.
double expected_seconds(const BlockSpec& block, const BlockGeometry& geometry, const CpuContext& context,
                        const BlockActivity& activity, const BlockPlan& plan, const SumsRole& sums);

/// BlockPlan::whole_map_above for which the block is fastest: the share of active pixels at which computing
/// the whole map takes no longer than following the lists; 2 if following them always wins.
double whole_map_break_even(const BlockSpec& block, const BlockGeometry& geometry, const CpuContext& context,
                            const BlockPlan& plan, const SumsRole& sums);

/// Sum over the operators.
WorkCounts total(const std::vector<OperatorWork>& operators);

/// counts . seconds_per.
double seconds(const WorkCounts& counts, const CpuHardware& hardware);

}  // namespace lasnet
