// `lasnet train`: a thin front end to train(): options over a TOML file over defaults, progress, and Ctrl-C.
#include "lasnet/train.h"

#include <csignal>
#include <memory>

#include "commands.h"
#include "common.h"
#include "core/fail.h"
#include "log.h"
#include "machine.h"
#include "train_options.h"
#include "train_progress.h"

namespace lasnet::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

/// The first Ctrl-C asks training to stop at the next step; the second, with the default action back, kills.
void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int train(const TrainOptions& options) {
  TrainConfig config = resolve(options);
  if (config.threads == 0) config.threads = physical_cores();
  install_interrupt_handler();
  TrainProgress progress;
  TrainObserver observer = progress.observer();
  observer.should_stop = [] { return interrupted != 0; };
  const TrainResult result = lasnet::train(config, observer);
  progress.finish();
  if (!result.completed) {
    log_warning(fmt::format("stopped; the checkpoint is in {}. Add --resume to the same command to go on",
                            config.output));
    return kExitInterrupted;
  }
  if (options.json) {
    print_json(to_json(result));
  } else {
    print(to_text(result));
  }
  return 0;
}

}  // namespace

bool has_training() { return true; }

void add_train(CLI::App& app, Action& action) {
  auto* sub = app.add_subcommand("train", "Train a dynamic network on an image folder");
  const auto options = std::make_shared<TrainOptions>();
  add_train_options(*sub, *options);
  add_json_flag(*sub, options->json);
  sub->callback([options, &action] { action = [options] { return train(*options); }; });
}

}  // namespace lasnet::cli
