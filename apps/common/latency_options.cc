#include "latency_options.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"
#include "engine/executable.h"
#include "input_options.h"
#include "log.h"
#include "machine.h"
#include "output.h"
#include "predict/host_profile.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

Precision predicted_precision(const std::string& text) {
  if (text == "fp32") return Precision::fp32;
  if (text == "fp16") return Precision::fp16;
  if (text == "bf16") throw Error("bf16 runs the kernels of fp16; --precision fp16 predicts it");
  if (text == "int8") return Precision::int8;
  throw Error(fmt::format("precision '{}' is not predicted; expected fp32, fp16 or int8", text));
}

/// What is known of this machine, named by its file; says why a file was passed over, and of a GPU that there
/// is none: no other GPU's times are near enough to go without saying.
HardwareProfile profile_of(HostProfile host) {
  if (host.cached.empty() && host.problem.empty() && host.profile.kind() == HardwareKind::cuda) {
    log_warning(
        fmt::format("--hardware {}: {}; the times are those of {} ({})", kHostGpu,
                    cuda_devices().empty()
                        ? cuda_unavailable_reason()
                        : "this machine's GPU has not been measured (lasnet calibrate --device cuda does)",
                    host.profile.name, host.profile.source));
  }
  if (!host.cached.empty()) host.profile.name = host.cached;
  if (!host.problem.empty()) log_warning(host.problem);
  return std::move(host.profile);
}

}  // namespace

MapSize usual_size(const ModelOptions& model) {
  constexpr int kImageNet = 224;
  if (is_architecture(model.path)) return {kImageNet, kImageNet};
  const auto preprocessing = described_preprocessing(model.path, model.state_dict);
  const int side = preprocessing && preprocessing->crop > 0 ? preprocessing->crop : kImageNet;
  return {side, side};
}

void add_hardware_option(CLI::App& app, std::string& hardware) {
  app.add_option(
         "--hardware", hardware,
         fmt::format(
             "Hardware: {}; cuda: this machine's GPU, as `lasnet calibrate --device cuda` left it, else "
             "cuda-h100; or a profile's file. Default: this machine's CPU, as `lasnet calibrate` left it, "
             "else as shipped",
             fmt::join(hardware_names(), ", ")))
      ->type_name("NAME|FILE");
}

void add_kernel_precision(CLI::App& app, Precision& precision) {
  add_parsed(app, "--precision", "Of the CPU kernels: fp32 (default) or int8", [&](const std::string& text) {
    precision = parse_precision(text);
    if (precision != Precision::fp32 && precision != Precision::int8)
      throw Error(fmt::format("precision '{}': CPU kernels compute in fp32 or int8", text));
  });
}

void add_latency_options(CLI::App& app, LatencyOptions& options) {
  add_model_options(app, options.model);
  app.get_option("MODEL")->description(
      "The name of an architecture, or a model file: its description is read");
  add_hardware_option(app, options.hardware);
  app.add_option("--batch", options.batch,
                 "Images per run; default: 1, of server GPUs (h100, v100, ...) 128, as in the paper")
      ->check(whole_number(1, 4096))
      ->type_name("N");
  app.add_option("--threads", options.threads, "Threads, of a CPU; default 1")
      ->check(whole_number(1, 1024))
      ->type_name("N");
  add_parsed(app, "--size", "Input side in px, or HEIGHTxWIDTH; default: the model file's, else 224",
             [&](const std::string& text) { options.size = parse_size(text); })
      ->type_name("PX");
  app.add_option("--rate", options.rate, "Probability that a patch is active; default 0.5")
      ->check(in_range(0, 1))
      ->type_name("R");
  add_parsed(app, "--precision", "fp32 (default); of GPUs also fp16; of CPUs also int8",
             [&](const std::string& text) { options.query.precision = predicted_precision(text); });
  add_parsed(app, "--model", "Equations: default, or paper (the published simulator's, of GPUs)",
             [&](const std::string& text) { options.query.model = parse_latency_model(text); });
  add_parsed(app, "--schedule",
             "auto (default: the fastest), or any of masker=separate|incremental|with_conv1, "
             "gather=indirect|copied, "
             "scatter=in_place|separate, traversal=whole_map|row_bands, with commas",
             [&](const std::string& text) {
               options.query.schedule = parse_schedule_constraint(warn_of_former_names(text));
             });
  add_json_flag(app, options.json);
}

HardwareProfile open_hardware(const std::string& name, std::optional<Isa> of_kernels, Precision precision) {
  HardwareProfile profile;
  const Isa isa = of_kernels.value_or(available_isas().back());
  if (name.empty()) {
    profile = profile_of(host_profile(isa, precision));
  } else if (name == kHostGpu) {
    profile = profile_of(host_cuda_profile());
  } else {
    const auto names = hardware_names();
    const bool known = std::find(names.begin(), names.end(), name) != names.end();
    if (known || std::filesystem::exists(name)) {
      profile = load_hardware(name);
    } else {
      as_usage([&] { load_hardware(name); }, "--hardware: ");
    }
  }
  const bool is_int8 = profile.usual_precision() == Precision::int8;
  const CpuHardware machine = this_machine(isa, profile.usual_precision());
  const std::string advice =
      fmt::format("; lasnet calibrate{} makes one of this machine", is_int8 ? " --precision int8" : "");
  for (const std::string& difference : hardware_mismatches(profile, machine))
    log_warning(difference + (name.empty() ? advice : ""));
  return profile;
}

LatencyQuery resolve_query(const LatencyOptions& options, const HardwareProfile& hardware) {
  LatencyQuery query = options.query;
  if (hardware.kind() != HardwareKind::cpu) {
    if (options.threads)
      log_warning(fmt::format("--threads: {} is a GPU, where it means nothing", hardware.name));
    if (query.schedule.traversal == Traversal::row_bands) {
      log_warning(fmt::format("--schedule traversal=row_bands: {} is a GPU, which traverses whole maps only",
                              hardware.name));
    }
  }
  query.size = options.size ? *options.size : usual_size(options.model);
  query.batch = options.batch.value_or(hardware.usual_batch());
  query.threads = options.threads.value_or(1);
  query.rate = options.rate.value_or(0.5);
  as_usage([&] { check_query(query, hardware); });
  return query;
}

std::string describe(const HardwareProfile& hardware) {
  return fmt::format("{} ({})", hardware.description, hardware.name);
}

bool is_measured(const HardwareProfile& hardware) {
  if (hardware.kind() == HardwareKind::cpu) return cpu_of(hardware).measured;
  return hardware.kind() == HardwareKind::cuda;
}

std::string profile_lines(const HardwareProfile& hardware) {
  std::string text = fmt::format("  {}      {}\n", dim("profile"), hardware.source);
  if (hardware.kind() == HardwareKind::gpu) {
    text +=
        fmt::format("{:15}not measured: the paper's model of a GPU; no kernel of lasnet ran for it\n", "");
  }
  return text;
}

}  // namespace lasnet::cli
