// Runs the built program as a child process.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lasnet::test {

struct ProgramResult {
  int exit_code = -1;  ///< 128 + signal if one ended it
  std::string out, err;
  double cpu_seconds = 0;

  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

struct ProgramOptions {
  std::string stdout_path = {};  ///< instead of collecting standard output
  int64_t file_size_limit = -1;  ///< bytes the program can write to one file: a disk that fills up
  int64_t memory_limit = -1;     ///< bytes of heap and other private memory the program can have
  int terminal_columns = 0;      ///< > 0: both outputs are a terminal so wide, and `out` has all
  std::vector<std::string> environment = {};                        ///< NAME=value, more than this process's
  std::function<bool(const std::string& err)> interrupt_when = {};  ///< send the signal once this holds
  int interrupt_signal = SIGINT;
};

/// Arguments after the program's name. Ends the program if it runs for more than two minutes.
ProgramResult run_program(const std::vector<std::string>& arguments, const ProgramOptions& options = {});

/// `arguments`, then `more`.
std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more);

/// What the program prints with --json; fails the test unless it ends well.
nlohmann::json report_of(const std::vector<std::string>& arguments);

}  // namespace lasnet::test
