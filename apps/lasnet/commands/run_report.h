// What `lasnet run` found out about a photograph, and its two forms: JSON and a report for people.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/statistics.h"
#include "output.h"

namespace lasnet::cli {

struct BlockReport {
  std::string name;
  int granularity = 0;    ///< 0: a static block
  bool identity = false;  ///< without active patches it does nothing: the shortcut is the input itself
  double rate = 1, dilated_rate = 1;
  double macs = 0;
  double ms = 0;
};

/// Runs without masks, in turn with those of the network as it is.
struct DenseTiming {
  double ms = 0;         ///< median
  Quartiles pair_ratio;  ///< dense over dynamic, of runs next to each other: how steady the machine is
};

struct ImageReport {
  std::string file;
  int width = 0, height = 0;                        ///< of the photograph
  int input_width = 0, input_height = 0;            ///< of what the network saw
  std::vector<std::pair<std::string, double>> top;  ///< class and probability, best first
  double macs = 0, static_macs = 0;
  double run_ms = 0;                 ///< of the network as it is, median
  std::optional<DenseTiming> dense;  ///< absent in a static network, which would be compared with itself
  std::vector<BlockReport> blocks;
  std::vector<std::string> overlays;  ///< files written

  double macs_ratio() const { return macs / static_macs; }
  /// The ratio of the two times that are shown.
  double speedup() const { return dense->ms / run_ms; }
};

Json to_json(const ImageReport& report);
/// Several lines.
std::string to_text(const ImageReport& report);
/// One line per photograph; of one network.
std::string summary(const std::vector<ImageReport>& reports);

}  // namespace lasnet::cli
