// The order of a run: data, static network, static control, dynamic network.
//
// Phases hand over through files: static.safetensors is where the control and the dynamic network start and
// what teaches them. A resumed run therefore needs no more than the checkpoint of the phase it was in.
#include "train/trainer.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "base/file.h"
#include "base/processors.h"
#include "train/agreement.h"
#include "train/board_log.h"
#include "train/budget.h"
#include "train/budget_control.h"
#include "train/checkpoint_clock.h"
#include "train/config.h"
#include "train/digest.h"
#include "train/head_fit.h"
#include "train/masker_fit.h"
#include "train/measured_time.h"
#include "train/norm_adaptation.h"
#include "train/phase.h"
#include "train/rate_allocation.h"
#include "train/record.h"
#include "train/run_files.h"
#include "train/starting_point.h"
#include "train/teacher.h"
#include "train/torch_tensor.h"
#include "train/torch_threads.h"

namespace lasnet {
namespace {

constexpr double kPretrainWarmup = 0.05;
constexpr double kReferenceBatch = 256;
constexpr int64_t kStatisticsImages = 512, kNormImages = 1280;
constexpr int64_t kSettlingImages = 2048, kAllocationImages = 160;
constexpr size_t kTimedImages = 64;

size_t phase_index(const std::string& phase) {
  return static_cast<size_t>(std::ranges::find(kPhaseOrder, phase) - kPhaseOrder.begin());
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
void check_batch(const TrainConfig& config, const ModelSpec& spec, int64_t images, int64_t processes) {
  NetworkGeometry geometry = network_geometry(spec, {config.size, config.size});
  const int64_t batch = std::min<int64_t>(config.batch, images);
  if (batch < processes)
    fail("{} training images: {} processes need at least one image each in a step; start fewer", images,
         processes);
  const int64_t least = config.sync_bn ? batch : batch / processes;
  if (least * geometry.blocks.back().output.pixels() < 2) {
    fail("a batch of {} at {} px leaves BatchNorm one value per channel; raise {} or {}{}", least,
         config.size, setting_name("batch"), setting_name("size"),
         processes > 1 ? fmt::format(", or set {}", setting_name("sync_bn")) : "");
  }
}

void tell(const std::function<void(const std::string&)>& listener, const std::string& text) {
  if (listener && !text.empty()) listener(text);
}

/// Most bytes that this process ever had in memory.
int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

/// Of the file alone, as a model names what it was made from.
nlohmann::json origin_json(const std::string& path, const std::string& digest) {
  if (path.empty()) return nullptr;
  return {{"file", std::filesystem::path(path).filename().string()}, {"sha256", digest}};
}

class Trainer {
 public:
  /// As run_trainer.
  Trainer(const TrainConfig& config, torch::Device device, const RunInputs& inputs,
          std::optional<FoundCheckpoint> found, const RunFiles& files, World& world,
          const TrainObserver& observer);

  TrainedRun run();

 private:
  void message(const std::string& text) const { tell(observer_.on_message, text); }
  void warn(const std::string& text) const { tell(observer_.on_warning, text); }
  bool stop_requested() const { return observer_.should_stop && observer_.should_stop(); }
  /// Asked in all processes at the same places.
  bool should_stop() const { return world_.any(stop_requested()); }
  /// Asked in one of them, for whom the others wait.
  bool should_stop_alone() const {
    world_.check();
    return stop_requested();
  }
  /// `work` on the network, in rank 0 alone: the others get what it made. False if it was asked to stop.
  bool prepare(MaskedNet& net, const std::function<bool()>& work) const;
  Weights static_weights() const;
  MaskedNet static_net(const Weights& weights) const {
    return {static_spec_, weights, /*standardise_maskers=*/false, device_};
  }

  RunData data_facts() const;
  void resume(FoundCheckpoint found);
  bool is_pending(const char* phase) const { return phase_index(state_.phase) <= phase_index(phase); }
  int epochs_of(const std::string& phase) const;
  bool run_phase(const PhaseSettings& settings, MaskedNet& net, const MaskedNet* teacher);
  void save_position(const Weights& weights, const Weights& momentum) const;
  std::vector<std::string> block_names() const;
  void write_log();
  void advance_to(const char* phase);

  bool make_static();
  bool make_control();
  bool make_dynamic();
  void finish();
  bool fit_new_head(MaskedNet& net) const;
  /// So that the first step begins with the function of the weights that were given.
  bool adapt_to_data(MaskedNet& net, MaskPolicy::Kind masks) const;
  bool evaluate_static(const MaskedNet& net);
  /// Brings the maskers to where training starts from.
  bool start_maskers(MaskedNet& net) const;
  /// What the maskers see, and the rates that they have, become those to be held; the cost of these.
  std::optional<double> take_masker_rates(MaskedNet& net) const;
  /// Rates to be held, for the target.
  bool choose_rates(MaskedNet& net) const;
  std::optional<SettledBudget> move_to_budget(MaskedNet& net) const;
  /// Meets the target without noise.
  bool settle(MaskedNet& net);
  /// Times the network, where it is made for this machine.
  bool measure(const MaskedNet& net);
  Weights with_maskers(Weights weights) const;
  float masker_bias() const;
  void take_maskers();
  void load_teacher();
  /// The teacher that was given, else the static network; null without distillation.
  const MaskedNet* teacher();

  void announce(const Weights& static_weights);
  double images_after(const char* phase) const;
  PhaseSettings pretraining(int epochs) const;
  PhaseSettings finetuning(const char* name, int epochs, bool dynamic) const;
  void save_trained(const MaskedNet& net, const std::string& path) const;

  TrainConfig config_;
  RunInputs inputs_;
  World& world_;
  const TrainObserver& observer_;
  RunFiles files_;
  int threads_;
  TorchThreads torch_threads_;
  torch::Device device_;
  TrainData data_;
  ModelSpec static_spec_, dynamic_spec_;
  std::optional<Deployment> deployment_;  ///< of a budget in milliseconds
  Budget budget_;
  StoredMaskers maskers_;             ///< that training goes on from
  std::optional<MaskedNet> teacher_;  ///< once it is loaded
  std::string file_list_;             ///< SHA-256 of the list that was written when the run began
  RunState state_;
  std::optional<Checkpoint> resumed_;   ///< until its phase has taken the tensors
  std::optional<BoardLog> board_;       ///< if one is asked for
  size_t logged_ = 0;                   ///< epochs of the history that are in it
  std::optional<double> images_per_s_;  ///< once it is announced
  int pretrain_epochs_ = 0;             ///< that this starting point needs
};

Trainer::Trainer(const TrainConfig& config, torch::Device device, const RunInputs& inputs,
                 std::optional<FoundCheckpoint> found, const RunFiles& files, World& world,
                 const TrainObserver& observer)
    : config_(config),
      inputs_(inputs),
      world_(world),
      observer_(observer),
      files_(files),
      threads_(thread_count(config)),
      torch_threads_(threads_),
      device_(device),
      data_(
          config, threads_, [this](const std::string& text) { message(text); }, world),
      static_spec_(spec_for(config.arch, false, data_.classes().size())),
      dynamic_spec_(spec_for(config.arch, true, data_.classes().size())),
      deployment_(inputs.deployment(config)),
      budget_(deployment_ ? time_budget(config, dynamic_spec_, *deployment_)
                          : macs_budget(config, dynamic_spec_)) {
  check_same_data_everywhere(world_, data_facts());
  check_batch(config_, static_spec_, data_.train_images(), world_.size());
  if (!deployment_) warn(unreachable_target(config_, budget_));
  file_list_ = found ? found->checkpoint.file_list : digest_of(data_.files());
  take_maskers();
  load_teacher();
  if (config_.tensorboard && world_.leads())
    board_.emplace(files_.board(), settings_table(config_), block_names());
  if (found) {
    resume(std::move(*found));
  } else if (world_.leads() && !config_.dry_run) {
    if (config_.overwrite) files_.forget_position();
    if (config_.overwrite) remove_board_logs(files_.board());
    write_file_atomically(files_.file_list(), [&](std::ostream& out) { out << data_.files(); });
  }
}

RunData Trainer::data_facts() const {
  return {.classes = data_.classes(),
          .train_images = data_.train_images(),
          .files = data_.files(),
          .preprocessing = data_.preprocessing()};
}

void Trainer::resume(FoundCheckpoint found) {
  if (world_.leads()) warn(check_same_data(found, data_facts(), files_.file_list()));
  Checkpoint& checkpoint = found.checkpoint;
  check_position(checkpoint.state,
                 {.epochs = epochs_of(checkpoint.state.phase),
                  .steps = data_.steps_per_epoch(),
                  .batch = std::min<int64_t>(config_.batch, data_.train_images()),
                  .blocks = dynamic_spec_.blocks.size()},
                 found.path);
  if (!found.problem.empty())
    warn(fmt::format("{}; the run goes on from the checkpoint before, {}", found.problem, found.path));
  state_ = checkpoint.state;
  logged_ = state_.history.size();
  if (checkpoint.config.threads != threads_) {
    message(fmt::format("the run was on {} threads; on {} its figures differ in their last digits",
                        checkpoint.config.threads, threads_));
  }
  if (checkpoint.processes != world_.size()) {
    message(fmt::format("the run was on {} processes; on {} its figures differ in their last digits{}",
                        checkpoint.processes, world_.size(),
                        config_.sync_bn ? "" : ", and BatchNorm takes its statistics of other shares"));
  }
  message(fmt::format("resuming {} in epoch {} after {} of {} steps", state_.phase, state_.epoch + 1,
                      state_.step, data_.steps_per_epoch()));
  resumed_ = std::move(checkpoint);
}

int Trainer::epochs_of(const std::string& phase) const {
  if (phase == kPretrain) return config_.pretrain_epochs;
  return phase == kControl ? config_.control_epochs : config_.epochs;
}

/// Finds out whether the starting point's maskers are kept, and says so.
void Trainer::take_maskers() {
  StoredMaskers stored = stored_maskers(dynamic_spec_, config_.init, config_.state_dict);
  if (stored.weights.empty()) return;
  if (config_.fresh_maskers) {
    message(fmt::format("{}: its maskers are left out, for fresh ones", config_.init));
    return;
  }
  if (config_.masker_bias != 0) {
    fail("{}: its maskers are trained and have a bias of their own; give {} to start with {} {:g}",
         config_.init, setting_name("fresh_maskers"), setting_name("masker_bias"), config_.masker_bias);
  }
  maskers_ = std::move(stored);
  const bool same = maskers_.granularity.empty() || maskers_.granularity == config_.arch.granularity;
  message(fmt::format(
      "{}: its maskers are kept{}; {} starts with fresh ones", config_.init,
      same ? "" : ", though they were trained for S = " + granularity_to_string(maskers_.granularity),
      setting_name("fresh_maskers")));
  if (config_.teacher.empty() && distils(config_)) {
    message(fmt::format(
        "{}: its weights without masks are the teacher; the static network that they came from is a "
        "better one ({})",
        config_.init, setting_name("teacher")));
  }
}

void Trainer::load_teacher() {
  if (config_.teacher.empty() || !distils(config_)) return;
  const Model model = load_teacher_for(config_.teacher, data_.classes(), data_.preprocessing());
  const int crop = model.preprocessing.crop;
  if (crop > 0 && crop != config_.size)
    warn(fmt::format("{}: the teacher was trained on {} px and sees {} px here", config_.teacher, crop,
                     config_.size));
  teacher_.emplace(model.spec, model.weights, /*standardise_maskers=*/false, device_);
}

const MaskedNet* Trainer::teacher() {
  if (!distils(config_)) return nullptr;
  if (!teacher_) teacher_.emplace(static_net(static_weights()));
  return &*teacher_;
}

TrainedRun Trainer::run() {
  const bool completed = (!is_pending(kPretrain) || make_static()) &&
                         (!is_pending(kControl) || make_control()) &&
                         (config_.static_only || !is_pending(kFinetune) || make_dynamic());
  if (completed) finish();
  return {.state = state_, .completed = completed};
}

bool Trainer::make_static() {
  StartingPoint start =
      starting_point(static_spec_, data_.classes(), config_.init, config_.state_dict, config_.seed);
  message(start.note);
  warn(start.warning);
  pretrain_epochs_ = start.trained ? 0 : config_.pretrain_epochs;
  announce(start.weights);
  if (config_.dry_run) return false;
  MaskedNet net = static_net(start.weights);
  const bool fresh_head = !start.trained && !config_.init.empty() && !resumed_;
  if (fresh_head && !prepare(net, [&] { return fit_new_head(net); })) return false;
  const bool foreign_statistics = !config_.init.empty() && !resumed_;
  if (foreign_statistics) {
    if (!prepare(net, [&] { return adapt_to_data(net, MaskPolicy::Kind::dense); })) return false;
    message(
        fmt::format("{}: BatchNorm has the training images' statistics now; scales and shifts moved along, "
                    "so that the network computes the same",
                    config_.init));
  }
  if (pretrain_epochs_ > 0) {
    if (!run_phase(pretraining(pretrain_epochs_), net, /*teacher=*/nullptr)) return false;
  } else if (!evaluate_static(net)) {
    return false;
  }
  save_trained(net, files_.static_model());
  advance_to(kControl);
  return true;
}

bool Trainer::fit_new_head(MaskedNet& net) const {
  const auto top1 =
      fit_head(net, data_.training_as_deployed(data_.train_images()),
               config_.precision == TrainPrecision::bf16, [this] { return !should_stop_alone(); });
  if (!top1) return false;
  message(
      fmt::format("{}: a fresh head is fitted to the features of {} training images: top-1 {:.1f} % on these",
                  config_.init, data_.train_images(), 100 * *top1));
  return true;
}

bool Trainer::adapt_to_data(MaskedNet& net, MaskPolicy::Kind masks) const {
  // Of the images that the running statistics will come from: those of the steps, or renewed ones.
  const bool renewed = config_.norm_images > 0;
  return adapt_norms(net, masks,
                     renewed ? data_.training_as_deployed(config_.norm_images)
                             : data_.training(kPretrain, /*epoch=*/0, /*first_step=*/0),
                     renewed ? config_.norm_images : kNormImages, config_.precision == TrainPrecision::bf16,
                     [this] { return !should_stop_alone(); });
}

bool Trainer::prepare(MaskedNet& net, const std::function<bool()>& work) const {
  if (!world_.any(world_.leads() && work())) return false;
  world_.broadcast(net.tensors());
  return true;
}

Weights Trainer::static_weights() const {
  return world_.broadcast(world_.leads() ? load_model(files_.static_model()).weights : Weights());
}

bool Trainer::evaluate_static(const MaskedNet& net) {
  const auto proceed = [&](int64_t index) {
    if (should_stop()) return false;
    if (observer_.on_step) {
      observer_.on_step({.phase = "static",
                         .epoch = 1,
                         .epochs = 1,
                         .step = index,
                         .steps = data_.val_batches(),
                         .loss = 0,
                         .macs_ratio = 1,
                         .images_per_s = *images_per_s_,
                         .seconds_left = images_after(kPretrain) / *images_per_s_});
    }
    return true;
  };
  std::optional<EvaluationDetail> detail = evaluate(net, budget_.cost, data_, world_, proceed);
  if (!detail) return false;
  const Evaluation& figures = state_.results[kPretrain] = detail->figures;
  message(fmt::format(
      "static network, before the first step: top-1 {:.1f} %, top-5 {:.1f} %, loss {:.3f} on {} images",
      100 * figures.top1, 100 * figures.top5, figures.loss, figures.images));
  if (!std::isfinite(figures.loss)) {
    fail(
        "{}: the static network's loss on these images is not finite; expected weights and inputs that give "
        "finite logits",
        config_.init.empty() ? "the network" : config_.init);
  }
  warn(chance_warning(figures, data_.classes().size(), data_.preprocessing()));
  return true;
}

bool Trainer::make_control() {
  if (config_.control_epochs > 0) {
    const Weights weights = static_weights();
    announce(weights);
    MaskedNet net = static_net(weights);
    PhaseSettings settings = finetuning(kControl, config_.control_epochs, /*dynamic=*/false);
    if (!run_phase(settings, net, teacher())) return false;
    save_trained(net, files_.control_model());
  }
  advance_to(kFinetune);
  return true;
}

bool Trainer::make_dynamic() {
  const Weights weights = static_weights();
  announce(weights);
  MaskedNet net(dynamic_spec_, with_maskers(weights), config_.standardise_maskers, device_);
  PhaseSettings settings = finetuning(kFinetune, config_.epochs, /*dynamic=*/true);
  if (!resumed_ && !prepare(net, [&] { return start_maskers(net); })) return false;
  if (!run_phase(settings, net, teacher())) return false;
  if (config_.hold_budget && !settle(net)) return false;
  if (!measure(net)) return false;
  save_trained(net, files_.dynamic_model());
  return true;
}

void Trainer::finish() {
  advance_to(kDone);
  save_position({}, {});
  if (world_.leads()) files_.forget_previous();
}

bool Trainer::start_maskers(MaskedNet& net) const {
  // The static network's statistics are not those under masks.
  const bool kept = !maskers_.weights.empty();
  if (kept && !adapt_to_data(net, MaskPolicy::Kind::decide)) return false;
  if (!net.standardises_maskers()) return true;
  const auto proceed = [this] { return !should_stop_alone(); };
  if (config_.fit_images > 0 && !kept) {
    const auto fits =
        fit_maskers(net, budget_.cost, data_.training_as_deployed(config_.fit_images), config_.seed, proceed);
    if (!fits) return false;
    message(describe(*fits));
    return !config_.hold_budget || choose_rates(net);
  }
  const auto ratio = take_masker_rates(net);
  if (!ratio) return false;
  if (!config_.hold_budget) return true;
  if (!meets_budget(*ratio, budget_.target)) return choose_rates(net);
  // Near enough for one shift of all biases.
  return move_to_budget(net) && take_masker_rates(net);
}

std::optional<double> Trainer::take_masker_rates(MaskedNet& net) const {
  return take_masker_statistics(net, budget_.cost, data_.training_as_deployed(kStatisticsImages),
                                [this] { return !should_stop_alone(); });
}

bool Trainer::choose_rates(MaskedNet& net) const {
  const auto rates =
      allocate_rates(net, budget_.cost, data_.training_as_deployed(kAllocationImages), budget_.target,
                     config_.precision == TrainPrecision::bf16, [this] { return !should_stop_alone(); });
  if (!rates) return false;
  message(fmt::format("rates of the blocks that training leads to: {:.2f}", fmt::join(*rates, " ")));
  return true;
}

std::optional<SettledBudget> Trainer::move_to_budget(MaskedNet& net) const {
  return settle_budget(
      net, budget_.cost, [this] { return data_.training_as_deployed(kSettlingImages); }, budget_.target,
      [this] { return !should_stop_alone(); });
}

bool Trainer::settle(MaskedNet& net) {
  std::optional<SettledBudget> settled;
  const bool done = prepare(net, [&] {
    settled = move_to_budget(net);
    return settled.has_value();
  });
  if (!done) return false;
  if (!world_.any(settled && settled->shift != 0)) return true;  // the last epoch's figures stand
  const auto detail = evaluate(net, budget_.cost, data_, world_, [this](int64_t) { return !should_stop(); });
  if (!detail) return false;
  if (settled) {
    message(fmt::format(
        "the maskers' biases were moved by {:+.3f}: {} {:.1f} % instead of {:.1f} % on {} training images",
        settled->shift, budget_.cost.unit(), 100 * settled->after, 100 * settled->before, settled->images));
  }
  state_.results[kFinetune] = detail->figures;
  return true;
}

bool Trainer::measure(const MaskedNet& net) {
  if (!deployment_ || !deployment_->is_here) return true;
  std::optional<MeasuredTime> measured;
  const auto time_it = [&] {
    std::vector<Tensor> images;
    BatchStream batches = data_.validation();
    while (images.size() < kTimedImages) {
      const std::optional<Batch> batch = batches.next();
      if (!batch) break;
      for (const torch::Tensor& image : batch->images.split(1)) images.push_back(from_torch(image));
    }
    const Model model{.spec = net.spec(),
                      .weights = net.weights(),
                      .class_names = {},
                      .preprocessing = data_.preprocessing()};
    measured = measure_time(model, images, *deployment_, [this] { return !should_stop_alone(); });
    return measured.has_value();
  };
  if (!world_.any(world_.leads() && time_it())) return false;
  if (!measured) return true;  // rank 0 has it
  state_.results[kPretrain].measured_ms = measured->static_ms;
  state_.results[kFinetune].measured_ms = measured->dynamic_ms;
  return true;
}

float Trainer::masker_bias() const {
  return config_.masker_bias == 0 ? fresh_masker_bias(dynamic_spec_.arch) : config_.masker_bias;
}

Weights Trainer::with_maskers(Weights weights) const {
  init_maskers(dynamic_spec_, config_.seed, masker_bias(), weights);
  for (const auto& [name, values] : maskers_.weights) weights[name] = values;
  return weights;
}

/// Measures a few steps of fine-tuning on a copy, tells the plan, and warns of maskers that will not move.
/// Once.
void Trainer::announce(const Weights& static_weights) {
  if (images_per_s_) return;
  constexpr int64_t kProbeImages = 8;
  MaskedNet net(dynamic_spec_, with_maskers(static_weights), /*standardise_maskers=*/false, device_);
  std::optional<MaskedNet> own_teacher;
  const MaskedNet* taught_by = teacher_ ? &*teacher_ : nullptr;
  if (distils(config_) && !teacher_) taught_by = &own_teacher.emplace(static_net(static_weights));
  const TrainObserver nobody;
  Phase phase(config_, finetuning(kFinetune, config_.epochs, /*dynamic=*/true), budget_, data_, net,
              taught_by, world_, nobody);
  const Batch batch = *data_.training(kFinetune, /*epoch=*/0, /*first_step=*/0).next();
  const int64_t images = config_.dry_run ? batch.size() : std::min(kProbeImages, batch.size());
  const StepProbe probe = phase.probe({.images = batch.images.narrow(0, 0, images),
                                       .labels = batch.labels.narrow(0, 0, images),
                                       .first = 0,
                                       .total = images * world_.size()});
  images_per_s_ = probe.images_per_s;

  TrainPlan plan{.parts = {},
                 .steps_per_epoch = data_.steps_per_epoch(),
                 .batch = config_.batch,
                 .size = config_.size,
                 .threads = threads_,
                 .processes = world_.size(),
                 .device = device_.str(),
                 .images_per_s = probe.images_per_s,
                 .seconds = 0,
                 .epoch_seconds = training_images(data_, config_.batch, 1) / probe.images_per_s,
                 .memory_bytes = config_.dry_run ? peak_memory() : 0};
  double total = 0;
  for (const char* name : {kPretrain, kControl, kFinetune}) {
    if (!is_pending(name) || (config_.static_only && name == std::string(kFinetune))) continue;
    const int all = name == std::string(kPretrain) ? pretrain_epochs_ : epochs_of(name);
    const int done = state_.phase == name ? state_.epoch : 0;
    if (all > done) plan.parts.push_back({.phase = name, .epochs = all - done});
    total += training_images(data_, config_.batch, std::max(all - done, 0));
  }
  plan.seconds = total / probe.images_per_s;
  if (observer_.on_plan) observer_.on_plan(plan);
  const bool begun = state_.phase == kFinetune && (state_.epoch > 0 || state_.step > 0);
  if (!begun && !config_.static_only && maskers_.weights.empty()) {
    const MaskerStart start_of_maskers{.bias = masker_bias(),
                                       .steps = config_.epochs * data_.steps_per_epoch(),
                                       .lr = finetuning(kFinetune, config_.epochs, /*dynamic=*/true).lr,
                                       .gain = probe.masker_gain};
    warn(masker_forecast(config_, masker_training(config_, budget_, start_of_maskers)));
  }
}

/// Of the phases after this one.
double Trainer::images_after(const char* phase) const {
  double images = 0;
  for (const char* name : {kControl, kFinetune}) {
    if (config_.static_only && name == std::string(kFinetune)) continue;
    if (phase_index(name) > phase_index(phase))
      images += training_images(data_, config_.batch, epochs_of(name));
  }
  return images;
}

PhaseSettings Trainer::pretraining(int epochs) const {
  return {.name = kPretrain,
          .data_stream = kPretrain,
          .epochs = epochs,
          .lr = config_.pretrain_lr * config_.batch / kReferenceBatch,
          .weight_decay = config_.pretrain_weight_decay,
          .warmup = kPretrainWarmup,
          .dynamic = false,
          .images_per_s = images_per_s_.value_or(0),
          .images_after = images_after(kPretrain)};
}

PhaseSettings Trainer::finetuning(const char* name, int epochs, bool dynamic) const {
  // One data stream: the control sees the very images that the dynamic network sees.
  return {.name = name,
          .data_stream = kFinetune,
          .epochs = epochs,
          .lr = config_.lr * config_.batch / kReferenceBatch,
          .weight_decay = config_.weight_decay,
          .warmup = config_.warmup,
          .dynamic = dynamic,
          .images_per_s = images_per_s_.value_or(0),
          .images_after = images_after(name)};
}

bool Trainer::run_phase(const PhaseSettings& settings, MaskedNet& net, const MaskedNet* teacher) {
  Phase phase(config_, settings, budget_, data_, net, teacher, world_, observer_);
  if (resumed_) {
    net.load(resumed_->weights);
    phase.set_momentum(resumed_->momentum);
    resumed_.reset();
  }
  CheckpointClock clock(config_);
  const auto save = [&] {
    save_position(net.state(), phase.momentum());
    clock.restart();
  };
  const auto step_done = [&] {
    if (clock.is_due_after_step() && world_.leads()) save();
  };
  const auto epoch_done = [&] {
    if (!world_.leads()) return;
    write_log();
    save();
  };
  if (phase.run(state_, step_done, epoch_done)) return true;
  epoch_done();
  return false;
}

void Trainer::save_position(const Weights& weights, const Weights& momentum) const {
  if (!world_.leads()) return;
  Checkpoint position{.config = config_,
                      .processes = world_.size(),
                      .inputs = inputs_,
                      .classes = data_.classes(),
                      .train_images = data_.train_images(),
                      .file_list = file_list_,
                      .preprocessing = data_.preprocessing(),
                      .state = state_,
                      .weights = weights,
                      .momentum = momentum};
  position.config.threads = threads_;
  files_.save(position);
}

std::vector<std::string> Trainer::block_names() const {
  std::vector<std::string> names;
  for (const BlockSpec& block : dynamic_spec_.blocks) names.push_back(block.name);
  return names;
}

void Trainer::write_log() {
  write_log_csv(state_.history, block_names(), files_.log());
  for (; logged_ < state_.history.size(); ++logged_)
    if (board_) board_->add(state_.history[logged_]);
}

void Trainer::advance_to(const char* phase) {
  state_.phase = phase;
  state_.epoch = 0;
  state_.step = 0;
  state_.sums = {};
}

void Trainer::save_trained(const MaskedNet& net, const std::string& path) const {
  if (!world_.leads()) return;
  nlohmann::json results = nlohmann::json::object();
  for (const auto& [phase, evaluation] : state_.results) results[phase] = to_json(evaluation);
  nlohmann::json facts = {{"recipe", recipe_json(config_)},
                          {"init", origin_json(config_.init, inputs_.init)},
                          {"teacher", origin_json(config_.teacher, inputs_.teacher)},
                          {"results", results},
                          {"train_images", data_.train_images()},
                          {"val_images", data_.val_images()}};
  if (deployment_) {
    facts["deployment"] = {{"hardware", deployment_->hardware.name},
                           {"source", deployment_->hardware.source},
                           {"batch", deployment_->query.batch},
                           {"threads", deployment_->query.threads},
                           {"precision", to_string(deployment_->query.precision)}};
  }
  save_model({.spec = net.spec(),
              .weights = net.weights(),
              .class_names = data_.classes(),
              .preprocessing = data_.preprocessing(),
              .training_json = to_text(facts)},
             path);
}

}  // namespace

TrainedRun run_trainer(const TrainConfig& config, torch::Device device, const RunInputs& inputs,
                       std::optional<FoundCheckpoint> found, const RunFiles& files, World& world,
                       const TrainObserver& observer) {
  return Trainer(config, device, inputs, std::move(found), files, world, observer).run();
}

}  // namespace lasnet
