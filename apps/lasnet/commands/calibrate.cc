// `lasnet calibrate`: the latency model's constants, fitted to this machine.
#include "calibrate/calibrate.h"

#include <cmath>
#include <filesystem>
#include <memory>

#include "base/fail.h"
#include "base/file.h"
#include "commands.h"
#include "latency_options.h"
#include "log.h"
#include "machine.h"
#include "output.h"
#include "predict/host_profile.h"
#include "progress.h"
#include "quality_json.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

/// Mean error of predictions beyond which a profile is of little use.
constexpr double kPoorFit = 0.1;
constexpr int kCpuSeconds = 75;

struct CalibrateCommand {
  std::string device = "cpu";
  std::string output;
  std::optional<Isa> isa;
  Precision precision = Precision::fp32;
  std::optional<int> seconds;
  bool json = false;
};

Json costs_json(const HardwareProfile& profile) {
  Json costs;
  const bool cuda = profile.kind() == HardwareKind::cuda;
  for (int i = 0; i < (cuda ? kCudaUnits : kWorkUnits); ++i) {
    if (cuda) {
      costs[to_string(static_cast<CudaUnit>(i))] = cuda_of(profile).cost(static_cast<CudaUnit>(i));
    } else {
      costs[to_string(static_cast<WorkUnit>(i))] = cpu_of(profile).cost(static_cast<WorkUnit>(i));
    }
  }
  return costs;
}

Json to_json(const Calibration& calibration, const std::string& output) {
  const HardwareProfile& profile = calibration.profile;
  Json json = {{"output", output},
               {"seconds", calibration.seconds},
               {"noise", calibration.noise},
               {"fit", quality_json(calibration.fit)},
               {"held_out", quality_json(calibration.held_out)},
               {"seconds_per", costs_json(profile)}};
  if (profile.kind() == HardwareKind::cuda) {
    json["device"] = cuda_of(profile).device;
    json["multiprocessors"] = cuda_of(profile).multiprocessors;
  } else {
    json["processor"] = cpu_of(profile).processor;
    json["isa"] = to_string(cpu_of(profile).isa);
    json["precision"] = to_string(cpu_of(profile).precision());
  }
  return json;
}

std::string quality_text(const FitQuality& quality) {
  return fmt::format("{} runs: mean error {}, {} within 10 %", quality.points, format_percent(quality.mape),
                     format_percent(quality.within_10));
}

std::string to_text(const Calibration& calibration, const std::string& output) {
  return fmt::format(
      "{}  {}\n\n  fitted    {}\n  held out  {}, of runs that were not fitted: what predictions of yours "
      "will miss by"
      "\n  noise     {} between two measurements of one run: no prediction is nearer\n  took      {:.0f} s\n",
      bold(output), dim(calibration.profile.description), quality_text(calibration.fit),
      quality_text(calibration.held_out), format_percent(calibration.noise), calibration.seconds);
}

/// Where the profile goes: the cache, whose folder is made, or what is asked for. What cannot be written is
/// better known before the measurements than after.
std::string output_of(const CalibrateCommand& command, const std::string& cached) {
  const std::string output = command.output.empty() ? cached : command.output;
  if (output.empty())
    throw UsageError("-o: neither XDG_CACHE_HOME nor HOME is set; say where the profile goes");
  if (command.output.empty()) create_directory(std::filesystem::path(cached).parent_path().string());
  check_writable(output);
  return output;
}

void finish(const CalibrateCommand& command, const Calibration& calibration, const std::string& output) {
  write_file_atomically(output, [&](std::ostream& out) { out << hardware_to_toml(calibration.profile); });
  if (calibration.held_out.mape > kPoorFit) {
    log_warning(
        fmt::format("predictions missed the runs that were held out by {} on average: other programs "
                    "were running, or this machine is not what the model assumes; calibrate again "
                    "when it is quiet",
                    format_percent(calibration.held_out.mape)));
  }
  if (command.json) {
    print_json(to_json(calibration, output));
  } else {
    print(to_text(calibration, output));
  }
}

int calibrate_gpu(const CalibrateCommand& command) {
  if (command.isa) throw UsageError("--isa is of --device cpu");
  if (command.precision != Precision::fp32) throw UsageError("--precision is of --device cpu");
  require_cuda_device("calibrate --device cuda", "without --device it measures this machine's CPU");
  const std::string output = output_of(command, cached_cuda_profile_path());
  CudaMeasureOptions options = default_cuda_measurements();
  if (command.seconds) options.budget_s = *command.seconds;
  Progress progress("calibrate", 1000, "steps");
  const Calibration calibration = calibrate_cuda(options, [&](double share, const std::string& now) {
    progress.update(std::lround(1000 * share), now);
  });
  progress.clear();
  finish(command, calibration, output);
  return 0;
}

int calibrate(const CalibrateCommand& command) {
  if (command.device == "cuda") return calibrate_gpu(command);
  const Isa isa = command.isa.value_or(available_isas().back());
  const std::string output = output_of(command, cached_profile_path(isa, command.precision));
  const HardwareProfile shipped = load_hardware("cpu-" + to_string(isa));
  Progress progress("calibrate", 1000, "steps");
  const Calibration calibration = calibrate_cpu(
      this_machine(isa, command.precision, cpu_of(shipped)),
      {.budget_s = static_cast<double>(command.seconds.value_or(kCpuSeconds))},
      [&](double share, const std::string& now) { progress.update(std::lround(1000 * share), now); });
  progress.clear();
  finish(command, calibration, output);
  return 0;
}

}  // namespace

void add_calibrate(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "calibrate", "Fit the latency model's constants to this machine's CPU or GPU");
  const auto command = std::make_shared<CalibrateCommand>();
  sub->add_option("--device", command->device, "cpu or cuda: whose kernels are measured")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  sub->add_option("-o,--output", command->output, "Profile to write; default: where the engine finds it")
      ->type_name("FILE.toml");
  add_kernel_precision(*sub, command->precision);
  add_parsed(*sub, "--isa", "scalar, avx2, avx512 or neon; default: the fastest that this machine has",
             [command](const std::string& text) { command->isa = parse_isa(text); });
  sub->add_option(
         "--seconds", command->seconds,
         "Most seconds to measure, 5 to 85, default 75 (18 on a GPU); the fewest repetitions may need "
         "longer")
      ->check(whole_number(5, 85))
      ->type_name("N");
  add_json_flag(*sub, command->json);
  sub->callback([command, &action] { action = [command] { return calibrate(*command); }; });
}

}  // namespace lasnet::cli
