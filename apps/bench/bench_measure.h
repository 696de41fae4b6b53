// The measurement of `lasnet bench`: dense, sparse and baseline runs in turn, in one process.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "baseline/baseline.h"
#include "bench_inputs.h"
#include "lasnet/engine.h"

namespace lasnet::cli {

struct MeasureOptions {
  int repeat = 20;
  std::optional<double> rate;  ///< of random masks; absent: the maskers decide
  uint64_t seed = 0;
  std::vector<float> thresholds = {};      ///< of the maskers
  std::vector<std::string> features = {};  ///< maps that dense and sparse runs return
  MapLayout feature_layout = MapLayout::nchw;
};

/// What one block did; times of each repetition.
struct BlockMeasurements {
  std::string name;
  int granularity = 0;
  bool identity = false;                        ///< without active patches it passes its input on
  double rate = 0, dilated_rate = 0, macs = 0;  ///< of sparse runs, mean over the repetitions
  int64_t static_macs = 0;
  int stage = 0;
  std::vector<double> dense_ms, sparse_ms;
  std::vector<double> masking_ms;           ///< of sparse runs: masker, decisions, dilation and lists
  std::vector<double> run_rates, run_macs;  ///< of sparse runs

  /// Nothing but its masker ran then: its speed-up would be a measure of nothing.
  bool skipped(size_t run) const { return identity && run_rates[run] == 0; }
};

/// One entry for each repetition, in step.
struct Measurements {
  std::vector<double> dense_ms, sparse_ms, baseline_ms;  ///< the last empty without a baseline
  std::vector<double> macs_ratio;                        ///< of the sparse run
  std::vector<double> peak_gflops;  ///< FMA peak of all threads, measured beside the runs; empty on a GPU
  std::vector<BlockMeasurements> blocks;
  bool finite = true;  ///< all logits
};

/// `baseline` may be null. `progress` is called after each repetition with how many are done.
Measurements measure(Session& session, Baseline* baseline, BenchInputs& inputs, const MeasureOptions& options,
                     const std::function<void(const Measurements&)>& progress);

/// One way of running the baseline, timed to choose between them.
struct TimedVariant {
  std::string note;
  double min_ms = 0;
};

/// A baseline that computes the same function, the fastest of its variants here.
struct ChosenBaseline {
  std::unique_ptr<Baseline> baseline;
  std::vector<TimedVariant> variants;  ///< all that were tried
  double logits_error = 0;             ///< largest difference to the dense logits over their largest value
};

/// Largest logits_error of a baseline that still computes the same function. In fp32: float rounding of
/// differently ordered sums (or Winograd's) through a hundred layers. In int8: projections rounded to other
/// bytes.
constexpr double max_logits_error(Precision precision) { return precision == Precision::int8 ? 0.1 : 1e-3; }

/// Compares every variant's logits with the session's dense ones, and only then times them and keeps the
/// fastest. Throws Error if logits differ by more than max_logits_error.
ChosenBaseline choose_baseline(std::vector<std::unique_ptr<Baseline>> variants, Session& session,
                               const Tensor& input);

}  // namespace lasnet::cli
