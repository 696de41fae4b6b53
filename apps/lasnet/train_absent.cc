// `lasnet train` in a build without libtorch: it exists, and says what to do.
#include "commands.h"
#include "lasnet/error.h"

namespace lasnet::cli {

bool has_training() { return false; }

void add_train(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("train", "Train a dynamic network (not in this build)");
  command->allow_extras();
  command->callback([&action] {
    action = []() -> int {
      throw Error(
          "train: this build has no training. Install libtorch (Debian: libtorch-dev libopenblas0-openmp) "
          "and build "
          "again with -DLASNET_TRAIN=ON");
    };
  });
}

}  // namespace lasnet::cli
