// What `lasnet bench` found out, and its two forms: JSON and a report for people.
#pragma once

#include <string>

#include "base/statistics.h"
#include "bench_measure.h"
#include "operating_options.h"
#include "output.h"
#include "session_options.h"

namespace lasnet::cli {

/// Blocks together; times, and ratios of runs in step, are medians over the repetitions.
struct BlocksSummary {
  double dense_ms = 0, sparse_ms = 0, speedup = 1, theory_speedup = 1;
  double masking_share = 0;           ///< of the sparse time
  size_t runs = 0, skipped_runs = 0;  ///< in which every block was skipped

  /// So often that the medians are those of nothing.
  bool skipped() const { return 2 * skipped_runs > runs; }
  /// How much of the saved MACs became saved time. Above 1 where memory traffic is saved, too.
  double efficiency() const { return speedup / theory_speedup; }
};

struct StageSummary : BlocksSummary {
  int stage = 0;
};

struct BenchReport {
  std::string model;  ///< file or architecture
  ArchConfig arch;
  MapSize size;
  int batch = 1;
  Kernels kernels;
  std::optional<BlockSchedule> schedule;  ///< forced on every block
  std::optional<double> rate;             ///< of random masks; absent: the network's own
  OperatingChoice operating;              ///< of the network's own masks
  std::vector<std::string> features;      ///< maps that dense and sparse runs returned
  size_t photographs = 0;                 ///< used; 0: noise
  size_t photographs_found = 0;           ///< in the folder
  int64_t static_macs = 0;                ///< per image
  Measurements measured;
  ChosenBaseline baseline;  ///< empty without one
  std::string reproduce;

  /// Whether the FMA peak was measured: it is the processor's.
  bool has_peak() const { return !measured.peak_gflops.empty(); }
  double mean_macs_ratio() const { return mean(measured.macs_ratio); }
  double theory_speedup() const { return 1 / mean_macs_ratio(); }
  /// Sparse over dense: the median over pairs of runs.
  double speedup() const { return median(ratios(measured.dense_ms, measured.sparse_ms)); }
  std::vector<StageSummary> stages() const;
  /// What masker, decisions, dilation and lists take of a sparse run.
  Quartiles masking_share() const;
  /// What times of runs that compute everything are of the FMA peak measured beside them.
  Quartiles peak_share(const std::vector<double>& ms) const;
};

Json to_json(const BenchReport& report);
/// Several lines.
std::string to_text(const BenchReport& report);

}  // namespace lasnet::cli
