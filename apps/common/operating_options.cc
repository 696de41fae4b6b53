#include "operating_options.h"

#include "base/fail.h"
#include "base/numbers.h"
#include "engine/executable.h"
#include "latency_options.h"
#include "log.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kGroup = "How much is computed";

std::vector<float> parse_thresholds(const std::string& text) {
  std::vector<float> thresholds;
  for (const std::string_view part : split(text, ',')) {
    const auto threshold = parse_number<float>(part);
    if (!threshold)
      fail("'{}': expected a number (also inf and -inf), or one for each block with commas between", text);
    thresholds.push_back(*threshold);
  }
  return thresholds;
}

/// The profile of what the session runs on, unless the options name another.
HardwareProfile budget_hardware(const OperatingOptions& options, const SessionOptions& session) {
  if (!options.hardware.empty()) return open_hardware(options.hardware);
  if (session.backend == Backend::reference) {
    throw UsageError(
        "--budget-ms: times of the reference backend are not predicted; choose by --macs, or name "
        "--hardware");
  }
  return session.backend == Backend::cuda ? open_hardware(kHostGpu) : open_hardware("", session.isa);
}

struct Choice {
  OperatingPoint point;
  std::string predicted;  ///< what is said of its time; "" where it was not asked for
};

Choice choose(const OperatingOptions& options, const Model& model, const SessionOptions& session,
              std::optional<MapSize> size) {
  if (options.macs) return {operating_point(model, {.macs = options.macs}), ""};
  if (!size) throw UsageError("--budget-ms: the images have no common size; choose by --macs");
  const HardwareProfile hardware = budget_hardware(options, session);
  OperatingPoint point = operating_point(model, {.seconds = *options.budget_ms / 1e3,
                                                 .hardware = hardware,
                                                 .size = size,
                                                 .threads = session.threads,
                                                 .precision = session.precision});
  const double ms = point.predicted_ms.at(hardware.name);
  return {std::move(point), fmt::format(", predicted to take {} on {}", format_ms(ms), hardware.name)};
}

}  // namespace

void add_operating_options_but_macs(CLI::App& app, OperatingOptions& options) {
  const auto threshold = add_parsed(
      app, "--threshold",
      "Least logit difference of an active patch, for all blocks, or one for each with commas; 0 is what the "
      "network was trained with, more computes less. Say --threshold=-1 where it begins with a minus",
      [&](const std::string& text) { options.thresholds = parse_thresholds(text); });
  threshold->type_name("T[,T...]")->group(kGroup);
  const auto budget =
      app.add_option("--budget-ms", options.budget_ms,
                     "Choose the most accurate operating point that is predicted to take no longer, for an "
                     "image that runs alone");
  budget->check(above_zero())->type_name("MS")->group(kGroup)->excludes(threshold);
  add_hardware_option(app, options.hardware);
  app.get_option("--hardware")
      ->description(fmt::format("Of --budget-ms: {}; cuda: this machine's GPU; or a profile's file. Default: "
                                "what this command runs on",
                                fmt::join(hardware_names(), ", ")))
      ->group(kGroup)
      ->needs(budget);
}

void add_operating_options(CLI::App& app, OperatingOptions& options) {
  add_operating_options_but_macs(app, options);
  app.add_option(
         "--macs", options.macs,
         "Choose the operating point (lasnet tune finds them) with this share of the static network's "
         "MACs, between two points by interpolation")
      ->check(above_zero())
      ->type_name("F")
      ->group(kGroup)
      ->excludes("--threshold")
      ->excludes("--budget-ms");
}

std::vector<float> thresholds_for(const OperatingOptions& options, const Model& model,
                                  const SessionOptions& session, std::optional<MapSize> size) {
  if (options.empty()) return {};
  if (!model.spec.arch.is_dynamic()) {
    throw UsageError(
        fmt::format("{} is a static network, which always computes everything; leave out --threshold, --macs "
                    "and --budget-ms",
                    model.spec.arch.name));
  }
  if (!options.thresholds.empty()) {
    as_usage([&] { check_thresholds(options.thresholds, model.spec); }, "--threshold: ");
    return options.thresholds;
  }
  if (model.operating_points.empty()) {
    fail("{}: the model has no operating points; lasnet tune finds them on labelled images",
         options.macs ? "--macs" : "--budget-ms");
  }
  const auto [point, predicted] = choose(options, model, session, size);
  log_info(fmt::format("operating point: {} of the MACs and top-1 {} when it was tuned{}",
                       format_percent(point.macs_ratio), format_percent(point.top1), predicted));
  return point.thresholds;
}

}  // namespace lasnet::cli
