#include "operating_options.h"

#include <algorithm>

#include "base/fail.h"
#include "base/numbers.h"
#include "engine/executable.h"
#include "latency_options.h"
#include "log.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kGroup = "How much is computed";

/// The profile of what the session runs on, unless the options name another.
HardwareProfile budget_hardware(const OperatingOptions& options, const SessionOptions& session) {
  if (!options.hardware.empty()) return open_hardware(options.hardware);
  if (session.backend == Backend::reference) {
    throw UsageError(
        "--budget-ms: times of the reference backend are not predicted; choose by --macs, or name "
        "--hardware");
  }
  return session.backend == Backend::cuda ? open_hardware(kHostGpu)
                                          : open_hardware("", session.isa, session.precision);
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
  return {std::move(point), fmt::format(", predicted to take {} on {}, {} thread{}", format_ms(ms),
                                        hardware.name, session.threads, session.threads == 1 ? "" : "s")};
}

std::string figures_of(const OperatingPoint& point) {
  return fmt::format("{} of the MACs and top-1 {}", format_percent(point.macs_ratio),
                     format_percent(point.top1));
}

/// A point that was measured, or what lies between which two.
std::string describe(const OperatingPoint& chosen, const std::vector<OperatingPoint>& points) {
  const auto above = std::ranges::lower_bound(points, chosen.macs_ratio, {}, &OperatingPoint::macs_ratio);
  if (above != points.end() && above->thresholds == chosen.thresholds)
    return fmt::format("{} when it was tuned{}", figures_of(chosen),
                       above + 1 == points.end() ? ", the largest that there is" : "");
  return fmt::format("about {}, estimated between {} and {}", figures_of(chosen), figures_of(*(above - 1)),
                     figures_of(*above));
}

}  // namespace

std::vector<float> parse_thresholds(const std::string& text) {
  std::vector<float> thresholds;
  for (const std::string_view part : split_list(text)) {
    const auto threshold = parse_number<float>(part);
    if (!threshold)
      fail("'{}': expected a number (also inf and -inf), or one for each block with commas between", text);
    thresholds.push_back(*threshold);
  }
  return thresholds;
}

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
      ->check(in_range(0, 1))
      ->type_name("F")
      ->group(kGroup)
      ->excludes("--threshold")
      ->excludes("--budget-ms");
}

OperatingChoice operating_choice(const OperatingOptions& options, const Model& model,
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
    return {.thresholds = options.thresholds};
  }
  if (model.operating_points.empty()) {
    fail(
        "{}: there are no operating points for this network (those of a file are dropped where it is run "
        "with "
        "another granularity); lasnet tune finds them on labelled images",
        options.macs ? "--macs" : "--budget-ms");
  }
  const auto [point, predicted] = choose(options, model, session, size);
  log_info(fmt::format("operating point: {}{}", describe(point, model.operating_points), predicted));
  return {.thresholds = point.thresholds, .point = point};
}

void add_operating_choice(Json& json, const OperatingChoice& operating) {
  if (operating.thresholds.empty()) return;
  json["thresholds"] = thresholds_json(operating.thresholds);
  if (operating.point) json["operating_point"] = operating_point_json(*operating.point);
}

Json operating_point_json(const OperatingPoint& point) {
  return {{"macs_ratio", point.macs_ratio},
          {"top1", point.top1},
          {"thresholds", point.thresholds},
          {"rates", point.rates},
          {"predicted_ms", point.predicted_ms}};
}

}  // namespace lasnet::cli
