// What `lasnet run` found out about a photograph, and its two forms: JSON and a report for people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "statistics.h"

namespace lasnet::cli {

struct BlockReport {
  std::string name;
  int granularity = 0;  ///< 0: a static block
  double rate = 1, dilated_rate = 1;
  double macs = 0;
  double ms = 0;
};

struct ImageReport {
  std::string file;
  int width = 0, height = 0;                        ///< of the photograph
  int input_width = 0, input_height = 0;            ///< of what the network saw
  std::vector<std::pair<std::string, double>> top;  ///< class and probability, best first
  double macs = 0, static_macs = 0;
  double dynamic_ms = 0, dense_ms = 0;
  Quartiles speedup;  ///< over pairs of a dense and a dynamic run
  std::vector<BlockReport> blocks;
  std::vector<std::string> overlays;  ///< files written

  double macs_ratio() const { return macs / static_macs; }
};

Json to_json(const ImageReport& report);
/// Several lines.
std::string to_text(const ImageReport& report);
/// One line per photograph.
std::string summary(const std::vector<ImageReport>& reports);

}  // namespace lasnet::cli
