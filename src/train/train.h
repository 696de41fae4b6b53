// Training of maskers and weights (paper section 3.4). Present in builds with LASNET_TRAIN=ON. No libtorch
// type appears here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/image.h"
#include "lasnet/model.h"
#include "lasnet/precision.h"

namespace lasnet {

/// The value of TrainConfig::arch.granularity that is "auto" in files. search_granularity (lasnet/latency.h)
/// then chooses S per stage for TrainConfig::hardware, at TrainConfig::target or ::budget_ms.
inline const std::vector<int> kAutoGranularity = {0};

inline constexpr int kMaxCheckpoints = 100;
inline constexpr int kMinTrainingSize = 32, kMaxTrainingSize = 3584, kMaxTrainingResize = 4096;

/// In what a step computes. `bf16` is mixed precision: convolutions are in bfloat16, while maskers, losses
/// and updates stay float32. It is twice as fast on processors that multiply bfloat16. `fastest` ("auto" in
/// files) is the faster of both on this machine, measured before the first step.
enum class TrainPrecision { fp32, bf16, fastest };
/// Its name, as in files and on command lines; the parser reads it and throws Error on any other text.
std::string to_string(TrainPrecision precision);
TrainPrecision parse_train_precision(const std::string& text);

/// What updates the weights.
enum class TrainOptimizer { sgd, adamw };
/// Its name, as in files and on command lines; the parser reads it and throws Error on any other text.
std::string to_string(TrainOptimizer optimizer);
TrainOptimizer parse_train_optimizer(const std::string& text);

/// What to train, on what, and how. Defaults are the paper's where it gives any.
struct TrainConfig {
  /// Folder with train/ and val/, or classes only (then split by the seed). Or tar shards: a folder of these,
  /// or a pattern such as "DIR/{train,val}-{000..012}.tar".
  std::string data;
  double val_fraction = 0.1;  ///< share held out per class when there is no val/
  /// Decode every image first and leave out those that cannot be decoded. Without it they end the run.
  bool skip_unreadable = false;
  int max_pixels = kDefaultMaxPixels;  ///< of an image, as DecodeOptions::max_pixels
  bool strict_images = false;          ///< damaged images that can be decoded count as unreadable
  /// Decode training JPEGs at 1/2, 1/4 or 1/8 of their size where that is enough for the crops.
  bool fast_decode = false;
  /// Decoded images that a process keeps: "auto" (half of the free memory), or bytes such as "500M" or "4G".
  std::string cache_bytes = "auto";
  int workers = 0;  ///< threads that decode in each process; 0: as many as `threads`
  ArchConfig arch;  ///< classes are taken from the data
  /// Of kAutoGranularity and `budget_ms`: name or file of a profile. Empty: this machine's CPU.
  std::string hardware;
  int size = 128;                ///< training crop = evaluation crop, px
  int resize = 0;                ///< evaluation resize of the shorter side; 0: size * 256 / 224
  std::vector<float> mean, std;  ///< of RGB in [0, 1]; empty: those of `init`, else ImageNet's
  double target = 0.5;           ///< t: MAC ratio of the whole network, unless there is `budget_ms`
  /// Predicted milliseconds of a batch on `hardware`, instead of `target`. 0: MACs count.
  double budget_ms = 0;
  int deploy_batch = 0;                          ///< images of a run on `hardware`; 0: its usual ones
  int deploy_threads = 1;                        ///< of a run on `hardware`, if that is a CPU
  Precision deploy_precision = Precision::fp32;  ///< of a run on `hardware`

  std::string init;            ///< weights to start from; empty: static pre-training first
  std::string state_dict;      ///< of `init`: keys to the state dict to read, as of load_model
  bool fresh_maskers = false;  ///< leave out the maskers that `init` may have
  std::string teacher;         ///< model for distillation; empty: the static network of init/pre-training
  int epochs = 100;            ///< of dynamic fine-tuning
  int pretrain_epochs = 100;   ///< of static pre-training, when `init` is empty
  int control_epochs = 0;      ///< of a static control fine-tuned like the dynamic network; 0: none
  int batch = 64;              ///< images in a step, of all processes together
  double lr = 0.02;            ///< fine-tuning rate for a batch of 256; scaled by batch / 256
  double pretrain_lr = 0.2;    ///< same for pre-training
  double masker_lr_multiplier = 0.1;
  TrainOptimizer optimizer = TrainOptimizer::sgd;
  double warmup = 0;           ///< share of fine-tuning's steps over which the rate rises from 0
  double ema = 0;              ///< decay per step of an average of the weights, which is the result; 0: none
  double clip_norm = 0;        ///< greatest norm of all gradients together; 0: any
  double momentum = 0.9;       ///< Nesterov; of AdamW beta1
  double weight_decay = 5e-5;  ///< of fine-tuning
  double pretrain_weight_decay = 5e-4;
  double label_smoothing = 0.0;  ///< of the cross-entropy, pre-training and fine-tuning
  bool sync_bn = false;          ///< BatchNorm's statistics are those of all processes' images

  double lambda_flops = 10.0;  ///< weight of the budget, of MACs or time, and of the blocks' bounds
  double alpha_distill = 0.5;
  double temperature_distill = 4.0;
  double gumbel_start = 5.0;  ///< temperature, decayed exponentially per step
  double gumbel_end = 0.1;
  float masker_bias = 0;  ///< bias0 at the start; 0: the architecture's (fresh_masker_bias)
  bool straight_through_dilation =
      false;  ///< D by a straight-through max-pool, so that conv1's MACs have a gradient

  // What few steps need. All are off by default: the paper's 500,000 steps do without.
  bool standardise_maskers = false;  ///< BatchNorm before a masker; folded into its weights in the model file
  int fit_images = 0;  ///< images that fresh maskers are fitted on before the first step; 0: not fitted
  /// Share of the steps over which the target falls from 1 to t. Blocks are not pinned to t meanwhile. 0: the
  /// target is t from the start.
  double target_ramp = 0;
  double bounds_hold = 0;  ///< how much of the bounds' pinning to t stays to the end, in [0, 1]
  int norm_images = 0;     ///< images that BatchNorm's statistics are taken of anew after each epoch; 0: none
  double noise_start = 1;  ///< scale of the Gumbel noise at the start
  double noise_end = 1;    ///< the same in the last fifth of the steps
  /// Choose a rate for each block, and move its masker's bias towards it after each step. At the end move all
  /// biases to where the MACs without noise meet the target. Needs standardise_maskers.
  bool hold_budget = false;
  double alpha_features = 0;  ///< weight of the distillation of the four stages' outputs

  double crop_min_scale = 0.35;  ///< RandomResizedCrop area range [min, 1]
  bool flip = true;
  double colour_jitter = 0;      ///< of brightness, contrast and saturation: factors in [1 - x, 1 + x]
  double colour_jitter_hue = 0;  ///< the hue turns by up to this share of the circle, at most 0.5
  bool trivial_augment = false;  ///< one change of random kind and strength (TrivialAugmentWide)
  double random_erasing = 0;     ///< share of the images in which a box becomes the mean colour
  double mixup = 0;              ///< parameter of the Beta distribution of weights of mixed images; 0: none
  double cutmix = 0;  ///< the same of areas that are replaced by another image; with mixup: one of both
  uint64_t seed = 0;
  int threads = 0;  ///< 0: all cores
  /// What computes the steps: "cpu", "cuda" (a GPU), "cuda:N", or "auto" (a GPU if there is one).
  std::string device = "auto";
  TrainPrecision precision = TrainPrecision::fp32;

  double checkpoint_minutes = 10;  ///< between checkpoints within an epoch; 0: none by time
  int checkpoint_steps = 0;        ///< steps between checkpoints within an epoch; 0: none by steps
  int keep_checkpoints = 2;        ///< of the unfinished run, the newest among them
  bool tensorboard = false;        ///< write event files for TensorBoard into `output`/tensorboard

  std::string output;        ///< directory for model.safetensors, static.safetensors, log.csv, checkpoint
  bool resume = false;       ///< go on from the checkpoint in `output`
  bool overwrite = false;    ///< start anew where `output` holds a run; else that is an Error
  bool dry_run = false;      ///< end after the plan, before the first step: nothing is written
  bool static_only = false;  ///< end with the static network and its control, before the dynamic one
};

/// Defaults for a network. Its maskers learn at the paper's rate. A network with ImageNet's stem that starts
/// `from_weights` was probably trained on ImageNet. It also gets the paper's size of images and crops.
TrainConfig default_train_config(const ArchConfig& arch, bool from_weights);

/// The configuration of the run in `output`, from its checkpoint: what resuming it needs. nullopt if there is
/// no checkpoint. Throws Error if it and the one before it are damaged.
std::optional<TrainConfig> resumed_config(const std::string& output);

/// Reads keys of TrainConfig's names from a TOML file over `base`. Throws Error on unknown keys or wrong
/// types.
TrainConfig load_train_config(const std::string& path, TrainConfig base = {});

/// Noise-free figures on a validation set.
struct Evaluation {
  double top1 = 0, top5 = 0, loss = 0;
  double macs_ratio = 1;      ///< mean over images; 1 for a static network
  double macs_ratio_std = 0;  ///< over images
  std::vector<double> rates;  ///< mean r of each dynamic block
  int64_t images = 0;
  /// Of a run with `budget_ms`: predicted for these rates, and measured where it is for this machine.
  std::optional<double> predicted_ms, measured_ms;
};

/// What lies ahead, before the first step.
struct TrainPlan {
  struct Part {
    std::string phase;
    int epochs = 0;  ///< left
  };
  std::vector<Part> parts;
  int64_t steps_per_epoch = 0;
  int batch = 0, size = 0, threads = 0;  ///< threads of each process
  int processes = 1;
  std::string device;        ///< of the steps: "cpu", "cuda:0"
  double images_per_s = 0;   ///< of a step, measured on a few images
  double seconds = 0;        ///< that all of it takes at that rate
  double epoch_seconds = 0;  ///< that an epoch takes, evaluation included
  int64_t memory_bytes = 0;  ///< of this process after steps on whole batches, in a dry run; else 0
};

struct StepInfo {
  std::string phase;            ///< "static", "pretrain", "control", "finetune", "evaluate"
  int epoch = 0, epochs = 0;    ///< counted from 1
  int64_t step = 0, steps = 0;  ///< of the epoch: done, of all; a phase reports before its first step, too
  double loss = 0;
  double macs_ratio = 1;  ///< of the masks with noise that training samples
  double images_per_s = 0;
  double seconds_left = 0;  ///< of the whole run
};

/// The loss by its terms, as they are weighted: their sum is the loss.
struct LossParts {
  double classification = 0, distillation = 0, features = 0, budget = 0;

  double sum() const { return classification + distillation + features + budget; }
  void add(const LossParts& other, double factor) {
    classification += factor * other.classification;
    distillation += factor * other.distillation;
    features += factor * other.features;
    budget += factor * other.budget;
  }
};

/// How a process came by its images.
struct ImageFigures {
  int64_t decoded = 0;        ///< images; the others were still in memory
  double decode_seconds = 0;  ///< of processor time, all threads together
  double wait_seconds = 0;    ///< that steps waited for images

  double decoded_per_core_s() const {
    return decode_seconds > 0 ? static_cast<double>(decoded) / decode_seconds : 0;
  }
  /// Of the time that training took.
  double waiting_share(double seconds) const { return seconds > 0 ? wait_seconds / seconds : 0; }
};

struct EpochInfo {
  std::string phase;
  int epoch = 0, epochs = 0;  ///< counted from 1
  double train_loss = 0, train_top1 = 0, lr = 0, gumbel_temperature = 0, seconds = 0;
  double train_macs_ratio = 1;  ///< of the masks with noise that training sampled
  LossParts train_losses;
  double images_per_s = 0;  ///< trained on, by all processes
  ImageFigures images;      ///< of rank 0, evaluation of the epoch before included
  Evaluation validation;
  std::vector<std::string> empty_blocks, full_blocks;  ///< whose mask is that for every image
  std::vector<std::string> warnings;
};

/// One of the processes that train together: each calls train() with the same configuration.
struct Processes {
  int rank = 0, size = 1;
  int local_size = 1;        ///< on this machine, whose memory they share
  int local_rank = 0;        ///< among these
  std::string address;       ///< of rank 0's machine, where they meet
  int port = 0;              ///< there
  double join_seconds = 60;  ///< to wait for the others before the run
};

/// What torchrun's variables RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT say.
/// A process alone without them. Throws Error if one is missing or makes no sense, naming it.
Processes processes_from_environment();

/// Whether this build can train with several processes.
bool trains_with_processes();

/// Called from the training thread, and but for should_stop on rank 0 alone. All optional.
struct TrainObserver {
  std::function<void(const TrainPlan&)> on_plan;
  std::function<void(const StepInfo&)> on_step;
  std::function<void(const EpochInfo&)> on_epoch;
  std::function<bool()> should_stop;  ///< polled per step; true: save a checkpoint and return
  std::function<void(const std::string&)> on_message;
  std::function<void(const std::string&)> on_warning;
};

struct TrainResult {
  bool completed = false;  ///< false: stopped early, resume with `resume`
  std::string model_path;  ///< empty if it was not trained
  std::string static_path;
  std::string checkpoint_path;  ///< empty if there is none yet to go on from
  Evaluation dynamic_eval, static_eval, control_eval;
  double target = 0;        ///< MAC ratio that was asked for, unless it was time
  double budget_ms = 0;     ///< predicted milliseconds that were asked for; 0: MACs were
  std::string deployment;   ///< that these are of: "tx2, batches of 1, fp16"; empty without them
  bool target_met = false;  ///< by dynamic_eval
  std::string advice;       ///< what to change if it was not, or empty
};

/// Trains a network (paper section 3.4). The phases run in order: static pre-training (skipped when `init`
/// fits the data's classes), the static control if asked for, dynamic fine-tuning. All but the images is read
/// and checked before the first step.
///
/// These files are written into `output`, each atomically: static.safetensors, control.safetensors,
/// model.safetensors, log.csv (one line per epoch) and data_files.txt (the run's images). So are
/// checkpoint.safetensors and those before. TensorBoard's event files grow by each epoch. A checkpoint is
/// written after each epoch, and within one as `checkpoint_minutes` and `checkpoint_steps` say. A model has
/// the weights of the last epoch: none is chosen by its validation figures.
///
/// A run resumed on the same number of threads is bit-identical to an uninterrupted one, wherever it was
/// stopped. On glibc the process keeps freed memory while it trains.
///
/// With several processes each has a share of every batch, and rank 0 alone touches `output`. Batches, losses
/// and updates are those of one process, but for BatchNorm, whose statistics are of a process's images unless
/// sync_bn is set. All processes stop at the same step. If one is lost, the others throw Error within half a
/// minute, naming it. So they do if their settings, images or programs differ.
///
/// With `budget_ms` a run keeps the profile of the hardware that it began with.
///
/// Throws Error on bad data or configuration, and on a loss that is not finite. An unfinished run in `output`
/// is an Error without `resume`. A resumed run is one if its settings, `init`, `teacher` or images are not
/// those it began with. On a full disk it throws Error, and the old checkpoint stays.
TrainResult train(const TrainConfig& config, const TrainObserver& observer = {},
                  const Processes& processes = {});

}  // namespace lasnet
