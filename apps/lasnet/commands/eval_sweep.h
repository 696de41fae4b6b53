// `lasnet eval --sweep DIR`: accuracy against MACs and against measured time, of one model.
#pragma once

#include <string>
#include <vector>

#include "output.h"

namespace lasnet::cli {

/// One operating point, as measured.
struct SweepRow {
  bool dense = false;  ///< the network without masks, for comparison
  double macs_ratio = 1, top1 = 0, top5 = 0;
  double ms_per_image = 0;  ///< in the network
};

struct Sweep {
  std::string model;  ///< its file
  int64_t images = 0;
  int repeats = 1;  ///< runs of which SweepRow::ms_per_image has the median
  std::vector<SweepRow> rows;
};

/// Makes the folder for write_sweep and proves that the files can be written there. Throws Error.
void prepare_sweep(const std::string& dir, const std::string& model);

/// Writes <model's stem>.csv (a row per SweepRow) and .svg (two plots). Throws Error.
void write_sweep(const Sweep& sweep, const std::string& dir);

Json to_json(const Sweep& sweep);
/// A table, and where the files are.
std::string to_text(const Sweep& sweep, const std::string& dir);

}  // namespace lasnet::cli
