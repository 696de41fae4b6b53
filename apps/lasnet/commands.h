// The subcommands. Each file <command>.cc declares its options on the parser and, when chosen, leaves its
// action.
#pragma once

#include <functional>

#include "cli.h"

namespace lasnet::cli {

/// Runs a parsed command; returns the exit code.
using Action = std::function<int()>;

void add_run(CLI::App& app, Action& action);
void add_forward(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_train(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_info(CLI::App& app, Action& action);

/// Whether this program was built with training.
bool has_training();

inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

}  // namespace lasnet::cli
