#include "train_options.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/fail.h"
#include "network/normalisation.h"
#include "train/config.h"
#include "train/deployment.h"

namespace lasnet::cli {
namespace {

struct Help {
  std::string_view key;  ///< of visit_fields
  const char* group;
  const char* text;
};

constexpr const char* kData = "Data";
constexpr const char* kNetwork = "Network";
constexpr const char* kSchedule = "Schedule";
constexpr const char* kMasks = "Masks and losses";
constexpr const char* kRun = "Run";
constexpr const char* kProcesses = "Processes";

constexpr std::array kHelp = {
    Help{"data", kData,
         "Required. Folder with train/<class>/ and val/<class>/, or with class folders only; or tar shards "
         "(KEY.jpg and KEY.cls): a folder of them, or a pattern like 'DIR/{train,val}-{000..012}.tar'"},
    Help{"val_fraction", kData, "Share held out per class when there is no val/"},
    Help{"skip_unreadable", kData,
         "Decode every image first, and leave out those that cannot be; else the first that is needed ends "
         "the run"},
    Help{"max_pixels", kData, "Refuse images of more pixels than that, before they take memory"},
    Help{"strict_images", kData,
         "Refuse damaged JPEG files that can be decoded; else they are used with a warning"},
    Help{"fast_decode", kData,
         "Decode training JPEGs at 1/2, 1/4 or 1/8 of their size where the crops need no more"},
    Help{"cache_bytes", kData,
         "Decoded images that each process keeps in memory, e.g. 500M or 4G; auto: half of what is free"},
    Help{"workers", kData, "Threads that decode, in each process; 0: as many as --threads"},
    Help{"size", kData,
         "Crop in px, for training and evaluation. Default of this and --resize: what the model file of "
         "--init says"},
    Help{"resize", kData, "Shorter side before the evaluation crop, px; 0: size * 256 / 224"},
    Help{"mean", kData,
         "Of red, green and blue in 0 ... 1, or imagenet, raw or inception; default: what the model file of "
         "--init "
         "says, else imagenet"},
    Help{"std", kData, "The same of the standard deviation"},
    Help{"crop_min_scale", kData,
         "Least share of the area of a random crop; 0.08, and --size 224, with an --init of ImageNet's stem"},
    Help{"flip", kData, "No random horizontal flips"},
    Help{"colour_jitter", kData, "Change brightness, contrast and saturation by factors of 1 - x to 1 + x"},
    Help{"colour_jitter_hue", kData, "Turn the hue by up to this share of the colour circle, at most 0.5"},
    Help{"trivial_augment", kData,
         "Change each training image in one way of 14, of random strength (TrivialAugmentWide)"},
    Help{"random_erasing", kData, "Share of the training images in which a box becomes the mean colour"},
    Help{"mixup", kData,
         "Mix images and labels of a batch in pairs; parameter of the weights' Beta distribution"},
    Help{"cutmix", kData, "The same with a box of the other image; with --mixup each batch has one of both"},
    Help{"arch", kNetwork,
         "Architecture, e.g. resnet50 or regnet_y_400mf; lasnet info lists them. Default of this, --width, "
         "--stem "
         "and --se: what the file of --init says"},
    Help{"width", kNetwork, "Channel multiplier"},
    Help{"stem", kNetwork, "imagenet, or small for 32 to 128 px"},
    Help{"granularity", kNetwork,
         "Required. S per stage or block, e.g. 4-4-2-1; layer: all of a map or nothing; auto: what `lasnet "
         "search` chooses"},
    Help{
        "hardware", kNetwork,
        "Of --budget-ms and --granularity auto: hardware to be fast on, a name or a profile's file; default: "
        "this machine's CPU"},
    Help{"se", kNetwork, "What Squeeze-and-Excitation (RegNetY) averages: active or dense (all pixels)"},
    Help{"target", kNetwork, "MAC ratio of the whole network"},
    Help{"budget_ms", kNetwork,
         "Instead of --target: milliseconds that a run may take on --hardware, as the latency model predicts "
         "them"},
    Help{"deploy_batch", kNetwork, "Of --hardware: images of a run; 0: 1, of server GPUs 128"},
    Help{"deploy_threads", kNetwork, "Of --hardware, if it is a CPU: threads of a run"},
    Help{"deploy_precision", kNetwork, "Of --hardware: fp32; of GPUs also fp16; of CPUs also int8"},
    Help{"state_dict", kNetwork, "Of --init: which of a checkpoint's state dicts to read, e.g. model_ema"},
    Help{"init", kNetwork,
         "Weights to start from (.safetensors, .pth); else static ones are pre-trained first. A dynamic "
         "model's "
         "maskers are kept"},
    Help{"fresh_maskers", kNetwork, "Leave out the maskers of --init"},
    Help{"teacher", kNetwork, "Model to distil from; default: the static network"},
    Help{"epochs", kSchedule, "Epochs of dynamic fine-tuning"},
    Help{"pretrain_epochs", kSchedule,
         "Epochs of static pre-training, without --init or where its classes are others"},
    Help{"control_epochs", kSchedule,
         "Epochs of a static control, fine-tuned like the dynamic network; 0: none"},
    Help{"batch", kSchedule, "Images per step, of all processes together"},
    Help{"lr", kSchedule, "Learning rate of fine-tuning for a batch of 256; scaled by batch / 256"},
    Help{"pretrain_lr", kSchedule, "The same of pre-training"},
    Help{"masker_lr_multiplier", kSchedule, "The maskers' learning rate over --lr; of RegNets 1"},
    Help{"optimizer", kSchedule, "sgd, with Nesterov momentum, or adamw"},
    Help{"warmup", kSchedule, "Share of fine-tuning's steps over which the learning rate rises from 0"},
    Help{"clip_norm", kSchedule, "Scale gradients down whose norm, of all together, is greater; 0: never"},
    Help{"ema", kSchedule,
         "Decay per step of an average of the weights, which is evaluated and written instead of them; 0: "
         "none"},
    Help{"momentum", kSchedule, "Nesterov momentum; of AdamW beta1"},
    Help{"weight_decay", kSchedule, "Weight decay of fine-tuning"},
    Help{"pretrain_weight_decay", kSchedule, "Weight decay of pre-training"},
    Help{"label_smoothing", kSchedule, "Of the cross-entropy"},
    Help{"sync_bn", kSchedule,
         "With several processes: take BatchNorm's statistics of all their images, not of each one's own"},
    Help{"lambda_flops", kMasks, "Weight of the budget, of MACs or time, and of the blocks' bounds"},
    Help{"alpha_distill", kMasks, "Weight of the distillation"},
    Help{"temperature_distill", kMasks, "Softmax temperature of the distillation"},
    Help{"gumbel_start", kMasks, "Gumbel-Softmax temperature at the start ..."},
    Help{"gumbel_end", kMasks, "... and at the end"},
    Help{"masker_bias", kMasks, "Initial bias towards active patches; 0: 5 for ResNets, 10 for RegNets"},
    Help{"straight_through_dilation", kMasks, "Give the dilated mask's MACs a gradient"},
    Help{"standardise_maskers", kMasks,
         "Standardise what maskers see (BatchNorm, folded into their weights in the model file)"},
    Help{"fit_images", kMasks,
         "Fit fresh maskers on that many images before the first step, to what patches do to the logits"},
    Help{"target_ramp", kMasks, "Share of the steps over which the target falls from 1 to --target"},
    Help{"bounds_hold", kMasks, "Share of the blocks' bounds that stays: 0 frees blocks, 1 pins them"},
    Help{"norm_images", kMasks,
         "Take BatchNorm's statistics anew after each epoch, as the mean over batches of that many images"},
    Help{"noise_start", kMasks, "Scale of the Gumbel noise at the start ..."},
    Help{"noise_end", kMasks, "... and in the last fifth of the steps"},
    Help{"hold_budget", kMasks,
         "Choose a rate for each block, and move its masker's bias after each step towards it"},
    Help{"alpha_features", kMasks, "Weight of the distillation of the stages' outputs"},
    Help{"seed", kRun, "Of the initial weights, the split and the augmentation"},
    Help{"threads", kRun, "Threads of each process; 0: one per physical core, shared among processes"},
    Help{"device", kRun,
         "What computes the steps: cpu; cuda, a GPU; cuda:N; auto: a GPU if libtorch sees one"},
    Help{"precision", kRun,
         "Of the convolutions: fp32; bf16 (mixed precision); auto: the faster of both here, measured before "
         "the first step"},
    Help{"checkpoint_minutes", kRun,
         "Minutes between checkpoints within an epoch; one is written after each epoch too. 0: none"},
    Help{"checkpoint_steps", kRun, "The same in steps; whichever comes first"},
    Help{"keep_checkpoints", kRun, "How many of the last checkpoints stay, until the run is finished"},
    Help{"tensorboard", kRun, "Write event files for TensorBoard into the output folder's tensorboard/"},
    Help{"output", kRun, "Required. Folder for the models, the log and the checkpoint"},
    Help{"resume", kRun, "Go on from the checkpoint in the output folder; needs no other option but -o"},
    Help{"overwrite", kRun, "Start anew where the output folder holds a run"},
    Help{"dry_run", kRun, "Print the plan, the memory and the time of an epoch, and write nothing"},
    Help{"static_only", kRun, "End with the static network and its control, without a dynamic one"},
};

const Help& help_of(std::string_view key) {
  const auto found =
      std::find_if(kHelp.begin(), kHelp.end(), [&](const Help& help) { return help.key == key; });
  if (found == kHelp.end()) fail("train: the option {} has no help", key);
  return *found;
}

/// "--masker-lr-multiplier" of "masker_lr_multiplier".
std::string option_name(std::string_view key) {
  std::string name = "--" + std::string(key);
  std::ranges::replace(name, '_', '-');
  return name;
}

/// As the parser takes it.
std::string option_names(std::string_view key) { return (key == "output" ? "-o," : "") + option_name(key); }

/// Sets the field `key`, whose type is T, whenever it is called: options are remembered, not applied, so that
/// they win over the file whatever comes first.
template <typename T>
ConfigOverride assignment(std::string_view key, T value) {
  const auto apply = [key, value](TrainConfig& config) {
    visit_fields(config, [&](std::string_view field, auto& member) {
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(member)>, T>) {
        if (field == key) member = value;
      }
    });
  };
  return {std::string(key), apply};
}

/// Declares the option of one field; its type decides how the text is read.
class FieldDeclarer {
 public:
  FieldDeclarer(CLI::App& app, TrainOptions& options) : app_(app), options_(options) {}

  void operator()(const char* key, bool value) const {
    std::string name = option_names(key);
    if (value) name.insert(2, "no-");
    auto set = [&overrides = options_.overrides, key, value] {
      overrides.push_back(assignment(key, !value));
    };
    app_.add_flag_callback(name, set, help_of(key).text)->group(help_of(key).group);
  }

  void operator()(const char* key, StemKind value) const {
    parsed(key, to_string(value), [](const std::string& text) { return parse_stem(text); });
  }

  void operator()(const char* key, SePool value) const {
    parsed(key, to_string(value), [](const std::string& text) { return parse_se_pool(text); });
  }

  void operator()(const char* key, TrainPrecision value) const {
    parsed(key, to_string(value), [](const std::string& text) { return parse_train_precision(text); });
  }

  void operator()(const char* key, TrainOptimizer value) const {
    parsed(key, to_string(value), [](const std::string& text) { return parse_train_optimizer(text); });
  }

  void operator()(const char* key, Precision value) const {
    parsed(key, to_string(value), [](const std::string& text) { return parse_precision(text); });
  }

  void operator()(const char* key, const std::vector<int>&) const {
    parsed(key, "", [](const std::string& text) { return parse_train_granularity(text); });
  }

  void operator()(const char* key, const std::vector<float>&) const {
    if (std::string_view(key) == "std") {
      parsed(key, "", parse_std);
      return;
    }
    // The name of a mean says its deviation too, unless that is given.
    auto accept = [&overrides = options_.overrides, key](const std::string& text) {
      overrides.push_back(assignment(key, parse_mean(text)));
      if (const auto known = find_normalisation(text))
        overrides.insert(overrides.begin(), assignment("std", known->std));
    };
    describe(add_parsed(app_, option_names(key), "", accept), key, "");
  }

  template <typename T>
  void operator()(const char* key, const T& value) const {
    auto set = [&overrides = options_.overrides, key](const T& given) {
      overrides.push_back(assignment(key, given));
    };
    describe(app_.add_option_function<T>(option_names(key), set), key, fmt::format("{}", value));
  }

 private:
  template <typename Parse>
  void parsed(const char* key, const std::string& value, Parse parse) const {
    auto accept = [&overrides = options_.overrides, key, parse](const std::string& text) {
      overrides.push_back(assignment(key, parse(text)));
    };
    describe(add_parsed(app_, option_names(key), "", accept), key, value);
  }

  static void describe(CLI::Option* option, const char* key, const std::string& value) {
    option->description(help_of(key).text)->default_str(value)->group(help_of(key).group);
  }

  CLI::App& app_;
  TrainOptions& options_;
};

/// Defaults for a network and where it starts: `given` says both, as far as files and options do. The network
/// and the size of images are what the weights to start from describe; no architecture if they describe none.
TrainConfig defaults_for(const TrainConfig& given) {
  if (given.init.empty()) return default_train_config(given.arch, false);
  ArchConfig arch = given.arch;
  const std::optional<ArchConfig> described = described_architecture(given.init, given.state_dict);
  if (described) {
    arch = *described;
    arch.classes = TrainConfig().arch.classes;
  }
  TrainConfig config = default_train_config(arch, true);
  config.arch = described ? arch : TrainConfig().arch;
  if (!described) config.arch.name.clear();
  const std::optional<Preprocessing> images = described_preprocessing(given.init, given.state_dict);
  if (images && images->crop >= kMinTrainingSize) config.size = images->crop, config.resize = images->resize;
  return config;
}

/// What check_train_config and make_spec refuse is a wrong use of the program, unless it stands in the file.
void check(const TrainConfig& config, const TrainOptions& options) {
  try {
    check_train_config(config);
    if (config.arch.name.empty()) {
      fail("{} is missing: {}expected an architecture, e.g. resnet50", setting_name("arch"),
           config.init.empty() ? "" : config.init + " does not say which network it holds; ");
    }
    ArchConfig arch = config.arch;
    if (arch.granularity == kAutoGranularity) arch.granularity.clear();
    make_spec(arch);
    if (!config.resume) check_deployment(config);
  } catch (const ConfigError& error) {
    const bool given =
        std::ranges::find(options.overrides, error.key(), &ConfigOverride::key) != options.overrides.end();
    const bool from_file = !options.config.empty() && !given;
    if (from_file) fail("{}: {}", options.config, error.what());
    throw UsageError(with_option_names(error.what()));
  } catch (const Error& error) {
    throw UsageError(with_option_names(error.what()));
  }
}

}  // namespace

void add_train_options(CLI::App& app, TrainOptions& options, const std::set<std::string>& left_out) {
  if (!left_out.contains("config")) {
    app.add_option("--config", options.config,
                   "TOML file with keys named as these options, _ for - and without no-; options given here "
                   "win over it")
        ->type_name("FILE.toml");
  }
  const TrainConfig defaults;
  const FieldDeclarer declare(app, options);
  visit_fields(defaults, [&](const char* key, const auto& value) {
    if (!left_out.contains(key)) declare(key, value);
  });
  app.add_option("--nproc", options.nproc,
                 "Processes to start on this machine, which share each batch. On several machines torchrun "
                 "starts them")
      ->group(kProcesses)
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--join-timeout", options.join_timeout,
                 "Seconds to wait for the other processes at the start")
      ->group(kProcesses)
      ->check(CLI::Range(1.0, 86400.0))
      ->capture_default_str();
}

Processes processes_for(const TrainOptions& options) {
  Processes processes = processes_from_environment();
  processes.join_seconds = options.join_timeout;
  if (options.nproc > 1 && processes.size > 1 && options.nproc != processes.size)
    throw UsageError(
        fmt::format("--nproc {} within {} processes that were started together (WORLD_SIZE): give "
                    "one or the other",
                    options.nproc, processes.size));
  if (options.nproc > 1 && !trains_with_processes())
    throw UsageError(
        "--nproc: this lasnet was built without Gloo, which several processes need; install its "
        "headers (Debian: libgloo-dev) and build again");
  return processes;
}

std::string with_option_names(std::string message) {
  const TrainConfig settings;
  visit_fields(settings, [&](const char* key, const auto&) {
    const std::string setting = setting_name(key), option = option_name(key);
    for (size_t at = 0; (at = message.find(setting, at)) != std::string::npos; at += option.size())
      message.replace(at, setting.size(), option);
  });
  return message;
}

TrainConfig resolve(const TrainOptions& options) {
  const auto is_given = [&](std::string_view key) {
    return std::ranges::find(options.overrides, key, &ConfigOverride::key) != options.overrides.end();
  };
  if (is_given("target") && is_given("budget_ms"))
    throw UsageError("--target and --budget-ms: expected one of the two");
  const auto settled_over = [&](TrainConfig config) {
    if (!options.config.empty()) config = load_train_config(options.config, config);
    if (is_given("target")) config.budget_ms = 0;
    for (const ConfigOverride& given : options.overrides) given.apply(config);
    return config;
  };
  const TrainConfig given = settled_over({});
  if (given.resume && !given.output.empty()) {
    // Whatever is given has to be what the run was started with, which is compared later.
    if (const auto stored = resumed_config(given.output)) {
      const TrainConfig config = settled_over(*stored);
      check(config, options);
      return config;
    }
    if (given.data.empty())
      throw UsageError(
          fmt::format("--resume: {} holds no checkpoint; give the folder of a run (-o)", given.output));
  }
  // The teacher's type shows when it is read: better to miss it now than after the images.
  for (const auto& file : {given.init, given.teacher}) {
    if (!file.empty() && !std::filesystem::is_regular_file(file)) fail("{}: no such file", file);
  }
  const TrainConfig defaults = defaults_for(given);
  TrainConfig config = settled_over(defaults);
  // The file's resize belongs to its crop.
  if (config.size != defaults.size && config.resize == defaults.resize) config.resize = 0;
  check(config, options);
  return config;
}

}  // namespace lasnet::cli
