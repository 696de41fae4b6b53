// The training configuration's keys: one list, from which the TOML reader, the record in the model file and
// the comparison at resume are made.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "lasnet/error.h"
#include "train/record.h"
#include "train/train.h"

namespace lasnet {

/// Calls visit(key, member) for every field, `Config` being TrainConfig or const TrainConfig. `arch.classes`
/// is not a key: it comes from the data.
template <typename Config, typename Visitor>
void visit_fields(Config& config, Visitor&& visit) {
  visit("data", config.data);
  visit("val_fraction", config.val_fraction);
  visit("skip_unreadable", config.skip_unreadable);
  visit("max_pixels", config.max_pixels);
  visit("strict_images", config.strict_images);
  visit("fast_decode", config.fast_decode);
  visit("cache_bytes", config.cache_bytes);
  visit("workers", config.workers);
  visit("arch", config.arch.name);
  visit("width", config.arch.width);
  visit("stem", config.arch.stem);
  visit("granularity", config.arch.granularity);
  visit("hardware", config.hardware);
  visit("se", config.arch.se_pool);
  visit("size", config.size);
  visit("resize", config.resize);
  visit("mean", config.mean);
  visit("std", config.std);
  visit("target", config.target);
  visit("budget_ms", config.budget_ms);
  visit("deploy_batch", config.deploy_batch);
  visit("deploy_threads", config.deploy_threads);
  visit("deploy_precision", config.deploy_precision);
  visit("init", config.init);
  visit("state_dict", config.state_dict);
  visit("fresh_maskers", config.fresh_maskers);
  visit("teacher", config.teacher);
  visit("epochs", config.epochs);
  visit("pretrain_epochs", config.pretrain_epochs);
  visit("control_epochs", config.control_epochs);
  visit("batch", config.batch);
  visit("lr", config.lr);
  visit("pretrain_lr", config.pretrain_lr);
  visit("masker_lr_multiplier", config.masker_lr_multiplier);
  visit("optimizer", config.optimizer);
  visit("warmup", config.warmup);
  visit("clip_norm", config.clip_norm);
  visit("ema", config.ema);
  visit("momentum", config.momentum);
  visit("weight_decay", config.weight_decay);
  visit("pretrain_weight_decay", config.pretrain_weight_decay);
  visit("label_smoothing", config.label_smoothing);
  visit("sync_bn", config.sync_bn);
  visit("lambda_flops", config.lambda_flops);
  visit("alpha_distill", config.alpha_distill);
  visit("temperature_distill", config.temperature_distill);
  visit("gumbel_start", config.gumbel_start);
  visit("gumbel_end", config.gumbel_end);
  visit("masker_bias", config.masker_bias);
  visit("straight_through_dilation", config.straight_through_dilation);
  visit("standardise_maskers", config.standardise_maskers);
  visit("fit_images", config.fit_images);
  visit("target_ramp", config.target_ramp);
  visit("bounds_hold", config.bounds_hold);
  visit("norm_images", config.norm_images);
  visit("noise_start", config.noise_start);
  visit("noise_end", config.noise_end);
  visit("hold_budget", config.hold_budget);
  visit("alpha_features", config.alpha_features);
  visit("crop_min_scale", config.crop_min_scale);
  visit("flip", config.flip);
  visit("colour_jitter", config.colour_jitter);
  visit("colour_jitter_hue", config.colour_jitter_hue);
  visit("trivial_augment", config.trivial_augment);
  visit("random_erasing", config.random_erasing);
  visit("mixup", config.mixup);
  visit("cutmix", config.cutmix);
  visit("seed", config.seed);
  visit("threads", config.threads);
  visit("device", config.device);
  visit("precision", config.precision);
  visit("checkpoint_minutes", config.checkpoint_minutes);
  visit("checkpoint_steps", config.checkpoint_steps);
  visit("keep_checkpoints", config.keep_checkpoints);
  visit("tensorboard", config.tensorboard);
  visit("output", config.output);
  visit("resume", config.resume);
  visit("overwrite", config.overwrite);
  visit("dry_run", config.dry_run);
  visit("static_only", config.static_only);
}

/// parse_granularity, and "auto": kAutoGranularity.
std::vector<int> parse_train_granularity(const std::string& text);

/// load_train_config on text; `path` names it in errors.
TrainConfig parse_train_config(std::string_view text, const std::string& path, TrainConfig base);

/// All keys and values.
nlohmann::json to_json(const TrainConfig& config);
/// The same back. Throws Error on missing keys and wrong types.
TrainConfig config_from(const Record& record);

/// The value of cache_bytes, a number of bytes with K, M or G for 2^10, 2^20 or 2^30; nothing of "auto".
/// Throws Error on any other text.
std::optional<int64_t> parse_byte_count(const std::string& text);

/// Classes of any data at the least: for what is checked before it is read.
inline constexpr int kFewestClasses = 2;

/// N of the device "cuda:N"; nothing of other texts.
std::optional<int> gpu_number(std::string_view device);

/// Whether the configuration says where the network is to run.
bool is_for_hardware(const TrainConfig& config);

/// Whether a teacher is needed.
bool distils(const TrainConfig& config);

/// Those that decide the result: without paths of this machine, `threads`, `resume` and `overwrite`.
nlohmann::json recipe_json(const TrainConfig& config);

/// How messages name the setting of a key: "`lr`". A program that sets it by an option can put that in place.
std::string setting_name(std::string_view key);

/// A value that makes no sense, named by its setting.
class ConfigError : public Error {
 public:
  ConfigError(std::string_view key, const std::string& message) : Error(message), key_(key) {}
  const std::string& key() const { return key_; }

 private:
  std::string key_;
};

/// Throws ConfigError of the first value that makes no sense, with what is allowed.
void check_train_config(const TrainConfig& config);

}  // namespace lasnet
