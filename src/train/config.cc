#include "train/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cfloat>
#include <climits>
#include <cmath>
#include <type_traits>

#include "base/enum_names.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/numbers.h"
#include "base/suggest.h"
#include "formats/printable.h"
#include "network/normalisation.h"

namespace lasnet {
namespace {

constexpr auto kPrecisions = enum_names<TrainPrecision>(
    "precision",
    {{TrainPrecision::fp32, "fp32"}, {TrainPrecision::bf16, "bf16"}, {TrainPrecision::fastest, "auto"}});

constexpr auto kOptimizers =
    enum_names<TrainOptimizer>("optimizer", {{TrainOptimizer::sgd, "sgd"}, {TrainOptimizer::adamw, "adamw"}});

/// One value of a TOML file, converted with its place named in errors.
class TomlValue {
 public:
  TomlValue(const std::string& path, std::string_view key, const toml::node& node)
      : path_(path), key_(key), node_(node) {}

  void read(std::string& out) const { out = required<std::string>("a string"); }
  void read(bool& out) const { out = required<bool>("true or false"); }
  void read(double& out) const { out = required<double>("a number"); }
  void read(float& out) const { out = static_cast<float>(required<double>("a number")); }
  void read(int& out) const { out = integer<int>(); }
  void read(uint64_t& out) const { out = integer<uint64_t>(); }
  void read(StemKind& out) const { parsed(out, "a string", parse_stem); }
  void read(SePool& out) const { parsed(out, "a string", parse_se_pool); }
  void read(TrainPrecision& out) const { parsed(out, "a string", parse_train_precision); }
  void read(TrainOptimizer& out) const { parsed(out, "a string", parse_train_optimizer); }

  void read(Precision& out) const { parsed(out, "a string", parse_precision); }

  /// "4-4-2-layer" or [4, 4, 2, "layer"].
  void read(std::vector<int>& out) const {
    if (read_array(out)) return;
    parsed(out, "a string like \"4-4-2-1\" or \"auto\", or an array of integers and \"layer\"",
           parse_train_granularity);
  }

  /// "imagenet" or [0.485, 0.456, 0.406].
  void read(std::vector<float>& out) const {
    if (read_array(out)) return;
    parsed(out, "a string like \"imagenet\", or an array of three numbers",
           key_ == "std" ? parse_std : parse_mean);
  }

 private:
  /// An integer is a number, but no other type stands in for another.
  template <typename T>
  T required(const char* expected) const {
    std::optional<T> value;
    if constexpr (std::is_same_v<T, double>) {
      if (node_.is_number()) value = node_.value<T>();
    } else {
      value = node_.value_exact<T>();
    }
    if (!value) wrong_type(expected);
    return *value;
  }

  /// Whether it is an array.
  template <typename T>
  bool read_array(std::vector<T>& out) const {
    const toml::array* array = node_.as_array();
    if (array == nullptr) return false;
    out.clear();
    for (const toml::node& entry : *array) TomlValue(path_, key_, entry).read_entry(out.emplace_back());
    return true;
  }
  void read_entry(float& out) const { read(out); }
  void read_entry(int& side) const {
    if (!node_.is_string()) return read(side);
    parsed(side, "an integer, or \"layer\"", parse_patch_side);
  }

  /// A text that `parse` understands.
  template <typename T, typename Parse>
  void parsed(T& out, const char* expected, const Parse& parse) const {
    const auto text = required<std::string>(expected);
    try {
      out = parse(text);
    } catch (const Error& error) {
      fail("{}:{}: '{}': {}", path_, node_.source().begin.line, key_, error.what());
    }
  }

  template <typename T>
  T integer() const {
    if (!node_.is_integer()) wrong_type("an integer");
    int64_t value = *node_.value<int64_t>();
    if (!std::in_range<T>(value)) wrong_type("an integer that fits");
    return static_cast<T>(value);
  }

  [[noreturn]] void wrong_type(const char* expected) const {
    fail("{}:{}: '{}' must be {}", path_, node_.source().begin.line, key_, expected);
  }

  const std::string& path_;
  std::string_view key_;
  const toml::node& node_;
};

void require(bool holds, std::string_view key, const auto& value, std::string_view allowed) {
  if (holds) return;
  throw ConfigError(key, fmt::format("{} {} is not allowed; give {}", setting_name(key), value, allowed));
}

void require_given(const std::string& value, std::string_view key, std::string_view what) {
  if (value.empty()) throw ConfigError(key, fmt::format("{} is missing: give {}", setting_name(key), what));
}

/// Products of these are numbers of float still.
constexpr double kMinRate = 1e-9, kMaxRate = 1e6;

void require_rate(std::string_view key, double value) {
  require(value >= kMinRate && value <= kMaxRate, key, value,
          fmt::format("a number from {:g} to {:g}", kMinRate, kMaxRate));
}

void require_weight(std::string_view key, double value) {
  require(value >= 0 && value <= kMaxRate, key, value, fmt::format("a number from 0 to {:g}", kMaxRate));
}

/// One value of a checkpoint's configuration.
struct RecordValue {
  const Record& record;

  void read(std::string& out) const { out = record.text(); }
  void read(bool& out) const { out = record.boolean(); }
  void read(int& out) const { out = static_cast<int>(record.integer(INT_MIN, INT_MAX)); }
  void read(uint64_t& out) const { out = record.natural(); }
  void read(double& out) const { out = record.number(-DBL_MAX, DBL_MAX); }
  void read(float& out) const { out = static_cast<float>(record.number(-FLT_MAX, FLT_MAX)); }
  void read(StemKind& out) const { parsed(out, parse_stem); }
  void read(SePool& out) const { parsed(out, parse_se_pool); }
  void read(TrainPrecision& out) const { parsed(out, parse_train_precision); }
  void read(TrainOptimizer& out) const { parsed(out, parse_train_optimizer); }
  void read(Precision& out) const { parsed(out, parse_precision); }
  void read(std::vector<int>& out) const { parsed(out, parse_train_granularity); }

  void read(std::vector<float>& out) const {
    out.clear();
    for (const Record& item : record.items()) RecordValue{item}.read(out.emplace_back());
  }

 private:
  template <typename T, typename Parse>
  void parsed(T& out, const Parse& parse) const {
    const std::string text = record.text();
    try {
      out = parse(text);
    } catch (const Error& error) {
      fail("{}: {}", record.where(), error.what());
    }
  }
};

void require_colour(std::string_view key, const std::vector<float>& values, float least) {
  const auto allowed = [least](float value) { return value >= least && value <= 1; };
  require(values.empty() || (values.size() == 3 && std::ranges::all_of(values, allowed)), key,
          fmt::format("{}", fmt::join(values, ",")),
          fmt::format("three numbers from {:g} to 1, of red, green and blue", least));
}

}  // namespace

TrainConfig load_train_config(const std::string& path, TrainConfig base) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  const std::vector<uint8_t> bytes = read_file(path, kMaxBytes);
  return parse_train_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path,
                            std::move(base));
}

TrainConfig parse_train_config(std::string_view text, const std::string& path, TrainConfig base) {
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    fail("{}:{}: {}", path, error.source().begin.line, error.description());
  }
  std::vector<std::string> known;
  visit_fields(base, [&](const char* key, auto& member) {
    known.push_back(key);
    if (const toml::node* node = table.get(key)) TomlValue(path, key, *node).read(member);
  });
  const toml::node* budget = table.get("budget_ms");
  if (budget != nullptr && table.contains("target"))
    fail("{}:{}: 'budget_ms' stands beside 'target'; expected one of the two", path,
         budget->source().begin.line);
  // The name of a mean says its deviation too.
  const auto named = find_normalisation(table["mean"].value_or(""));
  if (named && !table.contains("std")) base.std = named->std;
  for (const auto& [key, node] : table) {
    if (std::ranges::find(known, key.str()) != known.end()) continue;
    std::string nearest = nearest_name(key.str(), known);
    fail("{}:{}: unknown key '{}'; {}", path, node.source().begin.line, key.str(),
         nearest.empty() ? fmt::format("known are {}", fmt::join(known, ", "))
                         : fmt::format("did you mean '{}'?", nearest));
  }
  return base;
}

TrainConfig default_train_config(const ArchConfig& arch, bool from_weights) {
  TrainConfig config;
  // The authors' schedule slows the maskers of ResNets down, and those of RegNetYs not.
  if (arch.name.starts_with("regnet")) config.masker_lr_multiplier = 1;
  if (from_weights && arch.stem == StemKind::imagenet) {
    config.size = 224;
    config.crop_min_scale = 0.08;
  }
  return config;
}

std::string to_string(TrainPrecision precision) { return kPrecisions.name(precision); }
TrainPrecision parse_train_precision(const std::string& text) { return kPrecisions.parse(text); }

std::string to_string(TrainOptimizer optimizer) { return kOptimizers.name(optimizer); }
TrainOptimizer parse_train_optimizer(const std::string& text) { return kOptimizers.parse(text); }

std::vector<int> parse_train_granularity(const std::string& text) {
  return text == "auto" ? kAutoGranularity : parse_granularity(text);
}

nlohmann::json to_json(const TrainConfig& config) {
  nlohmann::json json;
  visit_fields(config, [&](const char* key, const auto& member) {
    using Member = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::is_enum_v<Member>) {
      json[key] = to_string(member);
    } else if constexpr (std::is_same_v<Member, std::vector<int>>) {
      json[key] = member == kAutoGranularity ? "auto" : granularity_to_string(member);
    } else {
      json[key] = member;
    }
  });
  return json;
}

TrainConfig config_from(const Record& record) {
  TrainConfig config;
  visit_fields(config, [&](const char* key, auto& member) { RecordValue{record[key]}.read(member); });
  return config;
}

nlohmann::json recipe_json(const TrainConfig& config) {
  nlohmann::json json = to_json(config);
  for (const char* key :
       {"data", "output", "init", "teacher", "threads", "device", "resume", "overwrite", "hardware",
        "skip_unreadable", "max_pixels", "strict_images", "cache_bytes", "workers", "checkpoint_minutes",
        "checkpoint_steps", "keep_checkpoints", "tensorboard", "dry_run"})
    json.erase(key);
  if (config.budget_ms > 0) {
    json.erase("target");
  } else {
    for (const char* key : {"deploy_batch", "deploy_threads", "deploy_precision"}) json.erase(key);
  }
  return json;
}

bool is_for_hardware(const TrainConfig& config) {
  return config.budget_ms > 0 || config.arch.granularity == kAutoGranularity;
}

bool distils(const TrainConfig& config) { return config.alpha_distill > 0 || config.alpha_features > 0; }

std::optional<int> gpu_number(std::string_view device) {
  constexpr std::string_view kGpu = "cuda:";
  constexpr int kMaxGpu = 127;  // what libtorch can number
  if (!device.starts_with(kGpu)) return std::nullopt;
  const auto number = parse_number<int>(device.substr(kGpu.size()));
  return number && *number >= 0 && *number <= kMaxGpu ? number : std::nullopt;
}

std::optional<int64_t> parse_byte_count(const std::string& text) {
  if (text == "auto") return std::nullopt;
  constexpr std::string_view kUnits = "KMG";
  std::string_view number = text;
  int bits = 0;
  if (const size_t unit = text.empty() ? kUnits.npos : kUnits.find(text.back()); unit != kUnits.npos) {
    number.remove_suffix(1);
    bits = 10 * (static_cast<int>(unit) + 1);
  }
  const auto value = parse_number<int64_t>(number);
  if (!value || *value < 0 || *value > INT64_MAX >> bits) {
    throw ConfigError("cache_bytes",
                      fmt::format("{} {}: expected auto, or a number of bytes such as 500M or 4G",
                                  setting_name("cache_bytes"), printable(text)));
  }
  return *value << bits;
}

std::string setting_name(std::string_view key) { return fmt::format("`{}`", key); }

void check_train_config(const TrainConfig& config) {
  require_given(config.data, "data", "the image folder");
  require_given(config.output, "output", "a folder for the results");
  require(!config.resume || !config.overwrite, "overwrite", "true", "either it or " + setting_name("resume"));
  if (!config.arch.is_dynamic()) {
    throw ConfigError("granularity",
                      setting_name("granularity") +
                          " is missing or static; expected S per stage, for example 4-4-2-1, or auto");
  }
  require(config.budget_ms >= 0, "budget_ms", config.budget_ms, "a time above 0, or 0 for none");
  const TrainConfig usual;
  const auto require_hardware = [&](std::string_view key, const auto& value, const auto& usual_value) {
    require(
        value == usual_value || is_for_hardware(config), key, value,
        fmt::format("it only with {} or {} auto", setting_name("budget_ms"), setting_name("granularity")));
  };
  require_hardware("hardware", config.hardware, usual.hardware);
  require_hardware("deploy_batch", config.deploy_batch, usual.deploy_batch);
  require_hardware("deploy_threads", config.deploy_threads, usual.deploy_threads);
  require_hardware("deploy_precision", to_string(config.deploy_precision), to_string(usual.deploy_precision));
  require(config.deploy_batch >= 0 && config.deploy_batch <= 4096, "deploy_batch", config.deploy_batch,
          "0 (the hardware's usual batch) to 4096");
  require(config.deploy_threads >= 1 && config.deploy_threads <= 1024, "deploy_threads",
          config.deploy_threads, "1 to 1024");
  require(config.max_pixels >= 1, "max_pixels", config.max_pixels, "at least 1");
  require(config.size >= kMinTrainingSize && config.size <= kMaxTrainingSize, "size", config.size,
          fmt::format("{} to {} px", kMinTrainingSize, kMaxTrainingSize));
  require(config.resize == 0 || (config.resize >= config.size && config.resize <= kMaxTrainingResize),
          "resize", config.resize, fmt::format("0 or {} to {} px", setting_name("size"), kMaxTrainingResize));
  require(config.target > 0 && config.target <= 1, "target", config.target, "a MAC ratio in (0, 1]");
  require(config.val_fraction > 0 && config.val_fraction < 1, "val_fraction", config.val_fraction,
          "a share between 0 and 1");
  require(config.epochs >= 1, "epochs", config.epochs, "at least 1");
  require(config.pretrain_epochs >= 0, "pretrain_epochs", config.pretrain_epochs, "0 or more");
  require(config.control_epochs >= 0, "control_epochs", config.control_epochs, "0 or more");
  require(config.batch >= 1, "batch", config.batch, "at least 1");
  require(config.threads >= 0 && config.threads <= 1024, "threads", config.threads, "0 (all cores) to 1024");
  const bool is_device = config.device == "auto" || config.device == "cpu" || config.device == "cuda" ||
                         gpu_number(config.device);
  if (!is_device) {
    throw ConfigError("device", fmt::format("{} {}: expected auto, cpu, cuda or cuda:N",
                                            setting_name("device"), printable(config.device)));
  }
  require(config.checkpoint_minutes >= 0, "checkpoint_minutes", config.checkpoint_minutes, "0 or more");
  require(config.checkpoint_steps >= 0, "checkpoint_steps", config.checkpoint_steps, "0 or more");
  require(config.keep_checkpoints >= 1 && config.keep_checkpoints <= kMaxCheckpoints, "keep_checkpoints",
          config.keep_checkpoints, fmt::format("1 to {}", kMaxCheckpoints));
  (void)parse_byte_count(config.cache_bytes);
  require(config.workers >= 0 && config.workers <= 1024, "workers", config.workers,
          fmt::format("0 (as many as {}) to 1024", setting_name("threads")));
  require_colour("mean", config.mean, 0);
  require_colour("std", config.std, 1e-3f);
  require_rate("lr", config.lr);
  require_rate("pretrain_lr", config.pretrain_lr);
  require_rate("temperature_distill", config.temperature_distill);
  require_rate("gumbel_start", config.gumbel_start);
  require_rate("gumbel_end", config.gumbel_end);
  require(config.warmup >= 0 && config.warmup < 1, "warmup", config.warmup, "a number in [0, 1)");
  require_weight("clip_norm", config.clip_norm);
  require(config.ema >= 0 && config.ema < 1, "ema", config.ema, "a number in [0, 1)");
  require(config.colour_jitter >= 0 && config.colour_jitter <= 1, "colour_jitter", config.colour_jitter,
          "a number in [0, 1]");
  require(config.colour_jitter_hue >= 0 && config.colour_jitter_hue <= 0.5, "colour_jitter_hue",
          config.colour_jitter_hue, "a number in [0, 0.5]");
  require(config.random_erasing >= 0 && config.random_erasing <= 1, "random_erasing", config.random_erasing,
          "a number in [0, 1]");
  require_weight("mixup", config.mixup);
  require_weight("cutmix", config.cutmix);
  require(!config.dry_run || !config.resume, "dry_run", "true", "either it or " + setting_name("resume"));
  require_weight("masker_lr_multiplier", config.masker_lr_multiplier);
  require_weight("weight_decay", config.weight_decay);
  require_weight("pretrain_weight_decay", config.pretrain_weight_decay);
  require_weight("lambda_flops", config.lambda_flops);
  require_weight("alpha_distill", config.alpha_distill);
  require_weight("alpha_features", config.alpha_features);
  for (const auto& [key, share] : {std::pair("target_ramp", config.target_ramp),
                                   {"bounds_hold", config.bounds_hold},
                                   {"noise_start", config.noise_start},
                                   {"noise_end", config.noise_end}})
    require(share >= 0 && share <= 1, key, share, "a number in [0, 1]");
  require(!config.hold_budget || config.standardise_maskers, "hold_budget", "true",
          "it only with " + setting_name("standardise_maskers"));
  require(config.norm_images >= 0, "norm_images", config.norm_images, "0 or more");
  require(config.fit_images >= 0, "fit_images", config.fit_images, "0 or more");
  require(config.fit_images == 0 || config.standardise_maskers, "fit_images", config.fit_images,
          "it only with " + setting_name("standardise_maskers"));
  require(config.momentum > 0 && config.momentum < 1, "momentum", config.momentum,
          "a number between 0 and 1");
  require(config.label_smoothing >= 0 && config.label_smoothing < 1, "label_smoothing",
          config.label_smoothing, "a number in [0, 1)");
  constexpr float kMaxBias = 1e4f;
  require(std::abs(config.masker_bias) <= kMaxBias, "masker_bias", config.masker_bias,
          fmt::format("a number from {0:g} to {1:g}", -kMaxBias, kMaxBias));
  require(config.crop_min_scale > 0 && config.crop_min_scale <= 1, "crop_min_scale", config.crop_min_scale,
          "an area share in (0, 1]");
}

}  // namespace lasnet
