// `lasnet validate-predictor`: the latency model against measurements on this machine.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <memory>

#include "base/fail.h"
#include "base/file.h"
#include "calibrate/validation.h"
#include "commands.h"
#include "latency_options.h"
#include "log.h"
#include "machine.h"
#include "output.h"
#include "progress.h"
#include "quality_json.h"
#include "report/plot.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kFooter =
    R"(Networks run at their usual sizes, which no calibration uses, each run beside a reference kernel; quiet minima
count. Errors are of blocks with at least a twentieth of their patches active. Noise is the difference of two measurements of the same thing. Choices compare expected times over independent
patches, measured ones interpolated between the shares of active patches that ran; regret is the chosen option's time
over the best one's, fixed the regret of the best option that stays the same in a stage.)";

constexpr int kCudaRepeat = 3;

struct ValidateCommand {
  std::string hardware;
  std::string device;    ///< "": the hardware's
  bool repeats = false;  ///< whether their number was given
  std::string plot;
  Precision precision = Precision::fp32;  ///< of this machine's CPU kernels
  ValidationOptions options;
  ModelOptions network;  ///< whose choice of S alone is held to measurements; path "": several networks
  bool json = false;
};

struct Group {
  const char* name;
  const char* prefix;
};
constexpr Group kGroups[] = {{"ResNet blocks", "resnet"}, {"RegNetY blocks", "regnet"}};

/// The lists of choices by their JSON names.
std::vector<std::pair<const char*, const std::vector<Choice>*>> choice_lists(const Validation& validation) {
  return {{"granularities", &validation.granularities},
          {"schedules", &validation.schedules},
          {"granularities_and_schedules", &validation.everything}};
}

Json choices_json(const std::vector<Choice>& choices) {
  const Regret regret = regret_of(choices);
  Json list = Json::array();
  for (const Choice& choice : choices) {
    Json options = Json::array();
    for (const Choice::Option& option : choice.options) {
      options.push_back({{"name", option.name},
                         {"measured_us", 1e6 * option.measured_s},
                         {"predicted_us", 1e6 * option.predicted_s}});
    }
    list.push_back({{"stage", choice.stage + 1},
                    {"rate", choice.rate},
                    {"chosen", choice.options[choice.chosen].name},
                    {"best", choice.options[choice.best()].name},
                    {"regret", choice.regret(choice.chosen)},
                    {"spearman", choice.rank_correlation()},
                    {"options", options}});
  }
  return {{"regret_mean", regret.chosen_mean},
          {"regret_max", regret.chosen_max},
          {"best_fixed_regret_mean", regret.fixed_mean},
          {"choices", list}};
}

Json to_json(const Validation& validation, const HardwareProfile& hardware) {
  Json json = {{"hardware", hardware.name}, {"noise", validation.noise}};
  for (const Group& group : kGroups) {
    const FitQuality quality = quality_of(validation.points, group.prefix);
    if (quality.points > 0) json[group.prefix] = quality_json(quality);
  }
  const IdleQuality idle = idle_quality(validation.points);
  json["idle"] = {
      {"points", idle.points}, {"measured_us", 1e6 * idle.measured_s}, {"error_us", 1e6 * idle.error_s}};
  Json points = Json::array(), networks = Json::array();
  for (const ValidationPoint& point : validation.points) {
    points.push_back({{"network", point.network},
                      {"stage", point.stage + 1},
                      {"granularity", granularity_json(point.granularity)},
                      {"schedule", point.schedule},
                      {"rate", point.rate},
                      {"batch", point.batch},
                      {"threads", point.threads},
                      {"precision", to_string(point.precision)},
                      {"measured_us", 1e6 * point.measured_s},
                      {"predicted_us", 1e6 * point.predicted_s},
                      {"noise", point.noise}});
  }
  for (const NetworkComparison& network : validation.networks) {
    networks.push_back({{"network", network.network},
                        {"batch", network.batch},
                        {"threads", network.threads},
                        {"precision", to_string(network.precision)},
                        {"granularity", network.granularity},
                        {"masker", to_string(network.masker)},
                        {"rate", network.rate},
                        {"measured_static_ms", 1e3 * network.measured_static_s},
                        {"measured_dynamic_ms", 1e3 * network.measured_dynamic_s},
                        {"predicted_static_ms", 1e3 * network.predicted_static_s},
                        {"predicted_dynamic_ms", 1e3 * network.predicted_dynamic_s},
                        {"speedup_error", network.speedup_error()}});
  }
  for (const auto& [name, choices] : choice_lists(validation)) {
    if (!choices->empty()) json[name] = choices_json(*choices);
  }
  if (!validation.skipped.empty()) json["skipped"] = validation.skipped;
  json["networks"] = networks;
  json["points"] = points;
  return json;
}

std::string blocks_table(const Validation& validation) {
  Table table({"dynamic blocks", ">runs", ">MAPE", ">RMSPE", ">within 5 %", ">10 %", ">15 %"});
  for (const Group& group : kGroups) {
    const FitQuality quality = quality_of(validation.points, group.prefix);
    if (quality.points == 0) continue;
    table.add_row({group.name, std::to_string(quality.points), format_percent(quality.mape),
                   format_percent(quality.rmspe), format_percent(quality.within_5),
                   format_percent(quality.within_10), format_percent(quality.within_15)});
  }
  const IdleQuality idle = idle_quality(validation.points);
  return table.to_string(2) +
         fmt::format("\n  {} runs with (nearly) nothing active: {:.1f} us measured, {:.1f} us mean error\n",
                     idle.points, 1e6 * idle.measured_s, 1e6 * idle.error_s);
}

std::vector<Choice> of_stage(const std::vector<Choice>& choices, int stage) {
  std::vector<Choice> found;
  std::copy_if(choices.begin(), choices.end(), std::back_inserter(found),
               [&](const Choice& choice) { return choice.stage == stage; });
  return found;
}

/// Mean and least rank correlation.
std::string ranks_text(const std::vector<Choice>& choices) {
  double sum = 0, least = 1;
  for (const Choice& choice : choices) {
    const double rank = choice.rank_correlation();
    sum += rank;
    least = std::min(least, rank);
  }
  return fmt::format("{:.3f} ({:.3f})", sum / static_cast<double>(choices.size()), least);
}

/// Mean and largest regret, and that of the best fixed option.
std::string regret_text(const std::vector<Choice>& choices) {
  const Regret regret = regret_of(choices);
  return fmt::format("{} ({}), fixed {}", format_percent(regret.chosen_mean),
                     format_percent(regret.chosen_max), format_percent(regret.fixed_mean));
}

std::string choices_table(const Validation& validation) {
  Table table({"stage", ">Spearman over S, schedule (least)", ">regret of S (largest)",
               ">regret of schedule (largest)"});
  for (int stage = 0; stage < 4; ++stage) {
    const std::vector<Choice> everything = of_stage(validation.everything, stage);
    if (everything.empty()) continue;
    table.add_row({std::to_string(stage + 1), ranks_text(everything),
                   regret_text(of_stage(validation.granularities, stage)),
                   regret_text(of_stage(validation.schedules, stage))});
  }
  table.add_rule();
  table.add_row({"all", ranks_text(validation.everything), regret_text(validation.granularities),
                 regret_text(validation.schedules)});
  return table.to_string(2);
}

std::string networks_table(const Validation& validation) {
  Table table({"network", ">batch", ">threads", ">static", ">dynamic", ">speed-up", ">predicted", ">error"});
  for (const NetworkComparison& network : validation.networks) {
    table.add_row({network.network, std::to_string(network.batch), std::to_string(network.threads),
                   format_ms(1e3 * network.measured_static_s), format_ms(1e3 * network.measured_dynamic_s),
                   fmt::format("{:.2f}x", network.measured_speedup()),
                   fmt::format("{:.2f}x", network.predicted_speedup()),
                   format_percent(network.speedup_error())});
  }
  return table.to_string(2);
}

std::vector<ValidationPoint> points_of(const Validation& validation, Precision precision, int64_t batch) {
  std::vector<ValidationPoint> points;
  std::copy_if(
      validation.points.begin(), validation.points.end(), std::back_inserter(points),
      [&](const ValidationPoint& point) { return point.precision == precision && point.batch == batch; });
  return points;
}

/// Precisions and batches that ran, in order.
std::vector<std::pair<Precision, int64_t>> cuda_runs(const Validation& validation) {
  std::vector<std::pair<Precision, int64_t>> runs;
  for (const ValidationPoint& point : validation.points) {
    const std::pair<Precision, int64_t> run{point.precision, point.batch};
    if (std::find(runs.begin(), runs.end(), run) == runs.end()) runs.push_back(run);
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

std::string cuda_blocks_table(const Validation& validation) {
  Table table(
      {"dynamic blocks", "precision", ">batch", ">runs", ">MAPE", ">RMSPE", ">within 5 %", ">10 %", ">15 %"});
  for (const Group& group : kGroups) {
    for (const auto& [precision, batch] : cuda_runs(validation)) {
      const FitQuality quality = quality_of(points_of(validation, precision, batch), group.prefix);
      if (quality.points == 0) continue;
      table.add_row({group.name, to_string(precision), std::to_string(batch), std::to_string(quality.points),
                     format_percent(quality.mape), format_percent(quality.rmspe),
                     format_percent(quality.within_5), format_percent(quality.within_10),
                     format_percent(quality.within_15)});
    }
  }
  return table.to_string(2);
}

/// Errors of a network and masker over its granularities and rates.
struct NetworkErrors {
  double runs = 0, dynamic = 0, dense = 0, speedup = 0, largest_speedup = 0;
};

std::string cuda_networks_table(const Validation& validation) {
  std::vector<std::pair<std::array<std::string, 4>, NetworkErrors>> rows;
  for (const NetworkComparison& network : validation.networks) {
    const std::array<std::string, 4> key = {network.network, to_string(network.masker),
                                            to_string(network.precision), std::to_string(network.batch)};
    auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& known) { return known.first == key; });
    if (row == rows.end()) row = rows.insert(rows.end(), {key, {}});
    NetworkErrors& errors = row->second;
    ++errors.runs;
    errors.dynamic += std::abs(network.dynamic_error());
    errors.dense += std::abs(network.predicted_static_s / network.measured_static_s - 1);
    errors.speedup += std::abs(network.speedup_error());
    errors.largest_speedup = std::max(errors.largest_speedup, std::abs(network.speedup_error()));
  }
  Table table(
      {"network", "masker", "precision", ">batch", ">runs", ">MAPE", ">static", ">speed-up error (largest)"});
  for (const auto& [key, errors] : rows) {
    table.add_row({key[0], key[1], key[2], key[3], fmt::format("{:.0f}", errors.runs),
                   format_percent(errors.dynamic / errors.runs), format_percent(errors.dense / errors.runs),
                   fmt::format("{} ({})", format_percent(errors.speedup / errors.runs),
                               format_percent(errors.largest_speedup))});
  }
  return table.to_string(2);
}

std::string cuda_text(const Validation& validation) {
  std::string text = cuda_blocks_table(validation) + "\n" + cuda_networks_table(validation);
  text += fmt::format("\n  rank correlation over S (least) {}, regret of the chosen S (largest) {}\n",
                      ranks_text(validation.granularities), regret_text(validation.granularities));
  text += fmt::format("  regret of the chosen masker (largest) {}\n", regret_text(validation.schedules));
  for (const std::string& skipped : validation.skipped) text += fmt::format("  skipped: {}\n", skipped);
  return text;
}

/// Of one network's choice of S.
std::string granularities_table(const Validation& validation) {
  Table table({"stage", ">Spearman over S (least)", ">regret of S (largest)"});
  for (int stage = 0; stage < 4; ++stage) {
    const std::vector<Choice> choices = of_stage(validation.granularities, stage);
    if (!choices.empty())
      table.add_row({std::to_string(stage + 1), ranks_text(choices), regret_text(choices)});
  }
  return table.to_string(2);
}

/// Predicted against measured, a plot for each stage.
void plot_points(const Validation& validation, const HardwareProfile& hardware, const std::string& path) {
  std::vector<Plot> plots;
  for (int stage = 0; stage < 4; ++stage) {
    Plot plot{.title = fmt::format("stage {}", stage + 1),
              .x = {.label = "measured (us)", .scale = AxisScale::log},
              .y = {.label = "predicted (us)", .scale = AxisScale::log}};
    std::map<std::string, PlotSeries> by_network;
    double low = INFINITY, high = 0;
    for (const ValidationPoint& point : validation.points) {
      if (point.stage != stage || point.granularity == 0) continue;
      PlotSeries& series = by_network[point.network];
      series.x.push_back(1e6 * point.measured_s);
      series.y.push_back(1e6 * point.predicted_s);
      low = std::min(low, series.x.back());
      high = std::max(high, series.x.back());
    }
    for (auto& [name, series] : by_network) {
      series.label = name;
      series.mark = SeriesMark::points;
      plot.series.push_back(std::move(series));
    }
    if (high > 0) {
      plot.series.push_back({.label = "equal",
                             .x = {low, high},
                             .y = {low, high},
                             .mark = SeriesMark::dashed_line,
                             .colour = 7});
    }
    plots.push_back(std::move(plot));
  }
  write_svg(plots, {.title = "Predicted against measured latency, " + describe(hardware)}, path);
  log_info(fmt::format("{}: predicted against measured, per stage", path));
}

GranularityStudy study_of(const ValidateCommand& command) {
  return {.arch = described_model(command.network).spec.arch,
          .size = usual_size(command.network),
          .repeat = command.options.repeat,
          .seed = command.options.seed};
}

Validation measure(const ValidateCommand& command, const HardwareProfile& hardware) {
  Progress progress("validate", 1000, "steps");
  const auto update = [&](double share, const std::string& now) {
    progress.update(std::lround(1000 * share), now);
  };
  Validation validation;
  if (hardware.kind() == HardwareKind::cuda) {
    CudaValidationOptions options;
    options.repeat = command.repeats ? command.options.repeat : kCudaRepeat;
    options.seed = command.options.seed;
    if (command.options.quick) {
      options.networks = {"resnet50"};
      options.batches = {1, 8};
      options.rates = {0.5};
    }
    validation = validate_cuda(hardware, options, update);
  } else if (!command.network.path.empty()) {
    validation = validate_granularities(cpu_of(hardware), study_of(command), update);
  } else {
    validation = validate_cpu(cpu_of(hardware), command.options, update);
  }
  progress.clear();
  return validation;
}

void check_device() {
  require_cuda_device("validate-predictor",
                      "without --device and --hardware it validates this machine's CPU");
}

/// The profile of the device that is asked for. Throws UsageError where the two do not fit.
HardwareProfile hardware_of(const ValidateCommand& command) {
  const bool of_device = command.device == "cuda" && command.hardware.empty();
  const std::string name = of_device ? kHostGpu : command.hardware;
  if (name == kHostGpu)
    check_device();  // before it is said whose times stand for those of a GPU that is not there
  HardwareProfile hardware = open_hardware(name, std::nullopt, command.precision);
  if (hardware.kind() == HardwareKind::gpu) {
    fail(
        "validate-predictor: {} describes a published GPU, not this library's kernels on one (--device cuda)",
        hardware.name);
  }
  if (!command.device.empty() && command.device != to_string(hardware.kind())) {
    throw UsageError(fmt::format("--device {}: hardware {} is a {} profile", command.device, hardware.name,
                                 to_string(hardware.kind())));
  }
  if (hardware.kind() == HardwareKind::cuda && !command.network.path.empty()) {
    throw UsageError(fmt::format("--network: is of this machine's CPU; {} is a GPU", hardware.name));
  }
  if (hardware.kind() == HardwareKind::cuda) {
    check_device();
    const std::string device = cuda_devices().front().name;
    if (device != cuda_of(hardware).device) {
      log_warning(
          fmt::format("profile {} was made on '{}', this device is '{}'; lasnet calibrate --device cuda "
                      "makes one of it",
                      hardware.name, cuda_of(hardware).device, device));
    }
  }
  return hardware;
}

int validate(const ValidateCommand& command) {
  const HardwareProfile hardware = hardware_of(command);
  if (!command.plot.empty()) check_writable(command.plot);
  const Validation validation = measure(command, hardware);
  if (!command.plot.empty()) plot_points(validation, hardware, command.plot);
  if (command.json) {
    print_json(to_json(validation, hardware));
    return 0;
  }
  std::string tables;
  if (hardware.kind() == HardwareKind::cuda) {
    tables = cuda_text(validation);
  } else {
    tables = blocks_table(validation) + "\n";
    tables += command.network.path.empty() ? choices_table(validation) + "\n" + networks_table(validation)
                                           : granularities_table(validation);
  }
  print(fmt::format("{}\n\n  noise {} (median difference of two measurements of the same block)\n\n",
                    bold(describe(hardware)), format_percent(validation.noise)) +
        tables);
  return 0;
}

}  // namespace

void add_validate_predictor(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "validate-predictor", "Hold predictions to measurements on this machine");
  const auto command = std::make_shared<ValidateCommand>();
  add_hardware_option(*sub, command->hardware);
  sub->add_option("--device", command->device, "cpu or cuda: whose kernels run; default: the hardware's")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  add_kernel_precision(*sub, command->precision);
  add_number(*sub, "--repeat", command->options.repeat, 2, 1000, "Repetitions of each run");
  sub->add_option("--seed", command->options.seed, "Of masks, weights and inputs")
      ->check(whole_number())
      ->capture_default_str();
  const auto quick = sub->add_flag("--quick", command->options.quick, "A coarse grid on few networks");
  sub->add_option(
         "--network", command->network.path,
         "Only the choice of S = 1, 2, 4, 7, 8 for the blocks of this network, at its own size: a model "
         "file or an architecture; its weights are not read")
      ->type_name("MODEL")
      ->excludes(quick);
  add_plot_option(*sub, command->plot, "Write predicted against measured latency, per stage, as SVG");
  add_json_flag(*sub, command->json);
  sub->footer(kFooter);
  sub->callback([sub, command, &action] {
    command->repeats = sub->count("--repeat") > 0;
    action = [command] { return validate(*command); };
  });
}

}  // namespace lasnet::cli
