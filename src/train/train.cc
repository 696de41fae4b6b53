// The frame of a run: what is settled, compared and refused before training, on one process or several.
#include "train/train.h"

#include <filesystem>

#include "base/fail.h"
#include "base/file.h"
#include "train/agreement.h"
#include "train/auto_granularity.h"
#include "train/autocast.h"
#include "train/budget.h"
#include "train/config.h"
#include "train/deployment.h"
#include "train/device.h"
#include "train/digest.h"
#include "train/heap.h"
#include "train/processes.h"
#include "train/record.h"
#include "train/trainer.h"

namespace lasnet {
namespace {

/// Throws Error, naming the file and the ways out, if config.output holds a run that it neither resumes nor
/// overwrites.
void check_nothing_is_lost(const TrainConfig& config, const RunFiles& files) {
  if (config.resume || config.overwrite) return;
  const std::optional<FoundCheckpoint> found = files.find_checkpoint();
  if (found && found->checkpoint.state.phase != kDone) {
    fail(
        "{}: the checkpoint of an unfinished run; give {} to go on, {} to start anew, or another folder ({})",
        found->path, setting_name("resume"), setting_name("overwrite"), setting_name("output"));
  }
  for (const std::string& model : {files.dynamic_model(), files.control_model(), files.static_model()}) {
    if (!std::filesystem::exists(model)) continue;
    fail("{}: the model of a finished run; give another folder ({}), {} to replace it, or {} for its figures",
         model, setting_name("output"), setting_name("overwrite"), setting_name("resume"));
  }
}

void tell(const std::function<void(const std::string&)>& listener, const std::string& text) {
  if (listener) listener(text);
}

RunInputs digests_of(const TrainConfig& config) {
  RunInputs inputs;
  if (!config.init.empty()) inputs.init = digest_of_file(config.init);
  if (!config.teacher.empty()) inputs.teacher = digest_of_file(config.teacher);
  return inputs;
}

TrainPrecision precision_of(TrainPrecision asked, torch::Device device) {
  if (asked != TrainPrecision::fastest) return asked;
  return trains_faster_in_bf16(device) ? TrainPrecision::bf16 : TrainPrecision::fp32;
}

/// The profile that milliseconds are predicted from, which a run keeps. Throws Error if another is named now.
HardwareProfile kept_hardware(const TrainConfig& config, const FoundCheckpoint& found) {
  const Checkpoint& checkpoint = found.checkpoint;
  HardwareProfile kept = parse_hardware(checkpoint.inputs.hardware, found.path);
  if (config.hardware == checkpoint.config.hardware ||
      hardware_to_toml(load_hardware(config.hardware)) == checkpoint.inputs.hardware)
    return kept;
  fail("{}: the run was started for {} {}, now it is {}; a run can only be resumed unchanged", found.path,
       setting_name("hardware"), kept.name, config.hardware);
}

/// What is left to this machine.
struct Choices {
  std::vector<int> granularity;
  TrainPrecision precision = TrainPrecision::fp32;
  std::string hardware;  ///< as RunInputs::hardware
};

Choices choose(const TrainConfig& config, torch::Device device, const std::optional<FoundCheckpoint>& found,
               const TrainObserver& observer) {
  Choices choices{.granularity = config.arch.granularity,
                  .precision = precision_of(config.precision, device),
                  .hardware = {}};
  const bool is_auto = config.arch.granularity == kAutoGranularity;
  if (is_auto && found) choices.granularity = found->checkpoint.config.arch.granularity;
  const bool searches = is_auto && !found;
  if (!searches && config.budget_ms == 0) return choices;
  const bool keeps = found && !found->checkpoint.inputs.hardware.empty();
  const Deployment deployment =
      keeps ? deployment_of(config, kept_hardware(config, *found)) : deployment_of(config, observer);
  if (searches) choices.granularity = searched_granularity(config, deployment, observer);
  if (config.budget_ms > 0) choices.hardware = hardware_to_toml(deployment.hardware);
  return choices;
}

/// As rank 0 chooses.
Choices agreed_choices(const TrainConfig& config, torch::Device device,
                       const std::optional<FoundCheckpoint>& found, World& world,
                       const TrainObserver& observer) {
  nlohmann::json text;
  if (world.leads()) {
    const Choices choices = choose(config, device, found, observer);
    text = {{"granularity", granularity_to_string(choices.granularity)},
            {"precision", to_string(choices.precision)},
            {"hardware", choices.hardware}};
  }
  text = nlohmann::json::parse(world.broadcast(to_text(text)));
  return {.granularity = parse_granularity(text["granularity"].get<std::string>()),
          .precision = parse_train_precision(text["precision"].get<std::string>()),
          .hardware = text["hardware"].get<std::string>()};
}

TrainConfig with_choices(TrainConfig config, torch::Device device, const Choices& choices) {
  config.arch.granularity = choices.granularity;
  config.precision = choices.precision;
  if (config.precision == TrainPrecision::bf16 && !computes_bf16(device))
    fail("{} bf16: this processor has no AVX-512, which libtorch needs for it; give fp32, or auto",
         setting_name("precision"));
  return config;
}

/// The noise-free cost over the static network's, as it is asked for.
struct AskedCost {
  double target = 0, reached = 0;
};
AskedCost asked_cost(const TrainResult& result) {
  if (result.budget_ms == 0) return {.target = result.target, .reached = result.dynamic_eval.macs_ratio};
  const double static_ms = result.static_eval.predicted_ms.value_or(0);
  return {.target = result.budget_ms / static_ms,
          .reached = result.dynamic_eval.predicted_ms.value_or(0) / static_ms};
}

/// What a run came to, as its state says.
TrainResult result_of(const RunState& state, const TrainConfig& config, const RunInputs& inputs,
                      const RunFiles& files, bool completed) {
  const auto evaluation = [&](const char* phase) {
    const auto found = state.results.find(phase);
    return found == state.results.end() ? Evaluation{} : found->second;
  };
  TrainResult result{.completed = completed,
                     .model_path = completed && !config.static_only ? files.dynamic_model() : std::string(),
                     .static_path = files.static_model(),
                     .checkpoint_path = files.checkpoint(),
                     .dynamic_eval = evaluation(kFinetune),
                     .static_eval = evaluation(kPretrain),
                     .control_eval = evaluation(kControl),
                     .target = config.target,
                     .budget_ms = config.budget_ms,
                     .deployment = {},
                     .target_met = false,
                     .advice = {}};
  if (!std::filesystem::exists(result.checkpoint_path)) result.checkpoint_path.clear();
  if (const auto deployment = inputs.deployment(config)) result.deployment = to_text(*deployment);
  if (result.model_path.empty()) return result;
  const AskedCost cost = asked_cost(result);
  result.target_met = meets_budget(cost.reached, cost.target);
  result.advice = budget_advice(config, cost.target, cost.reached, result.dynamic_eval.rates);
  return result;
}

/// What a resumed run is started with: without paths that depend on where it was started from, and without
/// what was chosen for it.
TrainConfig settled(TrainConfig config) {
  for (std::string* path : {&config.data, &config.init, &config.teacher})
    if (!path->empty()) *path = std::filesystem::absolute(*path).string();
  if (config.budget_ms == 0) {
    config.hardware.clear();
    config.deploy_batch = 0;
    config.deploy_threads = 1;
    config.deploy_precision = Precision::fp32;
  } else if (std::filesystem::exists(config.hardware)) {
    config.hardware = std::filesystem::absolute(config.hardware).string();
  }
  config.resume = config.overwrite = false;
  return config;
}

/// The output folder, which rank 0 keeps to itself.
class OutputFolder {
 public:
  explicit OutputFolder(const TrainConfig& config) : files_(config.output) {
    files_.prepare();
    lock_.emplace(config.output,
                  "another training run writes here; wait for it, or give another " + setting_name("output"));
    check_nothing_is_lost(config, files_);
    files_.remove_half_written();
  }

 private:
  RunFiles files_;
  std::optional<FolderLock> lock_;
};

TrainResult train_in(World& world, const TrainConfig& config, const TrainObserver& observer) {
  const torch::Device device = device_of(config.device, world.local_rank());
  const RunFiles files(config.output);
  if (world.leads() && !config.resume) check_deployment(config);
  std::optional<OutputFolder> folder;
  if (world.leads() && !config.dry_run) folder.emplace(config);
  check_same_program(world);
  RunInputs inputs = digests_of(config);
  check_same_settings_everywhere(world, config, inputs);
  std::optional<FoundCheckpoint> found;
  if (config.resume) {
    if (world.leads()) found = files.find_checkpoint();
    found = broadcast(world, std::move(found));
    if (!found)
      tell(observer.on_message,
           fmt::format("{}: no checkpoint yet, starting from the beginning", config.output));
  }
  const Choices choices = agreed_choices(config, device, found, world, observer);
  const TrainConfig chosen = with_choices(config, device, choices);
  inputs.hardware = choices.hardware;
  ArchConfig arch = chosen.arch;
  arch.classes = kFewestClasses;
  make_spec(arch);  // refuses a bad architecture before any image is read
  if (found) check_same_settings(*found, chosen);
  if (found && found->checkpoint.state.phase == kDone) {
    tell(observer.on_message, fmt::format("{}: the run is finished", config.output));
    return result_of(found->checkpoint.state, chosen, inputs, files, true);
  }
  if (found) check_same_inputs(*found, chosen, inputs);
  const TrainedRun run =
      run_trainer(settled(chosen), device, inputs, std::move(found), files, world, observer);
  return result_of(run.state, chosen, inputs, files, run.completed);
}

/// With libtorch's errors as the library's.
TrainResult train_or_explain(World& world, const TrainConfig& config, const TrainObserver& observer) {
  KeepFreedMemory keep_freed_memory;
  try {
    return train_in(world, config, observer);
  } catch (const c10::Error& error) {
    const std::string reason = error.what_without_backtrace();
    if (reason.find("allocate memory") != std::string::npos)
      fail("training: out of memory; lower {} ({}) or {} ({} px)", setting_name("batch"), config.batch,
           setting_name("size"), config.size);
    fail("training: libtorch: {}", reason);
  }
}

}  // namespace

std::optional<TrainConfig> resumed_config(const std::string& output) {
  auto found = RunFiles(output).find_checkpoint();
  if (!found) return std::nullopt;
  return std::move(found->checkpoint.config);
}

TrainResult train(const TrainConfig& config, const TrainObserver& observer, const Processes& processes) {
  check_train_config(config);
  check_processes(processes, config);
  World world(processes);
  TrainObserver heard;
  heard.should_stop = observer.should_stop;
  if (world.leads()) heard = observer;
  try {
    return train_or_explain(world, config, heard);
  } catch (const std::exception& error) {
    world.abandon(error.what());
    throw;
  }
}

}  // namespace lasnet
