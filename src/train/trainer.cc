// The order of a run: data, static network, control, dynamic network; and the files it leaves.
//
// Phases hand over through files: static.safetensors is the start of the control and of the dynamic network, and
// their teacher. A resumed run therefore only needs the checkpoint of the phase it was in.
#include <algorithm>
#include <filesystem>
#include <thread>

#include "core/fail.h"
#include "core/file.h"
#include "lasnet/train.h"
#include "model/safetensors.h"
#include "train/config.h"
#include "train/phase.h"

namespace lasnet {
namespace {

namespace fs = std::filesystem;

constexpr double kPretrainWarmup = 0.05;
constexpr double kReferenceBatch = 256;

constexpr const char* kPretrain = "pretrain";
constexpr const char* kControl = "control";
constexpr const char* kFinetune = "finetune";
constexpr const char* kDone = "done";
const std::vector<std::string> kPhaseOrder = {kPretrain, kControl, kFinetune, kDone};

size_t phase_index(const std::string& phase) {
  auto found = std::ranges::find(kPhaseOrder, phase);
  if (found == kPhaseOrder.end()) fail("checkpoint: unknown phase '{}'", phase);
  return static_cast<size_t>(found - kPhaseOrder.begin());
}

/// libtorch's thread count is global; it is put back at the end.
class TorchThreads {
 public:
  explicit TorchThreads(int threads) : before_(torch::get_num_threads()) { torch::set_num_threads(threads); }
  ~TorchThreads() { torch::set_num_threads(before_); }
  TorchThreads(const TorchThreads&) = delete;
  TorchThreads& operator=(const TorchThreads&) = delete;

 private:
  int before_;
};

int thread_count(const TrainConfig& config) {
  if (config.threads > 0) return config.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void prepare_output(const std::string& output) {
  std::error_code error;
  fs::create_directories(output, error);
  if (error) fail("{}: cannot create the output directory: {}", output, error.message());
  fs::path probe = fs::path(output) / "log.csv.probe";
  write_file_atomically(probe.string(), [](std::ostream& out) { out << '\n'; });
  fs::remove(probe, error);
}

ModelSpec static_spec(const TrainConfig& config, size_t classes) {
  ArchConfig arch = config.arch;
  arch.granularity.clear();
  arch.classes = static_cast<int>(classes);
  return make_spec(arch);
}

ModelSpec dynamic_spec(const TrainConfig& config, size_t classes) {
  ArchConfig arch = config.arch;
  arch.classes = static_cast<int>(classes);
  return make_spec(arch);
}

/// A batch that leaves BatchNorm one value per channel has no variance.
void check_batch(const TrainConfig& config, const ModelSpec& spec, int64_t images) {
  NetworkGeometry geometry = network_geometry(spec, {config.size, config.size});
  int64_t batch = std::min<int64_t>(config.batch, images);
  if (batch * geometry.blocks.back().output.pixels() < 2) {
    fail("training configuration: a batch of {} at {} px leaves BatchNorm one value per channel; raise batch or size",
         batch, config.size);
  }
}

class Trainer {
 public:
  Trainer(const TrainConfig& config, const TrainObserver& observer);

  TrainResult run();

 private:
  std::string path(const char* name) const { return (fs::path(config_.output) / name).string(); }
  std::string static_path() const { return path("static.safetensors"); }
  std::string checkpoint_path() const { return path("checkpoint.safetensors"); }
  void message(const std::string& text) const;

  void restore();
  bool pending(const char* phase) const { return phase_index(state_.phase) <= phase_index(phase); }
  bool run_phase(const PhaseSettings& settings, MaskedNet& net, const MaskedNet* teacher);
  void save_progress(const MaskedNet& net, const Weights& momentum) const;
  void advance_to(const char* phase);

  bool make_static();
  bool make_control();
  bool make_dynamic();
  std::pair<Weights, bool> initial_static_weights() const;
  std::optional<MaskedNet> load_teacher() const;
  void save_trained(const MaskedNet& net, const std::string& file) const;
  PhaseSettings finetuning(const char* name, int epochs, bool dynamic) const;
  TrainResult result(bool completed) const;

  TrainConfig config_;
  const TrainObserver& observer_;
  int threads_;
  TorchThreads torch_threads_;
  TrainData data_;
  ModelSpec static_spec_, dynamic_spec_;
  RunState state_;
  std::optional<Checkpoint> resumed_;
};

Trainer::Trainer(const TrainConfig& config, const TrainObserver& observer)
    : config_(config),
      observer_(observer),
      threads_(thread_count(config)),
      torch_threads_(threads_),
      data_(config, threads_, [this](const std::string& text) { message(text); }),
      static_spec_(static_spec(config, data_.classes().size())),
      dynamic_spec_(dynamic_spec(config, data_.classes().size())) {
  check_batch(config_, static_spec_, data_.train_images());
  state_.phase = kPretrain;
  restore();
}

void Trainer::message(const std::string& text) const {
  if (observer_.on_message) observer_.on_message(text);
}

void Trainer::restore() {
  std::optional<Checkpoint> checkpoint = load_checkpoint(checkpoint_path());
  if (!checkpoint) {
    if (config_.resume) message(fmt::format("{}: no checkpoint, starting from the beginning", config_.output));
    return;
  }
  bool finished = checkpoint->state.phase == kDone;
  if (!config_.resume) {
    if (finished) return;
    fail("{} is the checkpoint of an unfinished run; give resume to continue it, or remove it", checkpoint_path());
  }
  nlohmann::json recipe = recipe_json(config_);
  for (const auto& [key, value] : checkpoint->recipe.items()) {
    if (recipe.at(key) != value) {
      fail("{}: the run was started with {} = {}, now {}; it can only be resumed unchanged", checkpoint_path(), key,
           value.dump(), recipe.at(key).dump());
    }
  }
  if (checkpoint->classes != data_.classes() || checkpoint->train_images != data_.train_images()) {
    fail("{}: the run was started on other data ({} classes, {} training images; now {} and {})", checkpoint_path(),
         checkpoint->classes.size(), checkpoint->train_images, data_.classes().size(), data_.train_images());
  }
  state_ = checkpoint->state;
  message(fmt::format("resuming in phase {} at epoch {}, step {}", state_.phase, state_.epoch + 1, state_.step));
  resumed_ = std::move(checkpoint);
}

TrainResult Trainer::run() {
  if (pending(kPretrain) && !make_static()) return result(false);
  if (pending(kControl) && !make_control()) return result(false);
  if (pending(kFinetune) && !make_dynamic()) return result(false);
  return result(true);
}

bool Trainer::make_static() {
  auto [weights, trained] = initial_static_weights();
  MaskedNet net(static_spec_, weights);
  PhaseSettings settings{.name = kPretrain,
                         .data_stream = kPretrain,
                         .epochs = trained ? 0 : config_.pretrain_epochs,
                         .lr = config_.pretrain_lr * config_.batch / kReferenceBatch,
                         .warmup = kPretrainWarmup,
                         .dynamic = false};
  if (!run_phase(settings, net, /*teacher=*/nullptr)) return false;
  if (settings.epochs == 0) {
    auto proceed = [this](int64_t) { return !(observer_.should_stop && observer_.should_stop()); };
    std::optional<EvaluationDetail> detail = evaluate(net, data_, proceed);
    if (!detail) return false;
    state_.results[kPretrain] = detail->figures;
  }
  save_trained(net, static_path());
  advance_to(kControl);
  return true;
}

bool Trainer::make_control() {
  if (config_.control_epochs > 0) {
    MaskedNet net(static_spec_, load_model(static_path()).weights);
    std::optional<MaskedNet> teacher = load_teacher();
    if (!run_phase(finetuning(kControl, config_.control_epochs, false), net, teacher ? &*teacher : nullptr)) {
      return false;
    }
    save_trained(net, path("control.safetensors"));
  }
  advance_to(kFinetune);
  return true;
}

bool Trainer::make_dynamic() {
  Weights weights = load_model(static_path()).weights;
  init_maskers(dynamic_spec_, config_.seed, config_.masker_bias, weights);
  MaskedNet net(dynamic_spec_, weights);
  std::optional<MaskedNet> teacher = load_teacher();
  if (!run_phase(finetuning(kFinetune, config_.epochs, true), net, teacher ? &*teacher : nullptr)) return false;
  save_trained(net, path("model.safetensors"));
  advance_to(kDone);
  save_checkpoint({.recipe = recipe_json(config_),
                   .classes = data_.classes(),
                   .train_images = data_.train_images(),
                   .state = state_,
                   .weights = {},
                   .momentum = {}},
                  checkpoint_path());
  return true;
}

PhaseSettings Trainer::finetuning(const char* name, int epochs, bool dynamic) const {
  // One data stream: the control sees the very images that the dynamic network sees.
  return {.name = name,
          .data_stream = kFinetune,
          .epochs = epochs,
          .lr = config_.lr * config_.batch / kReferenceBatch,
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
  bool finished = phase.run(state_, [&] {
    write_log();
    save_progress(net, phase.momentum());
  });
  if (!finished) save_progress(net, phase.momentum());
  return finished;
}

}  // namespace
}  // namespace lasnet
