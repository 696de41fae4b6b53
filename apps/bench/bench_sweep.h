// `lasnet bench --sweep DIR`: speed-up against density for each stage and granularity.
#pragma once

#include <string>
#include <vector>

#include "bench_report.h"

namespace lasnet::cli {

/// One stage (0: the whole network) at one granularity and patch rate.
struct SweepRow {
  int stage = 0, granularity = 1;
  double rate = 0;  ///< of the random masks, as measured
  double dilated_rate = 0;
  double dense_ms = 0, sparse_ms = 0, speedup = 1, theory_speedup = 1;
};

/// The rows of one measurement.
std::vector<SweepRow> sweep_rows(const BenchReport& report, int granularity);

/// Makes the folder for write_sweep and proves that the files can be written there. Throws Error.
void prepare_sweep(const std::string& dir, const std::string& name);

/// Writes DIR/NAME.csv (a row per SweepRow) and DIR/NAME.svg (a plot per stage, a line per granularity, the
/// break-even line). Throws Error.
void write_sweep(const std::vector<SweepRow>& rows, const std::string& title, const std::string& dir,
                 const std::string& name);

/// One line per stage and granularity: speed-up at a quarter, a half and three quarters, and the break-even.
std::string to_text(const std::vector<SweepRow>& rows);

}  // namespace lasnet::cli
