// How much of a network a command computes: thresholds, or a budget that one of the model's operating points
// meets.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "lasnet/engine.h"
#include "lasnet/model.h"
#include "lasnet/operating_point.h"
#include "output.h"

namespace lasnet::cli {

struct OperatingOptions {
  std::vector<float> thresholds;
  std::optional<double> macs;
  std::optional<double> budget_ms;
  std::string hardware;  ///< that `budget_ms` is for; "": where the session runs

  /// Whether the network computes what it was trained to.
  bool empty() const { return thresholds.empty() && !macs && !budget_ms; }
};

/// One number, or one for each block with commas between. Throws Error.
std::vector<float> parse_thresholds(const std::string& text);

/// --threshold, --macs, --budget-ms and --hardware.
void add_operating_options(CLI::App& app, OperatingOptions& options);
/// The same but --macs, for a command to which that says something else.
void add_operating_options_but_macs(CLI::App& app, OperatingOptions& options);

/// How much a run computes.
struct OperatingChoice {
  std::vector<float> thresholds = {};                  ///< as RunOptions::thresholds
  std::optional<OperatingPoint> point = std::nullopt;  ///< that a budget chose
};

/// What the options ask for; says which operating point was chosen. `size`: of the images, where it is not
/// the model's. Throws UsageError on thresholds that do not fit the network, and Error as operating_point
/// does.
OperatingChoice operating_choice(const OperatingOptions& options, const Model& model,
                                 const SessionOptions& session, std::optional<MapSize> size = std::nullopt);

/// Adds "thresholds", and "operating_point" where one was chosen. Nothing where the network computes what it
/// was trained to.
void add_operating_choice(Json& json, const OperatingChoice& operating);
Json operating_point_json(const OperatingPoint& point);

}  // namespace lasnet::cli
