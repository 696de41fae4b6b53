#include "train_progress.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "log.h"
#include "machine.h"
#include "terminal.h"
#include "train/checkpoint.h"
#include "train_options.h"

namespace lasnet::cli {
namespace {

std::string format_rate(double images_per_s) {
  return fmt::format("{:.{}f}", images_per_s, images_per_s < 20 ? 1 : 0);
}

std::string format_long_duration(double seconds) {
  constexpr double kHour = 3600, kDay = 24 * kHour;
  if (seconds < kDay) return format_duration(seconds);
  return seconds < 3 * kDay ? fmt::format("{:.0f} hours", seconds / kHour)
                            : fmt::format("{:.0f} days", seconds / kDay);
}

}  // namespace

TrainObserver TrainProgress::observer() {
  const auto shown = [this](void (*log)(const std::string&)) {
    return [this, log](const std::string& message) {
      finish();
      log(with_option_names(message));
    };
  };
  return {.on_plan = [this](const TrainPlan& plan) { on_plan(plan); },
          .on_step = [this](const StepInfo& step) { on_step(step); },
          .on_epoch = [this](const EpochInfo& epoch) { on_epoch(epoch); },
          .should_stop = {},
          .on_message = shown(log_info),
          .on_warning = shown(log_warning)};
}

void TrainProgress::finish() { bar_.reset(); }

void TrainProgress::on_plan(const TrainPlan& plan) {
  finish();
  const std::string processor = processor_name();
  const std::string processes =
      plan.processes > 1 ? fmt::format("{} processes, each with ", plan.processes) : std::string();
  const std::string device = plan.device == "cpu" ? std::string() : plan.device + " and ";
  log_info(fmt::format("training on {}{}{} thread{} of {}, into {}", processes, device, plan.threads,
                       plan.threads == 1 ? "" : "s",
                       processor.empty() ? "this machine's processor" : processor, output_));
  std::string parts;
  for (const TrainPlan::Part& part : plan.parts)
    parts += fmt::format("{}{} epoch{} of {}", parts.empty() ? "" : ", ", part.epochs,
                         part.epochs == 1 ? "" : "s", part.phase);
  log_info(fmt::format("plan: {}; {} step{} of {} images an epoch, at {} px", parts, plan.steps_per_epoch,
                       plan.steps_per_epoch == 1 ? "" : "s", plan.batch, plan.size));
  log_info(fmt::format("about {} images/s, measured on a few: all of it takes about {}",
                       format_rate(plan.images_per_s), format_long_duration(plan.seconds)));
  if (plan.memory_bytes > 0) {
    log_info(
        fmt::format("an epoch takes about {}, evaluation included; steps on whole batches took {:.2f} GB{}",
                    format_long_duration(plan.epoch_seconds), 1e-9 * static_cast<double>(plan.memory_bytes),
                    plan.processes > 1 ? " in each process" : ""));
  }
}

void TrainProgress::on_step(const StepInfo& step) {
  const std::string label = fmt::format("{} {}/{}", step.phase, step.epoch, step.epochs);
  const bool begins = step.step < step.steps && step.phase != "evaluate";
  if (begins && begun_.insert(step.phase).second) {
    finish();
    log_info(fmt::format("{}  step {} of {} begins", label, step.step + 1, step.steps));
  }
  if (!bar_ || label != bar_label_) {
    bar_ = std::make_unique<Progress>(label, step.steps, "steps", /*begun=*/step.step);
    bar_label_ = label;
  }
  // Short, so that the line fits a terminal.
  std::string note;
  if (step.loss > 0) note += fmt::format("loss {:.3f}  ", step.loss);
  if (step.phase == "finetune") note += fmt::format("noisy MACs {:.0f} %  ", 100 * step.macs_ratio);
  if (step.images_per_s > 0) note += fmt::format("{} images/s  ", format_rate(step.images_per_s));
  if (step.seconds_left > 0) note += fmt::format("run {} left", format_long_duration(step.seconds_left));
  bar_->update(step.step, note);
}

void TrainProgress::on_epoch(const EpochInfo& epoch) {
  finish();
  std::string line =
      fmt::format("{} {}/{}  loss {:.3f}  train {}  val {}", epoch.phase, epoch.epoch, epoch.epochs,
                  epoch.train_loss, format_percent(epoch.train_top1), format_percent(epoch.validation.top1));
  if (!epoch.validation.rates.empty()) {
    line += fmt::format(
        "  MACs {} ± {} ({} with noise, in training)  r", format_percent(epoch.validation.macs_ratio),
        format_percent(epoch.validation.macs_ratio_std), format_percent(epoch.train_macs_ratio));
    for (const double rate : epoch.validation.rates) line += fmt::format(" {:.2f}", rate);
    if (epoch.validation.predicted_ms)
      line += fmt::format("  predicted {}", format_ms(*epoch.validation.predicted_ms));
  }
  log_info(line +
           fmt::format("  {}  {} images/s", format_duration(epoch.seconds), format_rate(epoch.images_per_s)));
  report_images(epoch);
  report_constant("empty", epoch.empty_blocks);
  report_constant("full", epoch.full_blocks);
  for (const auto& warning : epoch.warnings) {
    if (warned_.insert(warning).second) log_warning(with_option_names(warning));
  }
}

/// Where its images came from, if some were decoded.
void TrainProgress::report_images(const EpochInfo& epoch) {
  const ImageFigures& images = epoch.images;
  if (images.decoded == 0) return;
  log_info(fmt::format("decoded {} images at {}/s and core; training waited for images {} of its time",
                       images.decoded, format_rate(images.decoded_per_core_s()),
                       format_percent(images.waiting_share(epoch.seconds))));
}

/// What is so, once per block: what to do about it is said at the end, when it is known whether it stays so.
void TrainProgress::report_constant(const char* what, const std::vector<std::string>& blocks) {
  std::vector<std::string> news;
  for (const std::string& block : blocks) {
    if (warned_.insert(fmt::format("{} {}", what, block)).second) news.push_back(block);
  }
  if (!news.empty())
    log_info(fmt::format("{} for every image so far: the mask of {}", what, fmt::join(news, ", ")));
}

Json to_json(const TrainResult& result) {
  Json json = {{"model", result.model_path},      {"static", result.static_path},
               {"target", result.target},         {"reached", result.dynamic_eval.macs_ratio},
               {"target_met", result.target_met}, {"advice", result.advice}};
  if (result.budget_ms > 0) {
    json["target"] = nullptr;
    json["budget_ms"] = result.budget_ms;
    json["deployment"] = result.deployment;
  }
  const auto add = [&](const char* name, const Evaluation& evaluation) {
    if (evaluation.images > 0) json[name] = to_json(evaluation);
  };
  add("dynamic_eval", result.dynamic_eval);
  add("static_eval", result.static_eval);
  add("control_eval", result.control_eval);
  return json;
}

namespace {

std::string with_measured(const Evaluation& evaluation) {
  if (!evaluation.measured_ms) return {};
  return fmt::format(", measured {}", format_ms(*evaluation.measured_ms));
}

std::string time_figures(const TrainResult& result) {
  return fmt::format(
      "budget {} on {}: predicted {}{}; static network predicted {}{}", format_ms(result.budget_ms),
      result.deployment, format_ms(result.dynamic_eval.predicted_ms.value_or(0)),
      with_measured(result.dynamic_eval), format_ms(result.static_eval.predicted_ms.value_or(0)),
      with_measured(result.static_eval));
}

std::string macs_figures(const TrainResult& result) {
  return fmt::format("target {} of the MACs, reached {} without noise", format_percent(result.target),
                     format_percent(result.dynamic_eval.macs_ratio));
}

}  // namespace

std::string verdict(const TrainResult& result) {
  const std::string figures = result.budget_ms > 0 ? time_figures(result) : macs_figures(result);
  return result.target_met ? figures : fmt::format("{}: not met; {}", figures, result.advice);
}

std::string to_text(const TrainResult& result) {
  Table table({"network", ">top-1", ">top-5", ">MACs", ">± over images", ">images"});
  const auto add = [&](const char* name, const Evaluation& evaluation) {
    if (evaluation.images == 0) return;
    table.add_row({name, format_percent(evaluation.top1), format_percent(evaluation.top5),
                   format_percent(evaluation.macs_ratio), format_percent(evaluation.macs_ratio_std),
                   std::to_string(evaluation.images)});
  };
  add("static", result.static_eval);
  add("static control", result.control_eval);
  add("dynamic", result.dynamic_eval);
  std::string text = table.to_string() + "\n";
  if (!result.model_path.empty()) text += fmt::format("{} {}\n", dim("written"), result.model_path);
  if (!result.static_path.empty()) text += fmt::format("{} {}\n", dim("written"), result.static_path);
  return result.model_path.empty() ? text : text + verdict(result) + "\n";
}

}  // namespace lasnet::cli
