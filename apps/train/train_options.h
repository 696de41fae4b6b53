// The options of `lasnet train`: every field of TrainConfig.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "cli.h"
#include "train/train.h"

namespace lasnet::cli {

/// What the command line sets.
struct ConfigOverride {
  std::string key;  ///< of visit_fields
  std::function<void(TrainConfig&)> apply;
};

struct TrainOptions {
  std::string config;  ///< TOML file, or empty
  std::vector<ConfigOverride> overrides;
  int nproc = 1;             ///< processes to start on this machine
  double join_timeout = 60;  ///< seconds
  bool json = false;
};

/// All of them but those of the keys in `left_out`, which may have "config" among them.
void add_train_options(CLI::App& app, TrainOptions& options, const std::set<std::string>& left_out = {});

/// Which process this is: of those that `--nproc` or another launcher has started. Throws UsageError.
Processes processes_for(const TrainOptions& options);

/// A message of the library, with options in place of the settings that it names.
std::string with_option_names(std::string message);

/// What `function` returns; an Error from it names options.
template <typename Function>
auto with_named_options(const Function& function) {
  try {
    return function();
  } catch (const Error& error) {
    const std::string message = with_option_names(error.what());
    if (message == error.what()) throw;
    throw Error(message);
  }
}

/// Defaults, then the TOML file, then the command line. Throws UsageError if the file cannot be read or the
/// result makes no sense.
TrainConfig resolve(const TrainOptions& options);

}  // namespace lasnet::cli
