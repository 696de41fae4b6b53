// How every program begins and ends: parsing, errors, exit codes.
#pragma once

#include <functional>

#include "cli.h"

namespace lasnet::cli {

/// Whether this build has training.
extern const bool kTraining;

inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

/// Calls the body of a program and returns its exit code. An exception is logged and becomes an exit code:
/// kExitUsage for a wrong command line, kExitError for a wrong file or a failed system call.
int guarded(const std::function<int()>& body);

/// Parses the command line. Returns the exit code if that is all there is to do (help, wrong use), else -1.
int parse(CLI::App& app, int argc, char** argv);

}  // namespace lasnet::cli
