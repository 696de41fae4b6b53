#include "sweep.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/fail.h"
#include "base/file.h"
#include "base/stopwatch.h"
#include "interrupt.h"
#include "local_processes.h"
#include "log.h"
#include "machine.h"
#include "program.h"
#include "sweep_evaluation.h"
#include "sweep_plan.h"
#include "sweep_results.h"
#include "terminal.h"
#include "train_progress.h"

namespace lasnet::cli {
namespace {

/// The folder, which rank 0 keeps to this sweep.
std::unique_ptr<FolderLock> take_folder(const SweepPlan& plan) {
  create_directory(plan.output);
  check_writable(plan.file("sweep.json"));
  auto lock = std::make_unique<FolderLock>(
      plan.output, "another sweep writes here; wait for it, or give another folder (-o)");
  check_same_sweep(plan);
  return lock;
}

/// Trains the networks of a plan, one after the other, each on all processes.
class SweepTraining {
 public:
  SweepTraining(const SweepPlan& plan, const Processes& processes) : plan_(plan), processes_(processes) {}

  /// Nothing if it was asked to stop.
  std::optional<SweepTrained> train_all() {
    SweepTrained trained;
    tell("static network");
    if (!train(plan_.static_config, trained.still)) return std::nullopt;
    for (size_t i = 0; i < plan_.runs.size(); ++i) {
      tell(fmt::format("run {} of {}: {}{}", i + 1, plan_.runs.size(), plan_.runs[i].name, time_left(i)));
      const Stopwatch watch;
      if (!train(plan_.runs[i].config, trained.runs.emplace_back())) return std::nullopt;
      if (epochs_ > 0) trained_seconds_ += watch.seconds(), ++trained_runs_;
    }
    return trained;
  }

  /// What lies ahead, without a step that counts.
  void dry_run() {
    TrainResult nothing;
    train(plan_.static_config, nothing);
    const double each = run_seconds();
    log_info(
        fmt::format("sweep of {} network{}: the static network takes about {}, each dynamic one about {}; "
                    "together about {}, without the evaluation at the end",
                    plan_.runs.size(), plan_.runs.size() == 1 ? "" : "s", format_duration(static_seconds_),
                    format_duration(each),
                    format_duration(static_seconds_ + each * static_cast<double>(plan_.runs.size()))));
    for (const SweepRun& run : plan_.runs) log_info(run.name);
  }

 private:
  void tell(const std::string& text) const {
    if (processes_.rank == 0) log_info(text);
  }

  /// False if it was asked to stop. Each run has a port of its own: processes that still end the one before
  /// are not in its way.
  bool train(TrainConfig config, TrainResult& result) {
    if (config.threads == 0) config.threads = std::max(1, default_threads() / processes_.local_size);
    Processes processes = processes_;
    processes.port += begun_++;
    TrainProgress progress(config.output);
    TrainObserver observer = progress.observer();
    observer.should_stop = was_interrupted;
    observer.on_plan = [this, config, tell = observer.on_plan](const TrainPlan& plan) {
      epoch_seconds_ = plan.epoch_seconds;
      if (config.static_only) static_seconds_ = plan.seconds;
      tell(plan);
    };
    epochs_ = 0;
    observer.on_epoch = [this, tell = observer.on_epoch](const EpochInfo& epoch) {
      ++epochs_;
      tell(epoch);
    };
    result = lasnet::train(config, observer, processes);
    result.advice = with_option_names(result.advice);
    progress.finish();
    const bool judged = result.completed && !result.model_path.empty();
    if (judged && processes.rank == 0) log_info(verdict(result));
    return result.completed;
  }

  /// Of a run: those of this sweep, if there are any yet.
  double run_seconds() const {
    if (trained_runs_ > 0) return trained_seconds_ / trained_runs_;
    return epoch_seconds_ * plan_.runs.front().config.epochs;
  }
  std::string time_left(size_t done) const {
    const double seconds = run_seconds() * static_cast<double>(plan_.runs.size() - done);
    return seconds > 0 ? fmt::format("; about {} left for all", format_duration(seconds)) : "";
  }

  const SweepPlan& plan_;
  Processes processes_;
  int begun_ = 0, epochs_ = 0, trained_runs_ = 0;
  double epoch_seconds_ = 0, static_seconds_ = 0, trained_seconds_ = 0;
};

int interrupted(const SweepPlan& plan) {
  log_warning(fmt::format("stopped; what is finished is in {}. The same command goes on", plan.output));
  return kExitInterrupted;
}

int sweep(const SweepPlan& plan, const SweepOptions& options, const Processes& processes) {
  install_interrupt_handler();
  SweepTraining training(plan, processes);
  if (plan.static_config.dry_run) {
    training.dry_run();
    return 0;
  }
  std::unique_ptr<FolderLock> lock;
  if (processes.rank == 0) lock = take_folder(plan);
  const auto trained = training.train_all();
  if (processes.rank != 0) return trained ? 0 : kExitInterrupted;
  if (!trained) return interrupted(plan);
  const auto results = evaluate_sweep(plan, options, *trained, was_interrupted);
  if (!results) return interrupted(plan);
  const Json document = to_json(*results);
  write_results(document, plan.output);
  if (options.json) {
    print_json(document);
  } else {
    print(to_text(document) +
          fmt::format("{} {}, sweep.csv, sweep.svg\n", dim("written"), plan.file("sweep.json")));
  }
  return 0;
}

}  // namespace

int run_sweep(int count, char** arguments) {
  const auto parser = make_parser(
      "lasnet sweep", "Train a grid of dynamic networks from one static network, and compare them");
  CLI::App& app = *parser;
  SweepOptions options;
  add_sweep_options(app, options);
  if (const int code = parse(app, count - 1, arguments + 1); code >= 0) return code;
  return with_named_options([&] {
    const Processes processes = processes_for(options.train);
    const SweepPlan plan = plan_sweep(options);
    if (options.train.nproc == 1 || processes.size > 1) return sweep(plan, options, processes);
    return run_local_processes(options.train.nproc, arguments);
  });
}

}  // namespace lasnet::cli
