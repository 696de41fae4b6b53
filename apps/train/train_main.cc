// lasnet-train, which `lasnet train` and `lasnet sweep` become: a thin front end to train(): options over a
// TOML file over defaults, progress, and Ctrl-C.
#include <algorithm>
#include <string_view>

#include "base/fail.h"
#include "interrupt.h"
#include "local_processes.h"
#include "log.h"
#include "machine.h"
#include "output.h"
#include "program.h"
#include "sweep.h"
#include "train/train.h"
#include "train_options.h"
#include "train_progress.h"

namespace lasnet::cli {
namespace {

int train(const TrainOptions& options, const Processes& processes) {
  TrainConfig config = resolve(options);
  if (config.threads == 0) config.threads = std::max(1, default_threads() / processes.local_size);
  install_interrupt_handler();
  TrainProgress progress(config.output);
  TrainObserver observer = progress.observer();
  observer.should_stop = was_interrupted;
  TrainResult result = lasnet::train(config, observer, processes);
  result.advice = with_option_names(result.advice);
  progress.finish();
  if (config.dry_run) return 0;
  if (processes.rank != 0) return result.completed ? 0 : kExitInterrupted;
  if (!result.completed) {
    log_warning(result.checkpoint_path.empty()
                    ? "stopped before the first step: nothing was saved; the same command starts again"
                    : fmt::format("stopped; the checkpoint is in {0}. `lasnet train --resume -o {0}` goes on",
                                  config.output));
    return kExitInterrupted;
  }
  if (options.json) {
    if (!result.model_path.empty() && !result.target_met) log_warning(verdict(result));
    print_json(to_json(result));
  } else {
    print(to_text(result));
  }
  return 0;
}

/// On one process or several, with errors that name options.
int train_by_options(const TrainOptions& options, char** argv) {
  return with_named_options([&] {
    const Processes processes = processes_for(options);
    if (options.nproc == 1 || processes.size > 1) return train(options, processes);
    (void)resolve(options);  // what is wrong with them is said once
    return run_local_processes(options.nproc, argv);
  });
}

int run_command(int argc, char** argv) {
  const auto parser = make_parser("lasnet train", "Train a dynamic network on an image folder");
  CLI::App& app = *parser;
  TrainOptions options;
  add_train_options(app, options);
  add_json_flag(app, options.json);
  if (const int code = parse(app, argc, argv); code >= 0) return code;
  return train_by_options(options, argv);
}

}  // namespace
}  // namespace lasnet::cli

int main(int argc, char** argv) {
  const bool sweeps = argc > 1 && std::string_view(argv[1]) == "sweep";
  return lasnet::cli::guarded(
      [&] { return sweeps ? lasnet::cli::run_sweep(argc, argv) : lasnet::cli::run_command(argc, argv); });
}
