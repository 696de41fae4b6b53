// The command line of `lasnet report`.
#pragma once

#include <string>
#include <vector>

#include "cli.h"

namespace lasnet::cli {

/// How long it measures. `usual` is for a look at a machine that is otherwise busy.
enum class Effort { quick, usual, full };

struct ReportOptions {
  std::string model;                                                       ///< file
  std::string images;                                                      ///< folder
  std::vector<std::string> hardware = {"v100", "rtx3090", "tx2", "nano"};  ///< that predictions are made for
  Effort effort = Effort::usual;
  std::vector<std::string> peers;  ///< files of comparisons with other engines
  std::string sweep;               ///< sweep.json of a `lasnet sweep`; empty: none
  int threads = 0;                 ///< the most that are measured; 0: what sessions run on by default
  std::string output;              ///< folder
  bool resume = false;
  bool json = false;
};

void add_report_options(CLI::App& app, ReportOptions& options);

}  // namespace lasnet::cli
