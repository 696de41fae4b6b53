// What a sweep trains: the static network that all start from, and one dynamic network for each point of the
// grid.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "output.h"
#include "train_options.h"

namespace lasnet::cli {

/// What the command line says.
struct SweepOptions {
  TrainOptions train;
  std::vector<std::vector<int>> granularities;  ///< empty: the file's
  std::vector<double> targets, budgets_ms;      ///< both empty: the file's
  int seeds = 1;
  bool rivals = false, timing = true;
  std::vector<std::string> hardware = {"v100", "rtx3090", "tx2", "nano"};  ///< that times are predicted for
  bool json = false;
};

/// Declares the options: those of `lasnet train` but for what a sweep decides by itself, and its own.
void add_sweep_options(CLI::App& app, SweepOptions& options);

/// A point of the grid.
struct SweepRun {
  std::string name;  ///< of its folder, e.g. "4-4-2-1_target0.5_seed0"
  TrainConfig config;
};

struct SweepPlan {
  TrainConfig static_config;
  std::vector<SweepRun> runs;

  /// One that says where networks are to run, if there is one.
  const TrainConfig& deployed() const;

  /// Where everything lies.
  std::string output;
  std::string file(const std::string& name) const { return output + "/" + name; }
};

/// Throws UsageError on a grid with a point twice, or one that `lasnet train` would refuse; Error on images
/// without a val/ folder.
SweepPlan plan_sweep(const SweepOptions& options);

/// What a sweep may not change while it lasts.
Json to_json(const SweepPlan& plan);
/// Throws Error, naming what differs, if the folder holds another sweep.
void check_same_sweep(const SweepPlan& plan);

/// S as it was asked for, "auto" among them.
std::string granularity_text(const std::vector<int>& granularity);

}  // namespace lasnet::cli
