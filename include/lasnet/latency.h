// Predicting how long a network takes: a model of algorithm (granularity S, activation rate r), schedule
// (which operators are fused) and hardware (paper section 3.3). Nothing is run and no GPU is needed.
//
//   HardwareProfile v100 = load_hardware("v100");
//   NetworkLatency latency = predict_latency(spec, v100, {.batch = 128, .rate = 0.5});
//   latency.speedup();  // static over dynamic
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/engine.h"
#include "lasnet/hardware.h"
#include "lasnet/model.h"
#include "lasnet/schedule.h"

namespace lasnet {

/// Which equations predict. `standard` is, for GPUs, the paper's three-level model without the faults of its
/// published simulator. For profiles of the kinds cpu and cuda it is a model of this library's kernels.
/// `paper`: the simulator's equations as they are (GPUs only), to reproduce what the paper reports.
enum class LatencyModelKind { standard, paper };
/// Its name on command lines: "default" or "paper"; parse_ functions throw Error on any other text.
LASNET_EXPORT std::string to_string(LatencyModelKind kind);
LASNET_EXPORT LatencyModelKind parse_latency_model(const std::string& text);

/// What a user fixes of the blocks' schedules (lasnet/schedule.h), as far as a block can run it. The model
/// chooses what is not set.
struct LASNET_EXPORT ScheduleConstraint {
  std::optional<MaskerSchedule> masker = std::nullopt;    ///< as in BlockSchedule
  std::optional<GatherSchedule> gather = std::nullopt;    ///< as in BlockSchedule
  std::optional<ScatterSchedule> scatter = std::nullopt;  ///< as in BlockSchedule
  std::optional<Traversal> traversal = std::nullopt;      ///< as in BlockSchedule

  /// A schedule with what is fixed, the rest as `usual` has it.
  BlockSchedule start(const BlockSchedule& usual = {}) const;
  /// The same choices fixed, but to what `plan` has. For a block that cannot run all that is asked for.
  ScheduleConstraint fixed_to(const BlockSchedule& plan) const;
  /// Whether `plan` has what is fixed.
  bool allows(const BlockSchedule& plan) const;
};
/// Reads "auto", or any of "masker=...,gather=...,scatter=...,traversal=..." with commas, as
/// parse_block_schedule does. Throws Error on any other text.
LASNET_EXPORT ScheduleConstraint parse_schedule_constraint(const std::string& text);

/// One operator. The parts need not add up to `seconds` where they overlap.
struct LASNET_EXPORT OperatorLatency {
  std::string name;        ///< e.g. "conv2", "masker", "gather"
  double seconds = 0;      ///< of the whole operator
  double compute_s = 0;    ///< arithmetic, at the utilisation of the tiling
  double offchip_s = 0;    ///< moving weights and maps from and to memory, once each
  double onchip_s = 0;     ///< loads and stores of tiles that go to shared caches again
  double launch_s = 0;     ///< starting the operator, and joining its threads
  double utilisation = 1;  ///< share of the lanes that work, or of full register tiles
  std::string tile = {};   ///< e.g. "64 channels x 8 x 8 pixels x 2 patches"
  double pixels = 0;       ///< that it computes in a batch; of a masker, patches. 0: the model does not say
  double macs = 0;         ///< multiply-accumulates in a batch
  double bytes = 0;        ///< of weights, and of maps that it reads and writes

  /// The largest part: "compute", "offchip", "onchip" or "launch".
  std::string bound() const;
  /// Adds another operator's times, `weight` times. Name, utilisation and tile stay.
  void add(const OperatorLatency& part, double weight = 1);
};

/// The prediction for one block.
struct BlockLatency {
  std::string name;                        ///< of the block, e.g. "layer1.0"
  int stage = 0;                           ///< 0 to 3
  double static_s = 0;                     ///< without masker, everything computed
  double dynamic_s = 0;                    ///< expectation over the masks; static_s in a static block
  BlockSchedule schedule;                  ///< of the dynamic block; a GPU has no whole-map break-even
  std::vector<OperatorLatency> operators;  ///< of the dynamic block
};

/// The prediction for a network.
struct NetworkLatency {
  double static_s = 0,                 ///< of a batch, without masks
      dynamic_s = 0;                   ///< of a batch, expectation over the masks
  double macs_ratio = 1;               ///< expected multiply-accumulates over the static network's
  std::vector<BlockLatency> blocks;    ///< in network order
  std::vector<OperatorLatency> fixed;  ///< stem, pooling and head: the same in both

  /// Static over dynamic time.
  double speedup() const { return static_s / dynamic_s; }
};

/// What is run.
struct LatencyQuery {
  MapSize size = {224, 224};  ///< of the images, pixels
  int64_t batch = 1;          ///< images per run
  int threads = 1;            ///< of a CPU; GPUs ignore it
  Precision precision =
      Precision::fp32;  ///< fp32 or fp16 (CUDA profiles: tensor cores); CPUs compute in fp32
  /// Masks: every patch is active by itself with this probability. Times are expectations over the masks, not
  /// times of a mean mask.
  double rate = 1;
  /// Instead of `rate`: that of each block, in network order. Static blocks ignore theirs.
  std::vector<double> rates = {};
  const MaskSet* masks = nullptr;    ///< recorded masks of dynamic blocks, instead of rates
  ScheduleConstraint schedule = {};  ///< what is fixed of the blocks' schedules
  LatencyModelKind model = LatencyModelKind::standard;  ///< which equations predict
};

/// Predicts one run. Throws Error on a rate outside [0, 1], a batch or thread count < 1, rates or masks that
/// do not fit, or an image under 32 px. It also does on a precision or model that the hardware does not have,
/// and when no schedule satisfies the constraint.
LASNET_EXPORT NetworkLatency predict_latency(const ModelSpec& spec, const HardwareProfile& hardware,
                                             const LatencyQuery& query);

/// Throws Error as predict_latency does on what can be checked without the network: rate, batch, threads,
/// precision and model.
LASNET_EXPORT void check_query(const LatencyQuery& query, const HardwareProfile& hardware);

/// The schedules that are predicted to be fastest, as predict_latency reports them, with each block's
/// break-even between lists and whole map. A schedule other than the default must be clearly faster to be
/// chosen. Sessions run these unless told otherwise. Throws Error as predict_latency does.
LASNET_EXPORT NetworkSchedule choose_schedule(const ModelSpec& spec, const HardwareProfile& hardware,
                                              const LatencyQuery& query);

/// Multiply-accumulates of a run over the static network's, expected over independent patches of this rate,
/// halo included.
LASNET_EXPORT double expected_macs_ratio(const ModelSpec& spec, MapSize size, double rate);

/// The rate at which expected_macs_ratio is `macs`. Throws Error, naming the range, if no rate is.
LASNET_EXPORT double rate_for_macs_ratio(const ModelSpec& spec, MapSize size, double macs);

/// What a search for granularities looks for (paper section 3.3: S per stage, chosen from predicted latency).
struct SearchOptions {
  /// Candidates for S. One patch per image is offered once per stage: as kWholeMapGranularity if that is
  /// among them, else as the least S that covers the map.
  std::vector<int> granularities = {1, 2, 4, 7, 8, 14, 28};
  /// The smallest S within this share of the least latency is chosen: small patches are more flexible.
  double tolerance = 0.05;
  bool per_block = false;  ///< else one S per stage
  /// The largest share of a stage's map that one patch may cover, > 0 and <= 1. Latency alone favours large
  /// patches, and masks of few patches cannot follow objects. By default every map has 16 patches or more.
  /// Where no candidate is that small, the smallest is chosen.
  double max_patch_share = 1.0 / 16;
  /// Instead of LatencyQuery::rate: the rate that gives the network this MAC ratio with the chosen S ...
  std::optional<double> macs = std::nullopt;
  /// ... or the largest rate at which a batch takes no longer than this.
  std::optional<double> budget_s = std::nullopt;
};

/// Latency of one stage's blocks (or of one block) with one S, at the rates of GranularitySearch.
struct SearchCurve {
  int stage = 0;                ///< 0 to 3
  std::string name;             ///< "stage 1", or the block's
  int granularity = 0;          ///< S
  std::vector<double> seconds;  ///< at each of GranularitySearch::rates
  double static_s = 0;          ///< of the same blocks without masks
  double seconds_at_rate = 0;   ///< at the rate that the choice is made for
  double break_even = 0;   ///< rate up to which they are faster than without masks; 0: at none of the rates
  bool chosen = false;     ///< whether the search chose this S
  double patch_share = 0;  ///< share of the map that one patch covers, at most 1
  bool coarse = false;     ///< that share is above SearchOptions::max_patch_share
  double saves = 0;  ///< share of the chosen S's seconds_at_rate that this S would save; < 0: it is slower
};

/// What a search found.
struct GranularitySearch {
  std::vector<int> granularity;     ///< chosen: per stage, or per block
  double rate = 1;                  ///< that it was chosen for
  double macs_ratio = 1;            ///< expected there
  NetworkLatency latency;           ///< predicted there
  std::vector<double> rates;        ///< of the curves
  std::vector<SearchCurve> curves;  ///< stage by stage, or block by block
};

/// Predicts the architecture with every candidate and chooses. `arch.granularity` is ignored. Throws Error as
/// predict_latency does. It also does on a tolerance < 0, a share outside (0, 1], no or wrong candidates, and
/// a MAC ratio or budget that no rate meets.
LASNET_EXPORT GranularitySearch search_granularity(const ArchConfig& arch, const HardwareProfile& hardware,
                                                   const LatencyQuery& query, const SearchOptions& options);

}  // namespace lasnet
