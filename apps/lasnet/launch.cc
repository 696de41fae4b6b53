// How `lasnet train` and `lasnet bench` reach the programs with libtorch and oneDNN.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "commands.h"
#include "common.h"
#include "core/fail.h"

namespace lasnet::cli {
namespace {

/// Becomes the program lasnet-<command> beside this one.
[[noreturn]] void launch(const std::string& command, char** arguments) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::string program = (self.parent_path() / ("lasnet-" + command)).string();
  arguments[0] = program.data();
  execv(program.c_str(), arguments);
  fail(
      "{}: cannot start {}: {}. It belongs beside lasnet; `make build` builds it, the package lasnet-{} has "
      "it",
      command, program, std::strerror(errno), command);
}

}  // namespace

void launch_training(char** arguments) {
  if (!kTraining) {
    fail(
        "train: this build has no training. Install libtorch (Debian: libtorch-dev libopenblas0-openmp) and "
        "build "
        "again with -DLASNET_TRAIN=ON");
  }
  launch("train", arguments);
}

void launch_benchmark(char** arguments) { launch("bench", arguments); }

}  // namespace lasnet::cli
