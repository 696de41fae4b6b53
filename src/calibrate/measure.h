// Measuring blocks where they run: in whole networks, block by block. A reference kernel runs beside them,
// so that a processor that others use disturbs little. Times are processor time with one thread, wall time
// with more. Quiet minima over repetitions count.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/prices.h"
#include "base/random.h"
#include "lasnet/latency.h"
#include "mask/activity.h"

namespace lasnet {

/// Runs of one network under fixed masks.
struct MeasuredCase {
  ArchConfig arch;
  MapSize size = {224, 224};
  int64_t batch = 1;
  int threads = 1;
  BlockSchedule schedule = {};  ///< of every block that can run it
  /// Activation rates, dealt to the blocks in turn, once for each entry of `offsets` with another beginning:
  /// so every block meets several rates. Of each block's patches that share, rounded, is active, at random
  /// places. Empty: the static network.
  std::vector<double> rates = {};
  std::vector<int> offsets = {0};
};

/// What a measured time belongs to: a block, or stem and head together.
struct Sample {
  std::string network;  ///< the architecture's name
  MapSize size;
  int64_t batch = 1;
  int threads = 1;
  std::optional<size_t> block;  ///< index; nullopt: stem, its pool and the head
  bool dynamic = false;
  BlockSpec spec;
  BlockGeometry geometry;
  BlockActivity activity;   ///< recorded
  BlockSchedule plan;       ///< that ran
  CpuBlockProgram program;  ///< that it runs
  WorkCounts counts = {};   ///< of that plan
  /// Quiet minima of the odd and the even repetitions, in runs of the reference kernel.
  double units = 0, units_again = 0;

  double quiet() const { return std::min(units, units_again); }
  /// How far two measurements of the same thing differ.
  double noise() const { return std::abs(units - units_again) / quiet(); }
};

/// The samples of one case under one deal of rates, and the run as a whole.
struct MeasuredRun {
  MeasuredCase of;
  std::vector<double> rates;  ///< of each block
  std::vector<Sample> samples;
  double units = 0, units_again = 0;  ///< the whole run

  double quiet() const { return std::min(units, units_again); }
};

struct MeasureOptions {
  int min_repeat = 4, max_repeat = 12;  ///< of every run
  double min_seconds = 0;               ///< of every run, however many repetitions: short ones need more
  double budget_s = 1e9;                ///< repetitions beyond the fewest end then
  uint64_t seed = 0;                    ///< of weights, inputs and masks
};

/// Masks in which that share rates[b] of block b's patches is active, at random places; what they are is
/// added to `activities`, block by block.
MaskSet draw_masks(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t batch,
                   const std::vector<double>& rates, Random& random, std::vector<BlockActivity>& activities);

/// Told the share of a case that is done.
using MeasureProgress = std::function<void(double share)>;

/// Seconds that the reference kernel takes here when nothing disturbs it: multiply-adds in registers.
double reference_seconds(Isa isa);

/// Seconds of one reduction step of a full register tile at the multiply-add peak: WorkUnit::tile_step.
double tile_step_seconds(Isa isa);

/// Seconds that a session's threads take to start and join a loop, beyond the longest thread's own work.
double loop_seconds(Isa isa, int threads);

/// Measures a case on this machine's CPU.
std::vector<MeasuredRun> measure_case(const MeasuredCase& measured, const MeasureOptions& options,
                                      const CpuHardware& machine, const MeasureProgress& progress);

}  // namespace lasnet
