#include "formats/metadata.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fail.h"
#include "base/numbers.h"
#include "formats/printable.h"
#include "lasnet/quantize.h"

namespace lasnet {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kMaskerKind = "mean-pool-conv1x1";
constexpr int kMaskerLogits = 2;
constexpr int kLargestByte = 255;
constexpr size_t kMaxDepth = 64;
// Room for a name of each of the most classes that a network can have, and for a long log of its training.
constexpr size_t kMaxText = 64 << 20;
constexpr size_t kMaxKeys = 100'000;
constexpr size_t kMaxValues = (1 << 20) + kMaxKeys;

/// A JSON value that knows where it stands in the document, so that errors can say so.
class Field {
 public:
  Field(const json& value, std::string where) : value_(value), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const json& value() const { return value_; }

  bool has(const std::string& name) const { return value_.contains(name); }

  /// The members of an object with exactly the keys `names`, and possibly those of `optional`.
  void expect_keys(const std::set<std::string>& names, const std::set<std::string>& optional = {}) const {
    if (!value_.is_object()) wrong("an object");
    for (const std::string& name : names) {
      if (!value_.contains(name)) fail("{}: the key '{}' is missing", where_, name);
    }
    for (const auto& [name, ignored] : value_.items()) {
      if (names.contains(name) || optional.contains(name)) continue;
      fail("{}: unknown key '{}', expected only {}", where_, name, fmt::join(names, ", "));
    }
  }

  Field operator[](const std::string& name) const { return {value_.at(name), where_ + "." + name}; }

  int integer(int low, int high) const {
    if (!value_.is_number_integer()) wrong("an integer");
    bool fits = value_.is_number_unsigned() ? value_.get<uint64_t>() <= static_cast<uint64_t>(high)
                                            : value_.get<int64_t>() <= high;
    if (!fits || value_.get<int64_t>() < low) wrong(fmt::format("an integer from {} to {}", low, high));
    return value_.get<int>();
  }

  double number() const {
    if (!value_.is_number()) wrong("a number");
    return value_.get<double>();
  }

  std::string text() const {
    if (!value_.is_string()) wrong("a string");
    return value_.get<std::string>();
  }

  std::vector<std::string> texts() const {
    std::vector<std::string> result;
    each([&](const Field& item) { result.push_back(item.text()); });
    return result;
  }

  template <typename Number>
  std::vector<Number> numbers() const {
    std::vector<Number> result;
    each([&](const Field& item) { result.push_back(static_cast<Number>(item.number())); });
    return result;
  }

  std::map<std::string, double> named_numbers() const {
    if (!value_.is_object()) wrong("an object");
    std::map<std::string, double> result;
    for (const auto& [name, ignored] : value_.items()) result[name] = (*this)[name].number();
    return result;
  }

  /// Calls `visit` with each value of an array.
  template <typename Visit>
  void each(Visit visit) const {
    if (!value_.is_array()) wrong("an array");
    for (size_t i = 0; i < value_.size(); ++i) visit(Field(value_[i], fmt::format("{}[{}]", where_, i)));
  }

  [[noreturn]] void wrong(const std::string& expected) const {
    std::string got = value_.dump(-1, ' ', false, json::error_handler_t::replace);
    if (got.size() > 60) got = got.substr(0, 57) + "...";
    fail("{}: expected {}, got {}", where_, expected, got);
  }

 private:
  const json& value_;
  std::string where_;
};

/// Refuses what would exhaust memory or stack, and keys given twice, of which JSON keeps one silently.
class JsonGuard {
 public:
  explicit JsonGuard(const std::string& where) : where_(where) {}

  bool operator()(int, json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      keys_.emplace_back();
      if (keys_.size() > kMaxDepth) fail("{}: nested deeper than {} levels", where_, kMaxDepth);
    } else if (event == json::parse_event_t::object_end || event == json::parse_event_t::array_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key) {
      auto name = value.get<std::string>();
      if (++key_count_ > kMaxKeys) fail("{}: more than {} keys", where_, kMaxKeys);
      if (!keys_.back().insert(name).second) fail("{}: the key '{}' appears twice", where_, printable(name));
    }
    // Values are counted as they end; an object or array counts as one.
    const bool is_value = event == json::parse_event_t::value || event == json::parse_event_t::object_end ||
                          event == json::parse_event_t::array_end;
    if (is_value && ++value_count_ > kMaxValues) fail("{}: more than {} values", where_, kMaxValues);
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;
  size_t key_count_ = 0, value_count_ = 0;
};

json parse_json(const std::string& text, const std::string& where) {
  if (text.size() > kMaxText) fail("{}: {} bytes, expected at most {}", where, text.size(), kMaxText);
  JsonGuard guard(where);
  try {
    return json::parse(text, std::ref(guard));
  } catch (const json::parse_error& error) {
    fail("{}: not valid JSON at byte {}", where, error.byte);
  } catch (const json::exception&) {
    fail("{}: not valid JSON: a number is beyond the range of a double", where);
  }
}

/// Runs a parser of the library and lets its Error say where the text stood.
template <typename Parse>
auto at(const Field& field, Parse parse) -> decltype(parse()) {
  try {
    return parse();
  } catch (const Error& error) {
    fail("{}: {}", field.where(), error.what());
  }
}

std::vector<double> shortest(const std::vector<float>& values) {
  std::vector<double> result;
  for (const float value : values) result.push_back(shortest_decimal(value));
  return result;
}

/// Of an object with a key `version`.
void check_version(const Field& object, int known) {
  const int version = object["version"].integer(1, std::numeric_limits<int>::max());
  if (version == known) return;
  fail("{}: version {}, this program reads version {}; use a newer one", object.where(), version, known);
}

bool has_squeeze_excite(const ModelSpec& spec) {
  return std::ranges::any_of(spec.blocks,
                             [](const BlockSpec& block) { return block.squeeze_excite.has_value(); });
}

ModelSpec read_architecture(const Field& field) {
  field.expect_keys({"name", "width", "classes", "stem", "granularity"}, {"se_pool", "dilated_stages"});
  ArchConfig arch;
  arch.name = field["name"].text();
  arch.width = field["width"].number();
  arch.classes = field["classes"].integer(0, std::numeric_limits<int>::max());
  Field stem = field["stem"];
  arch.stem = at(stem, [text = stem.text()] { return parse_stem(text); });
  Field granularity = field["granularity"];
  arch.granularity = at(granularity, [text = granularity.text()] { return parse_granularity(text); });
  if (field.has("se_pool")) {
    Field pool = field["se_pool"];
    arch.se_pool = at(pool, [text = pool.text()] { return parse_se_pool(text); });
  }
  if (field.has("dilated_stages"))
    arch.dilated_stages = field["dilated_stages"].integer(0, std::numeric_limits<int>::max());
  return at(field, [&] { return make_spec(arch); });
}

Preprocessing read_preprocessing(const Field& field) {
  field.expect_keys({"resize", "crop", "mean", "std"});
  Preprocessing result;
  result.resize = field["resize"].integer(1, kMaxPreparedSide);
  result.crop = field["crop"].integer(0, kMaxPreparedSide);
  result.mean = field["mean"].numbers<float>();
  result.std = field["std"].numbers<float>();
  return result;
}

std::vector<OperatingPoint> read_operating_points(const Field& field) {
  field.expect_keys({"version", "points"});
  check_version(field, kOperatingPointsVersion);
  std::vector<OperatingPoint> points;
  field["points"].each([&](const Field& point) {
    point.expect_keys({"macs_ratio", "top1", "thresholds", "rates", "predicted_ms"});
    points.push_back({.macs_ratio = point["macs_ratio"].number(),
                      .top1 = point["top1"].number(),
                      .thresholds = point["thresholds"].numbers<float>(),
                      .rates = point["rates"].numbers<double>(),
                      .predicted_ms = point["predicted_ms"].named_numbers()});
  });
  return points;
}

ordered_json write_operating_points(const std::vector<OperatingPoint>& points) {
  ordered_json list = ordered_json::array();
  for (const OperatingPoint& point : points) {
    list.push_back({{"macs_ratio", point.macs_ratio},
                    {"top1", point.top1},
                    {"thresholds", shortest(point.thresholds)},
                    {"rates", point.rates},
                    {"predicted_ms", point.predicted_ms}});
  }
  return {{"version", kOperatingPointsVersion}, {"points", list}};
}

Quantization read_quantization(const Field& field) {
  field.expect_keys({"version", "method", "images", "maps"});
  check_version(field, kQuantizationVersion);
  const Field method = field["method"], maps = field["maps"];
  Quantization quantization;
  quantization.method = method.text();
  at(method, [&] { return parse_quantization_method(quantization.method); });
  quantization.images = field["images"].integer(1, std::numeric_limits<int>::max());
  if (!maps.value().is_object()) maps.wrong("an object");
  for (const auto& [name, ignored] : maps.value().items()) {
    const Field map = maps[name];
    map.expect_keys({"scale", "zero", "clipped"});
    quantization.maps[name] = {.scale = static_cast<float>(map["scale"].number()),
                               .zero = map["zero"].integer(0, kLargestByte),
                               .clipped = map["clipped"].number()};
  }
  return quantization;
}

ordered_json write_quantization(const Quantization& quantization) {
  ordered_json maps = ordered_json::object();
  for (const auto& [name, map] : quantization.maps) {
    maps[name] = {{"scale", shortest_decimal(map.scale)}, {"zero", map.zero}, {"clipped", map.clipped}};
  }
  return {{"version", kQuantizationVersion},
          {"method", quantization.method},
          {"images", quantization.images},
          {"maps", maps}};
}

/// Of one point of a network: every value in its range, and one of each block.
void check_operating_point(const OperatingPoint& point, size_t blocks, const std::string& origin) {
  constexpr double kMaxRatio = 2;  // maskers add to the static network's MACs, by far less than that
  const auto is_share = [](double value) { return value >= 0 && value <= 1; };
  if (!(point.macs_ratio > 0 && point.macs_ratio <= kMaxRatio) || !is_share(point.top1)) {
    fail("{}: MAC ratio {:g} and top-1 {:g}; expected a ratio above 0 and at most {}, and a share", origin,
         point.macs_ratio, point.top1, kMaxRatio);
  }
  if (point.thresholds.size() != blocks || point.rates.size() != blocks) {
    fail("{}: {} thresholds and {} rates for {} blocks", origin, point.thresholds.size(), point.rates.size(),
         blocks);
  }
  if (!std::ranges::all_of(point.thresholds, [](float value) { return std::isfinite(value); }))
    fail("{}: a threshold is not a finite number", origin);
  if (!std::ranges::all_of(point.rates, is_share)) fail("{}: a rate is not from 0 to 1", origin);
  for (const auto& [profile, ms] : point.predicted_ms) {
    if (!(std::isfinite(ms) && ms > 0))
      fail("{}: {:g} ms predicted for '{}'; expected a time above 0", origin, ms, printable(profile));
  }
}

void check_operating_points(const Model& model, const std::string& origin) {
  const std::vector<OperatingPoint>& points = model.operating_points;
  if (!points.empty() && !model.spec.arch.is_dynamic())
    fail("{}: operating points of a static network, which has no thresholds", origin);
  if (points.size() > kMaxOperatingPoints)
    fail("{}: {} operating points; expected at most {}", origin, points.size(), kMaxOperatingPoints);
  for (size_t i = 0; i < points.size(); ++i) {
    const std::string where = fmt::format("{}: operating point {}", origin, i);
    check_operating_point(points[i], model.spec.blocks.size(), where);
    if (i == 0) continue;
    const OperatingPoint& before = points[i - 1];
    const bool rises = points[i].macs_ratio > before.macs_ratio && points[i].top1 > before.top1 &&
                       std::ranges::equal(points[i].thresholds, before.thresholds, std::less_equal<>());
    if (!rises) fail("{}: expected a higher MAC ratio and top-1 than before, and no higher threshold", where);
  }
}

void check_masker(const Field& field) {
  field.expect_keys({"kind", "logits"});
  if (field["kind"].text() != kMaskerKind) field["kind"].wrong(fmt::format("\"{}\"", kMaskerKind));
  field["logits"].integer(kMaskerLogits, kMaskerLogits);
}

void check_preprocessing(const Preprocessing& preprocessing, const std::string& origin) {
  const auto& [resize, crop, mean, std] = preprocessing;
  if (resize < 1 || resize > kMaxPreparedSide || crop < 0 || crop > resize) {
    fail("{}: preprocessing: resize {} and crop {}, expected 1 <= resize <= {} and 0 <= crop <= resize",
         origin, resize, crop, kMaxPreparedSide);
  }
  bool usable =
      mean.size() == 3 && std.size() == 3 &&
      std::all_of(mean.begin(), mean.end(), [](float value) { return std::isfinite(value); }) &&
      std::all_of(std.begin(), std.end(), [](float value) { return std::isfinite(value) && value > 0; });
  if (!usable) {
    fail(
        "{}: preprocessing: expected 3 finite means and 3 positive standard deviations, got mean {} and std "
        "{}",
        origin, mean, std);
  }
}

}  // namespace

std::string write_metadata(const Model& model) {
  const ArchConfig& arch = model.spec.arch;
  const Preprocessing& preprocessing = model.preprocessing;
  json training = parse_json(model.training_json, "training facts");
  if (!training.is_object()) Field(training, "training facts").wrong("an object");
  ordered_json root = {{"version", kMetadataVersion}};
  root["architecture"] = {{"name", arch.name},
                          {"width", arch.width},
                          {"classes", arch.classes},
                          {"stem", to_string(arch.stem)},
                          {"granularity", granularity_to_string(arch.granularity)}};
  if (has_squeeze_excite(model.spec)) root["architecture"]["se_pool"] = to_string(arch.se_pool);
  if (arch.dilated_stages > 0) root["architecture"]["dilated_stages"] = arch.dilated_stages;
  root["class_names"] = model.class_names;
  if (!model.class_folders.empty()) root["class_folders"] = model.class_folders;
  root["preprocessing"] = {{"resize", preprocessing.resize},
                           {"crop", preprocessing.crop},
                           {"mean", shortest(preprocessing.mean)},
                           {"std", shortest(preprocessing.std)}};
  root["masker"] = {{"kind", kMaskerKind}, {"logits", kMaskerLogits}};
  root["training"] = training;
  if (!model.operating_points.empty())
    root["operating_points"] = write_operating_points(model.operating_points);
  if (model.quantization) root["quantization"] = write_quantization(*model.quantization);
  // Class names come from folder names, which need not be UTF-8.
  return root.dump(-1, ' ', false, json::error_handler_t::replace);
}

Model parse_metadata(const std::string& text, const std::string& origin) {
  std::string where = fmt::format("{}: metadata '{}'", origin, kMetadataKey);
  json document = parse_json(text, where);
  Field root(document, where);
  if (!document.is_object()) root.wrong("an object");
  if (!document.contains("version")) fail("{}: the key 'version' is missing", where);
  check_version(root, kMetadataVersion);
  root.expect_keys({"version", "architecture", "class_names", "preprocessing", "masker", "training"},
                   {"class_folders", "operating_points", "quantization"});
  Model model;
  model.spec = read_architecture(root["architecture"]);
  model.class_names = root["class_names"].texts();
  if (root.has("class_folders")) model.class_folders = root["class_folders"].texts();
  model.preprocessing = read_preprocessing(root["preprocessing"]);
  check_masker(root["masker"]);
  if (!document["training"].is_object()) root["training"].wrong("an object");
  model.training_json = document["training"].dump(-1, ' ', false, json::error_handler_t::replace);
  if (root.has("operating_points")) model.operating_points = read_operating_points(root["operating_points"]);
  if (root.has("quantization")) model.quantization = read_quantization(root["quantization"]);
  check_metadata(model, where);
  return model;
}

void check_metadata(const Model& model, const std::string& origin) {
  size_t names = model.class_names.size();
  if (names != 0 && names != static_cast<size_t>(model.spec.arch.classes)) {
    fail("{}: {} class names for {} classes", origin, names, model.spec.arch.classes);
  }
  if (!model.class_folders.empty() && model.class_folders.size() != names)
    fail("{}: {} class folders for {} class names", origin, model.class_folders.size(), names);
  check_preprocessing(model.preprocessing, origin);
  check_operating_points(model, origin);
}

}  // namespace lasnet
