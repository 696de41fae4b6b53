#include "train_progress.h"

#include <fmt/format.h>

#include "log.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

Json to_json(const Evaluation& evaluation) {
  return {{"top1", evaluation.top1},
          {"top5", evaluation.top5},
          {"loss", evaluation.loss},
          {"macs_ratio", evaluation.macs_ratio},
          {"macs_ratio_std", evaluation.macs_ratio_std},
          {"rates", evaluation.rates},
          {"images", evaluation.images}};
}

}  // namespace

TrainObserver TrainProgress::observer() {
  return {.on_step = [this](const StepInfo& step) { on_step(step); },
          .on_epoch = [this](const EpochInfo& epoch) { on_epoch(epoch); },
          .should_stop = {},
          .on_message =
              [this](const std::string& message) {
                finish();
                log_info(message);
              }};
}

void TrainProgress::finish() { bar_.reset(); }

void TrainProgress::on_step(const StepInfo& step) {
  const std::string label = fmt::format("{} {}/{}", step.phase, step.epoch, step.epochs);
  if (!bar_ || label != bar_label_) {
    bar_ = std::make_unique<Progress>(label, step.steps, "steps", /*begun=*/step.step);
    bar_label_ = label;
  }
  std::string note = fmt::format("loss {:.3f}", step.loss);
  if (step.macs_ratio < 1) note += fmt::format("  MACs {}", format_percent(step.macs_ratio));
  if (step.images_per_s > 0) note += fmt::format("  {:.0f} images/s", step.images_per_s);
  bar_->update(step.step, note);
}

void TrainProgress::on_epoch(const EpochInfo& epoch) {
  finish();
  std::string line =
      fmt::format("{} {}/{}  loss {:.3f}  train {}  val {}", epoch.phase, epoch.epoch, epoch.epochs,
                  epoch.train_loss, format_percent(epoch.train_top1), format_percent(epoch.validation.top1));
  if (!epoch.validation.rates.empty()) {
    line += fmt::format("  MACs {} ± {}  r", format_percent(epoch.validation.macs_ratio),
                        format_percent(epoch.validation.macs_ratio_std));
    for (const double rate : epoch.validation.rates) line += fmt::format(" {:.2f}", rate);
  }
  log_info(line + fmt::format("  {}", format_duration(epoch.seconds)));
  for (const auto& warning : epoch.warnings) {
    if (warned_.insert(warning).second) log_warning(warning);
  }
}

Json to_json(const TrainResult& result) {
  Json json = {{"model", result.model_path}, {"static", result.static_path}};
  const auto add = [&](const char* name, const Evaluation& evaluation) {
    if (evaluation.images > 0) json[name] = to_json(evaluation);
  };
  add("dynamic_eval", result.dynamic_eval);
  add("static_eval", result.static_eval);
  add("control_eval", result.control_eval);
  return json;
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
  return text;
}

}  // namespace lasnet::cli
