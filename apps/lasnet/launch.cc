// How `lasnet train`, `lasnet sweep`, `lasnet bench`, `lasnet report` and `lasnet serve` reach the programs
// with libtorch, oneDNN and HTTP.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/fail.h"
#include "commands.h"
#include "program.h"

namespace lasnet::cli {
namespace {

/// lasnet-<command> beside this program.
std::string program_of(const std::string& command) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / ("lasnet-" + command)).string();
}

/// Becomes it.
[[noreturn]] void launch(const std::string& command, char** arguments) {
  std::string program = program_of(command);
  arguments[0] = program.data();
  execv(program.c_str(), arguments);
  fail(
      "{}: cannot start {}: {}. It belongs beside lasnet; `make build` builds it, the package lasnet-{} has "
      "it",
      command, program, std::strerror(errno), command);
}

}  // namespace

namespace {

void check_training() {
  if (!kTraining) {
    fail(
        "train: this build has no training. Install libtorch (Debian: libtorch-dev libopenblas0-openmp) and "
        "build "
        "again with -DLASNET_TRAIN=ON");
  }
}

}  // namespace

void launch_training(char** arguments) {
  check_training();
  launch("train", arguments);
}

void launch_sweep(char** arguments) {
  check_training();
  launch("train", arguments);
}

bool is_built(const std::string& command) { return access(program_of(command).c_str(), X_OK) == 0; }

void launch_benchmark(char** arguments) { launch("bench", arguments); }

void launch_report(char** arguments) { launch("report", arguments); }

void launch_server(char** arguments) { launch("serve", arguments); }

}  // namespace lasnet::cli
