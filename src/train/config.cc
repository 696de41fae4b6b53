#include "train/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/fail.h"
#include "core/file.h"
#include "core/suggest.h"

namespace lasnet {
namespace {

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
  void read(StemKind& out) const { out = parse_stem(required<std::string>("a string")); }
  void read(SePool& out) const { out = parse_se_pool(required<std::string>("a string")); }

  /// "4-4-2-1" or [4, 4, 2, 1].
  void read(std::vector<int>& out) const {
    const toml::array* array = node_.as_array();
    if (array == nullptr) {
      out = parse_train_granularity(
          required<std::string>("a string like \"4-4-2-1\" or \"auto\", or an array of integers"));
      return;
    }
    out.clear();
    for (const toml::node& entry : *array) TomlValue(path_, key_, entry).read(out.emplace_back());
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
  throw ConfigError(key, fmt::format("{} {} is not allowed; give {}", option_name(key), value, allowed));
}

void require_given(const std::string& value, std::string_view key, std::string_view what) {
  if (value.empty()) throw ConfigError(key, fmt::format("{} is missing: give {}", option_name(key), what));
}

void require_rate(std::string_view key, double value) {
  require(std::isfinite(value) && value > 0, key, value, "a number > 0");
}

void require_weight(std::string_view key, double value) {
  require(std::isfinite(value) && value >= 0, key, value, "a number >= 0");
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
  for (const auto& [key, node] : table) {
    if (std::ranges::find(known, key.str()) != known.end()) continue;
    std::string nearest = nearest_name(key.str(), known);
    fail("{}:{}: unknown key '{}'; {}", path, node.source().begin.line, key.str(),
         nearest.empty() ? fmt::format("known are {}", fmt::join(known, ", "))
                         : fmt::format("did you mean '{}'?", nearest));
  }
  return base;
}

std::vector<int> parse_train_granularity(const std::string& text) {
  return text == "auto" ? kAutoGranularity : parse_granularity(text);
}

nlohmann::json to_json(const TrainConfig& config) {
  nlohmann::json json;
  visit_fields(config, [&](const char* key, const auto& member) {
    using Member = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::is_same_v<Member, StemKind> || std::is_same_v<Member, SePool>) {
      json[key] = to_string(member);
    } else if constexpr (std::is_same_v<Member, std::vector<int>>) {
      json[key] = member == kAutoGranularity ? "auto" : granularity_to_string(member);
    } else {
      json[key] = member;
    }
  });
  return json;
}

nlohmann::json recipe_json(const TrainConfig& config) {
  nlohmann::json json = to_json(config);
  for (const char* key : {"data", "output", "init", "teacher", "threads", "resume", "overwrite", "hardware",
                          "skip_unreadable", "max_pixels", "strict_images"})
    json.erase(key);
  return json;
}

std::string option_name(std::string_view key) {
  std::string name = "--" + std::string(key);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

void check_train_config(const TrainConfig& config) {
  require_given(config.data, "data", "the image folder");
  require_given(config.output, "output", "a folder for the results");
  require(!config.resume || !config.overwrite, "overwrite", "true", "either it or --resume");
  if (!config.arch.is_dynamic()) {
    throw ConfigError(
        "granularity",
        "--granularity is missing or static; expected S per stage, for example 4-4-2-1, or auto");
  }
  require(config.hardware.empty() || config.arch.granularity == kAutoGranularity, "hardware", config.hardware,
          "it only with --granularity auto");
  require(config.max_pixels >= 1, "max_pixels", config.max_pixels, "at least 1");
  require(config.size >= kLeastTrainingSize && config.size <= kMostTrainingSize, "size", config.size,
          fmt::format("{} to {} px", kLeastTrainingSize, kMostTrainingSize));
  require(config.resize == 0 || (config.resize >= config.size && config.resize <= kMostTrainingResize),
          "resize", config.resize, fmt::format("0 or --size to {} px", kMostTrainingResize));
  require(config.target > 0 && config.target <= 1, "target", config.target, "a MAC ratio in (0, 1]");
  require(config.val_fraction > 0 && config.val_fraction < 1, "val_fraction", config.val_fraction,
          "a share between 0 and 1");
  require(config.epochs >= 1, "epochs", config.epochs, "at least 1");
  require(config.pretrain_epochs >= 0, "pretrain_epochs", config.pretrain_epochs, "0 or more");
  require(config.control_epochs >= 0, "control_epochs", config.control_epochs, "0 or more");
  require(config.batch >= 1, "batch", config.batch, "at least 1");
  require(config.threads >= 0 && config.threads <= 1024, "threads", config.threads, "0 (all cores) to 1024");
  require_rate("lr", config.lr);
  require_rate("pretrain_lr", config.pretrain_lr);
  require_rate("temperature_distill", config.temperature_distill);
  require_rate("gumbel_start", config.gumbel_start);
  require_rate("gumbel_end", config.gumbel_end);
  require_weight("masker_lr_multiplier", config.masker_lr_multiplier);
  require_weight("weight_decay", config.weight_decay);
  require_weight("pretrain_weight_decay", config.pretrain_weight_decay);
  require_weight("lambda_flops", config.lambda_flops);
  require_weight("alpha_distill", config.alpha_distill);
  require(config.momentum > 0 && config.momentum < 1, "momentum", config.momentum,
          "a number between 0 and 1");
  require(config.label_smoothing >= 0 && config.label_smoothing < 1, "label_smoothing",
          config.label_smoothing, "a number in [0, 1)");
  require(std::isfinite(config.masker_bias), "masker_bias", config.masker_bias, "a finite number");
  require(config.crop_min_scale > 0 && config.crop_min_scale <= 1, "crop_min_scale", config.crop_min_scale,
          "an area share in (0, 1]");
}

}  // namespace lasnet
