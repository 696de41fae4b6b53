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
void add_tune(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_predict(CLI::App& app, Action& action);
void add_search(CLI::App& app, Action& action);
void add_calibrate(CLI::App& app, Action& action);
void add_validate_predictor(CLI::App& app, Action& action);
void add_info(CLI::App& app, Action& action);

/// Whether the program lasnet-<command> is beside this one.
bool is_built(const std::string& command);

/// `lasnet train ...` becomes the program lasnet-train beside it, which alone loads libtorch. `arguments`
/// ends with a null pointer and its first is replaced. Returns only by Error.
[[noreturn]] void launch_training(char** arguments);

/// `lasnet sweep ...` becomes the same program, which is told the command: the second of `arguments`.
[[noreturn]] void launch_sweep(char** arguments);

/// `lasnet bench ...` becomes the program lasnet-bench beside it, which alone loads oneDNN. As above.
[[noreturn]] void launch_benchmark(char** arguments);

/// `lasnet report ...` becomes the program lasnet-report beside it, which loads oneDNN too. As above.
[[noreturn]] void launch_report(char** arguments);

/// `lasnet serve ...` becomes the program lasnet-serve beside it, which alone loads libraries for HTTP. As
/// above.
[[noreturn]] void launch_server(char** arguments);

}  // namespace lasnet::cli
