#include "train_options.h"

#include <filesystem>

#include "core/fail.h"

namespace lasnet::cli {
namespace {

/// Declares options that are remembered rather than applied, so that they win over the file whatever comes
/// first.
class Fields {
 public:
  Fields(CLI::App& app, TrainOptions& options) : app_(app), options_(options) {}

  void group(const std::string& name) { group_ = name; }

  template <typename T>
  CLI::Option* value(const std::string& name, T TrainConfig::*member, const std::string& help) {
    auto* option = app_.add_option_function<T>(
        name,
        [this_options = &options_, member](const T& given) {
          this_options->overrides.push_back([member, given](TrainConfig& config) { config.*member = given; });
        },
        help);
    const std::string text = fmt::format("{}", TrainConfig{}.*member);
    return option->default_str(text)->group(group_);
  }

  CLI::Option* flag(const std::string& name, bool TrainConfig::*member, bool value, const std::string& help) {
    return app_
        .add_flag_callback(
            name,
            [this_options = &options_, member, value] {
              this_options->overrides.push_back(
                  [member, value](TrainConfig& config) { config.*member = value; });
            },
            help)
        ->group(group_);
  }

  template <typename Parse>
  CLI::Option* arch(const std::string& name, const std::string& help, Parse parse) {
    return add_parsed(app_, name, help,
                      [this_options = &options_, parse](const std::string& text) {
                        ArchConfig parsed;
                        parse(text, parsed);  // refuses bad text while the command line is read
                        this_options->overrides.push_back(
                            [parse, text](TrainConfig& config) { parse(text, config.arch); });
                      })
        ->group(group_);
  }

 private:
  CLI::App& app_;
  TrainOptions& options_;
  std::string group_;
};

void add_data_options(Fields& fields) {
  fields.group("Data");
  fields
      .value("--data", &TrainConfig::data,
             "Folder with train/<class>/ and val/<class>/, or with class folders only")
      ->type_name("DIR");
  fields
      .value("--val-fraction", &TrainConfig::val_fraction, "Share held out per class when there is no val/")
      ->check(CLI::Range(0.0, 1.0).description(""));
  fields.value("--size", &TrainConfig::size, "Crop in px, for training and evaluation");
  fields.value("--resize", &TrainConfig::resize,
               "Shorter side before the evaluation crop, px; 0: size * 256 / 224");
  fields.value("--crop-min-scale", &TrainConfig::crop_min_scale, "Least share of the area of a random crop");
  fields.flag("--no-flip", &TrainConfig::flip, false, "No random horizontal flips");
}

void add_network_options(Fields& fields) {
  fields.group("Network");
  fields.arch("--arch", "Architecture, e.g. resnet18", [](const std::string& text, ArchConfig& arch) {
    arch.name = text;
    make_spec({.name = text, .granularity = {}});
  });
  fields.arch("--width", "Channel multiplier", [](const std::string& text, ArchConfig& arch) {
    if (!CLI::detail::lexical_cast(text, arch.width)) throw UsageError("not a number: " + text);
    make_spec({.width = arch.width, .granularity = {}});
  });
  fields.arch("--stem", "imagenet, or small for 32 to 128 px",
              [](const std::string& text, ArchConfig& arch) { arch.stem = parse_stem(text); });
  fields.arch("--granularity", "S per stage or block, e.g. 4-4-2-1; static trains no maskers",
              [](const std::string& text, ArchConfig& arch) { arch.granularity = parse_granularity(text); });
  fields.value("--target", &TrainConfig::target, "MAC ratio of the whole network")
      ->check(CLI::Range(0.0, 1.0).description(""));
  fields
      .value("--init", &TrainConfig::init,
             "Static weights to start from, .safetensors or .pth; else they are "
             "pre-trained first")
      ->type_name("FILE");
  fields.value("--teacher", &TrainConfig::teacher, "Model to distil from; default: the static network")
      ->type_name("FILE");
}

void add_schedule_options(Fields& fields) {
  fields.group("Schedule");
  fields.value("--epochs", &TrainConfig::epochs, "Epochs of dynamic fine-tuning");
  fields.value("--pretrain-epochs", &TrainConfig::pretrain_epochs,
               "Epochs of static pre-training, without --init");
  fields.value("--control-epochs", &TrainConfig::control_epochs,
               "Epochs of a static control that is fine-tuned like the dynamic network; 0: none");
  fields.value("--batch", &TrainConfig::batch, "Images per step");
  fields.value("--lr", &TrainConfig::lr,
               "Learning rate of fine-tuning for a batch of 256; scaled by batch / 256");
  fields.value("--pretrain-lr", &TrainConfig::pretrain_lr, "The same of pre-training");
  fields.value("--masker-lr-multiplier", &TrainConfig::masker_lr_multiplier,
               "The maskers' learning rate over --lr");
  fields.value("--momentum", &TrainConfig::momentum, "Nesterov momentum");
  fields.value("--weight-decay", &TrainConfig::weight_decay, "Weight decay of fine-tuning");
  fields.value("--pretrain-weight-decay", &TrainConfig::pretrain_weight_decay, "The same of pre-training");
  fields.value("--label-smoothing", &TrainConfig::label_smoothing, "Of the cross-entropy");
}

void add_masking_options(Fields& fields) {
  fields.group("Masks and losses");
  fields.value("--lambda-flops", &TrainConfig::lambda_flops, "Weight of the MAC budget and bounds");
  fields.value("--alpha-distill", &TrainConfig::alpha_distill, "Weight of the distillation");
  fields.value("--temperature-distill", &TrainConfig::temperature_distill,
               "Softmax temperature of the distillation");
  fields.value("--gumbel-start", &TrainConfig::gumbel_start, "Gumbel-Softmax temperature at the start");
  fields.value("--gumbel-end", &TrainConfig::gumbel_end, "... and at the end");
  fields.value("--masker-bias", &TrainConfig::masker_bias, "Initial bias towards active patches");
  fields.flag("--straight-through-dilation", &TrainConfig::straight_through_dilation, true,
              "Give the dilated mask's MACs a gradient");
}

void add_run_options(Fields& fields) {
  fields.group("Run");
  fields.value("--seed", &TrainConfig::seed, "Of the initial weights, the split and the augmentation");
  fields.value("--threads", &TrainConfig::threads, "Threads; 0: one per physical core")
      ->check(CLI::Range(0, 1024).description(""));
  fields.value("-o,--output", &TrainConfig::output, "Folder for the models, the log and the checkpoint")
      ->type_name("DIR");
  fields.flag("--resume", &TrainConfig::resume, true, "Go on from the checkpoint in the output folder");
}

}  // namespace

void add_train_options(CLI::App& app, TrainOptions& options) {
  Fields fields(app, options);
  app.add_option("--config", options.config,
                 "TOML file with keys named as these options, _ for -; options given here win over it")
      ->type_name("FILE.toml");
  add_data_options(fields);
  add_network_options(fields);
  add_schedule_options(fields);
  add_masking_options(fields);
  add_run_options(fields);
}

TrainConfig resolve(const TrainOptions& options) {
  TrainConfig config;
  if (!options.config.empty()) config = load_train_config(options.config, config);
  for (const auto& apply : options.overrides) apply(config);
  if (config.data.empty()) throw UsageError("train: no data; give --data DIR");
  if (config.output.empty()) throw UsageError("train: no output folder; give -o DIR");
  // A teacher is read after the pre-training: better to miss it now than in hours.
  for (const auto& file : {config.init, config.teacher}) {
    if (!file.empty() && !std::filesystem::is_regular_file(file)) fail("{}: no such file", file);
  }
  return config;
}

}  // namespace lasnet::cli
