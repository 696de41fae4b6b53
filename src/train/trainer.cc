// The order of a run: data, static network, static control, dynamic network.
//
// Phases hand over through files: static.safetensors is where the control and the dynamic network start and
// what teaches them. A resumed run therefore needs no more than the checkpoint of the phase it was in.
#include <algorithm>
#include <array>
#include <filesystem>

#include "core/fail.h"
#include "core/file.h"
#include "core/processors.h"
#include "lasnet/train.h"
#include "train/auto_granularity.h"
#include "train/config.h"
#include "train/heap.h"
#include "train/phase.h"
#include "train/run_files.h"
#include "train/starting_point.h"
#include "train/torch_threads.h"

namespace lasnet {
namespace {

constexpr double kPretrainWarmup = 0.05;
constexpr double kReferenceBatch = 256;

constexpr const char* kPretrain = "pretrain";
constexpr const char* kControl = "control";
constexpr const char* kFinetune = "finetune";
constexpr const char* kDone = "done";
constexpr std::array kPhaseOrder = {kPretrain, kControl, kFinetune, kDone};

size_t phase_index(const std::string& phase) {
  auto found = std::ranges::find(kPhaseOrder, phase);
  if (found == kPhaseOrder.end()) fail("checkpoint: unknown phase '{}'", phase);
  return static_cast<size_t>(found - kPhaseOrder.begin());
}

int thread_count(const TrainConfig& config) {
  if (config.threads > 0) return config.threads;
  return usable_processors();
}

ModelSpec spec_for(ArchConfig arch, bool dynamic, size_t classes) {
  if (!dynamic) arch.granularity.clear();
  arch.classes = static_cast<int>(classes);
  return make_spec(arch);
}

/// A batch that leaves BatchNorm one value per channel has no variance.
void check_batch(const TrainConfig& config, const ModelSpec& spec, int64_t images) {
  NetworkGeometry geometry = network_geometry(spec, {config.size, config.size});
  int64_t batch = std::min<int64_t>(config.batch, images);
  if (batch * geometry.blocks.back().output.pixels() < 2) {
    fail("a batch of {} at {} px leaves BatchNorm one value per channel; raise --batch or --size", batch,
         config.size);
  }
}

/// Throws Error, naming the file and the ways out, if config.output holds a run that it neither resumes nor
/// overwrites.
void check_nothing_is_lost(const TrainConfig& config, const RunFiles& files) {
  if (config.resume || config.overwrite) return;
  const std::optional<Checkpoint> checkpoint = load_checkpoint(files.checkpoint());
  if (checkpoint && checkpoint->state.phase != kDone) {
    fail(
        "{}: the checkpoint of an unfinished run; give --resume to go on, --overwrite to start anew, or "
        "another folder (-o)",
        files.checkpoint());
  }
  for (const std::string& model : {files.dynamic_model(), files.control_model(), files.static_model()}) {
    if (!std::filesystem::exists(model)) continue;
    fail(
        "{}: the model of a finished run; give another folder (-o), --overwrite to replace it, or --resume "
        "for its figures",
        model);
  }
}

class Trainer {
 public:
  Trainer(const TrainConfig& config, const RunFiles& files, const TrainObserver& observer);

  TrainResult run();

 private:
  void message(const std::string& text) const;
  bool should_stop() const { return observer_.should_stop && observer_.should_stop(); }

  void resume();
  bool is_pending(const char* phase) const { return phase_index(state_.phase) <= phase_index(phase); }
  bool run_phase(const PhaseSettings& settings, MaskedNet& net, const MaskedNet* teacher);
  void save_position(const Weights& weights, const Weights& momentum) const;
  void write_log() const;
  void advance_to(const char* phase);

  bool make_static();
  bool make_control();
  bool make_dynamic();
  bool evaluate_static(const MaskedNet& net);
  PhaseSettings finetuning(const char* name, int epochs, bool dynamic) const;
  std::optional<MaskedNet> load_teacher() const;
  void save_trained(const MaskedNet& net, const std::string& path) const;
  TrainResult result(bool completed) const;

  TrainConfig config_;
  const TrainObserver& observer_;
  RunFiles files_;
  int threads_;
  TorchThreads torch_threads_;
  TrainData data_;
  ModelSpec static_spec_, dynamic_spec_;
  nlohmann::json recipe_;
  RunState state_;
  std::optional<Checkpoint> resumed_;  ///< until its phase has taken the tensors
};

Trainer::Trainer(const TrainConfig& config, const RunFiles& files, const TrainObserver& observer)
    : config_(config),
      observer_(observer),
      files_(files),
      threads_(thread_count(config)),
      torch_threads_(threads_),
      data_(config, threads_, [this](const std::string& text) { message(text); }),
      static_spec_(spec_for(config.arch, false, data_.classes().size())),
      dynamic_spec_(spec_for(config.arch, true, data_.classes().size())),
      recipe_(recipe_json(config)) {
  check_batch(config_, static_spec_, data_.train_images());
  state_.phase = kPretrain;
  resume();
}

void Trainer::message(const std::string& text) const {
  if (observer_.on_message) observer_.on_message(text);
}

void Trainer::resume() {
  if (config_.overwrite) files_.forget_position();
  if (!config_.resume) return;
  std::optional<Checkpoint> checkpoint = load_checkpoint(files_.checkpoint());
  if (!checkpoint) {
    message(fmt::format("{}: no checkpoint yet, starting from the beginning", config_.output));
    return;
  }
  check_resumable(*checkpoint, recipe_, data_.classes(), data_.train_images(), files_.checkpoint());
  state_ = checkpoint->state;
  if (state_.phase == kDone) {
    message(fmt::format("{}: the run is finished", config_.output));
    return;
  }
  if (checkpoint->threads != threads_ && checkpoint->threads > 0) {
    message(fmt::format("the run was on {} threads; on {} its figures differ in their last digits",
                        checkpoint->threads, threads_));
  }
  message(fmt::format("resuming {} in epoch {} after {} of {} steps", state_.phase, state_.epoch + 1,
                      state_.step, data_.steps_per_epoch()));
  resumed_ = std::move(checkpoint);
}

TrainResult Trainer::run() {
  bool completed = (!is_pending(kPretrain) || make_static()) && (!is_pending(kControl) || make_control()) &&
                   (!is_pending(kFinetune) || make_dynamic());
  return result(completed);
}

bool Trainer::make_static() {
  StartingPoint start = starting_point(static_spec_, data_.classes(), config_.init, config_.seed);
  if (!start.note.empty()) message(start.note);
  MaskedNet net(static_spec_, start.weights);
  int epochs = start.trained ? 0 : config_.pretrain_epochs;
  if (epochs > 0) {
    PhaseSettings settings{.name = kPretrain,
                           .data_stream = kPretrain,
                           .epochs = epochs,
                           .lr = config_.pretrain_lr * config_.batch / kReferenceBatch,
                           .weight_decay = config_.pretrain_weight_decay,
                           .warmup = kPretrainWarmup,
                           .dynamic = false};
    if (!run_phase(settings, net, /*teacher=*/nullptr)) return false;
  } else if (!evaluate_static(net)) {
    return false;
  }
  save_trained(net, files_.static_model());
  advance_to(kControl);
  return true;
}

bool Trainer::evaluate_static(const MaskedNet& net) {
  std::optional<EvaluationDetail> detail = evaluate(net, data_, [this](int64_t) { return !should_stop(); });
  if (!detail) return false;
  state_.results[kPretrain] = detail->figures;
  return true;
}

bool Trainer::make_control() {
  if (config_.control_epochs > 0) {
    MaskedNet net(static_spec_, load_model(files_.static_model()).weights);
    std::optional<MaskedNet> teacher = load_teacher();
    PhaseSettings settings = finetuning(kControl, config_.control_epochs, /*dynamic=*/false);
    if (!run_phase(settings, net, teacher ? &*teacher : nullptr)) return false;
    save_trained(net, files_.control_model());
  }
  advance_to(kFinetune);
  return true;
}

bool Trainer::make_dynamic() {
  Weights weights = load_model(files_.static_model()).weights;
  float bias = config_.masker_bias == 0 ? fresh_masker_bias(dynamic_spec_.arch) : config_.masker_bias;
  init_maskers(dynamic_spec_, config_.seed, bias, weights);
  MaskedNet net(dynamic_spec_, weights);
  std::optional<MaskedNet> teacher = load_teacher();
  PhaseSettings settings = finetuning(kFinetune, config_.epochs, /*dynamic=*/true);
  if (!run_phase(settings, net, teacher ? &*teacher : nullptr)) return false;
  save_trained(net, files_.dynamic_model());
  advance_to(kDone);
  save_position({}, {});
  return true;
}

PhaseSettings Trainer::finetuning(const char* name, int epochs, bool dynamic) const {
  // One data stream: the control sees the very images that the dynamic network sees.
  return {.name = name,
          .data_stream = kFinetune,
          .epochs = epochs,
          .lr = config_.lr * config_.batch / kReferenceBatch,
          .weight_decay = config_.weight_decay,
          .warmup = 0,
          .dynamic = dynamic};
}

bool Trainer::run_phase(const PhaseSettings& settings, MaskedNet& net, const MaskedNet* teacher) {
  Phase phase(config_, settings, data_, net, teacher, observer_);
  if (resumed_) {
    net.load(resumed_->weights);
    phase.set_momentum(resumed_->momentum);
    resumed_.reset();
  }
  auto save = [&] {
    write_log();
    save_position(net.weights(), phase.momentum());
  };
  if (phase.run(state_, save)) return true;
  save();
  return false;
}

void Trainer::save_position(const Weights& weights, const Weights& momentum) const {
  save_checkpoint({.recipe = recipe_,
                   .classes = data_.classes(),
                   .train_images = data_.train_images(),
                   .threads = threads_,
                   .state = state_,
                   .weights = weights,
                   .momentum = momentum},
                  files_.checkpoint());
}

void Trainer::write_log() const {
  std::vector<std::string> blocks;
  for (const BlockSpec& block : dynamic_spec_.blocks) blocks.push_back(block.name);
  write_log_csv(state_.history, blocks, files_.log());
}

void Trainer::advance_to(const char* phase) {
  state_.phase = phase;
  state_.epoch = 0;
  state_.step = 0;
  state_.sums = {};
}

std::optional<MaskedNet> Trainer::load_teacher() const {
  if (config_.alpha_distill == 0) return std::nullopt;
  Model model = load_model(config_.teacher.empty() ? files_.static_model() : config_.teacher);
  if (model.spec.arch.classes != static_spec_.arch.classes) {
    fail("{}: the teacher has {} classes, the data {}", config_.teacher, model.spec.arch.classes,
         static_spec_.arch.classes);
  }
  return MaskedNet(model.spec, model.weights);
}

void Trainer::save_trained(const MaskedNet& net, const std::string& path) const {
  nlohmann::json results = nlohmann::json::object();
  for (const auto& [phase, evaluation] : state_.results) results[phase] = to_json(evaluation);
  nlohmann::json facts = {{"recipe", recipe_},
                          {"results", results},
                          {"train_images", data_.train_images()},
                          {"val_images", data_.val_images()}};
  save_model({.spec = net.spec(),
              .weights = net.weights(),
              .class_names = data_.classes(),
              .preprocessing = data_.preprocessing(),
              .training_json = facts.dump()},
             path);
}

TrainResult Trainer::result(bool completed) const {
  auto evaluation = [this](const char* phase) {
    auto found = state_.results.find(phase);
    return found == state_.results.end() ? Evaluation{} : found->second;
  };
  return {.completed = completed,
          .model_path = completed ? files_.dynamic_model() : std::string(),
          .static_path = files_.static_model(),
          .dynamic_eval = evaluation(kFinetune),
          .static_eval = evaluation(kPretrain),
          .control_eval = evaluation(kControl)};
}

}  // namespace

TrainResult train(const TrainConfig& config, const TrainObserver& observer) {
  check_train_config(config);
  const RunFiles files(config.output);
  const FolderLock lock(config.output, "another training run writes here; wait for it, or give another -o");
  check_nothing_is_lost(config, files);
  files.remove_half_written();
  const TrainConfig settled = with_granularity(config, observer);
  spec_for(settled.arch, true, /*classes=*/2);  // refuses a bad architecture before any image is read
  KeepFreedMemory keep_freed_memory;
  try {
    return Trainer(settled, files, observer).run();
  } catch (const c10::Error& error) {
    fail("training: libtorch: {}", error.what_without_backtrace());
  }
}

}  // namespace lasnet
