// What this library's CPU kernels have to do for a block, counted in the units whose cost is fitted
// (WorkUnit): a list of operators, each a vector of counts. Latency is the counts times the profile's
// seconds.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "backends/cpu/program.h"
#include "engine/hardware_facts.h"
#include "lasnet/latency.h"
#include "lasnet/schedule.h"
#include "mask/activity.h"

namespace lasnet {

/// A schedule replaces the default only if it is predicted to be this share faster: the model's own error is
/// not far below.
inline constexpr double kClearGain = 0.03;

using WorkCounts = std::array<double, kWorkUnits>;

struct OperatorWork {
  std::string name = {};
  WorkCounts counts = {};
  double utilisation = 1;  ///< of the register tiles
  std::string tile = {};
  double pixels = 0;  ///< computed; of a masker, patches; of lists, entries
  double macs = 0;
  double bytes = 0;  ///< of weights, read once, and of map pixels read and written

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

/// The context of a run of this network.
CpuContext cpu_context(const ModelSpec& spec, const CpuHardware& hardware, int64_t batch, int threads);

/// A block to be priced: what it is, what it runs, and where.
struct CpuBlockPrice {
  const BlockSpec& block;
  const BlockGeometry& geometry;
  const CpuContext& context;
  const CpuBlockProgram& program;
};

/// Work of each operation that runs when the mask has this outcome, in their order.
std::vector<OperatorWork> block_work(const CpuBlockPrice& of, const ActiveCounts& counts,
                                     MaskOutcome outcome);

/// Without the masker: a static block, or a dense run.
std::vector<OperatorWork> unmasked_work(const CpuBlockPrice& of);

/// Of a dynamic block whose masks have these counts.
std::vector<OperatorWork> masked_work(const CpuBlockPrice& of, const ActiveCounts& counts);

/// Stem, its pool, and the head.
std::vector<OperatorWork> fixed_work(const ModelSpec& spec, const NetworkGeometry& geometry,
                                     const CpuContext& context);

/// Expected time of a dynamic block.
double expected_seconds(const CpuBlockPrice& of, const BlockActivity& activity);

/// BlockSchedule::whole_map_above for which the block is fastest: the share of active pixels at which
/// computing the whole map takes no longer than following the lists; 2 if following them always wins.
double whole_map_break_even(const CpuBlockPrice& of);

/// Sum over the operators.
WorkCounts total(const std::vector<OperatorWork>& operators);

/// counts . seconds_per.
double seconds(const WorkCounts& counts, const CpuHardware& hardware);

}  // namespace lasnet
