// lasnet-train, which `lasnet train` becomes: a thin front end to train(): options over a TOML file over
// defaults, progress, and Ctrl-C.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "base/fail.h"
#include "local_processes.h"
#include "log.h"
#include "machine.h"
#include "output.h"
#include "program.h"
#include "train/train.h"
#include "train_options.h"
#include "train_progress.h"

namespace lasnet::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

/// Says so at once, as a step can take a minute: only with what a signal handler may call.
void on_interrupt(int) {
  interrupted = 1;
  constexpr std::string_view kText = "\nsaving after this step; once more to quit\n";
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText.data(), kText.size());
  errno = error;
}

/// The first Ctrl-C asks training to stop at the next step; the second, with the default action back, kills.
/// So do SIGTERM and the end of the terminal, unless that is ignored (nohup).
void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction before = {};
  if (sigaction(SIGHUP, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
    sigaction(SIGHUP, &action, nullptr);
}

/// Which process this is: of those that `--nproc` or another launcher has started.
Processes processes_for(const TrainOptions& options) {
  Processes processes = processes_from_environment();
  processes.join_seconds = options.join_timeout;
  if (options.nproc > 1 && processes.size > 1 && options.nproc != processes.size)
    throw UsageError(
        fmt::format("--nproc {} within {} processes that were started together (WORLD_SIZE): give "
                    "one or the other",
                    options.nproc, processes.size));
  if (options.nproc > 1 && !trains_with_processes())
    throw UsageError(
        "--nproc: this lasnet was built without Gloo, which several processes need; install its "
        "headers (Debian: libgloo-dev) and build again");
  return processes;
}

int train(const TrainOptions& options, const Processes& processes) {
  TrainConfig config = resolve(options);
  if (config.threads == 0) config.threads = std::max(1, default_threads() / processes.local_size);
  install_interrupt_handler();
  TrainProgress progress(config.output);
  TrainObserver observer = progress.observer();
  observer.should_stop = [] { return interrupted != 0; };
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
    if (!result.target_met) log_warning(verdict(result));
    print_json(to_json(result));
  } else {
    print(to_text(result));
  }
  return 0;
}

/// train, whose errors name options.
int train_by_options(const TrainOptions& options, char** argv) {
  try {
    const Processes processes = processes_for(options);
    if (options.nproc == 1 || processes.size > 1) return train(options, processes);
    (void)resolve(options);  // what is wrong with them is said once
    return run_local_processes(options.nproc, argv);
  } catch (const Error& error) {
    const std::string message = with_option_names(error.what());
    if (message == error.what()) throw;
    throw Error(message);
  }
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
  return lasnet::cli::guarded([&] { return lasnet::cli::run_command(argc, argv); });
}
