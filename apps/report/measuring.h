// What every part of a report measures with: effort, repetitions, runs that take turns.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "lasnet/engine.h"
#include "output.h"
#include "report_options.h"

namespace lasnet::cli {

/// Told the share of a part that is done, and what runs now.
using Told = std::function<void(double share, const std::string& now)>;

/// How often things are measured.
struct Repetitions {
  size_t photographs = 5;           ///< that are shown
  int photograph = 9;               ///< of each of them
  int bench = 20, large_batch = 8;  ///< of dense, sparse and other networks
  int64_t batch = 8;                ///< images in a large batch
  int density = 6;                  ///< of each density
  int study = 6;                    ///< of each S and deal of rates
  int granularity = 12;             ///< of each S in a whole network
  int fusion = 20, blocks = 20, knob = 12;
  int64_t labelled = 400;  ///< images whose classes are checked
};
Repetitions repetitions(Effort effort);

/// {"min", "q1", "median", "q3"}.
Json quartiles_json(const std::vector<double>& values);

/// One way of running a network.
struct Contender {
  std::string name;
  Session* session = nullptr;
  RunOptions options;
};

/// What it took, run by run, in step with the other contenders.
struct Turns {
  std::vector<double> ms;
  std::vector<double> macs_ratio;
  Trace last;  ///< of the last run
};

/// Runs contenders in turn, in an order that changes, over inputs in turn. Each timed run follows an untimed
/// one of its own kind. `ran` is told every trace.
std::vector<Turns> run_in_turn(const std::vector<Contender>& contenders, const std::vector<Tensor>& inputs,
                               int repeat, const Told& told,
                               const std::function<void(size_t contender, const Result&)>& ran = {});

}  // namespace lasnet::cli
