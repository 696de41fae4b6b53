// How `lasnet train` reaches the program with libtorch.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "commands.h"
#include "common.h"
#include "core/fail.h"

namespace lasnet::cli {

void launch_training(char** arguments) {
  if (!kTraining) {
    fail(
        "train: this build has no training. Install libtorch (Debian: libtorch-dev libopenblas0-openmp) and "
        "build "
        "again with -DLASNET_TRAIN=ON");
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::string program = (self.parent_path() / "lasnet-train").string();
  arguments[0] = program.data();
  execv(program.c_str(), arguments);
  fail("train: cannot start {}: {}. It belongs beside lasnet; `make build` builds it, the package lasnet-train holds it", program,
       std::strerror(errno));
}

}  // namespace lasnet::cli
