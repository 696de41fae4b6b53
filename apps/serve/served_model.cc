#include "served_model.h"

#include <algorithm>
#include <filesystem>

#include "base/escape.h"
#include "base/fail.h"
#include "base/numbers.h"
#include "classes.h"
#include "latency_options.h"
#include "log.h"
#include "session_options.h"

namespace lasnet::serve {
namespace {

bool is_name(const std::string& name) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 128 && name.front() != '.' && std::ranges::all_of(name, is_plain);
}

std::vector<OutputSpec> outputs_of(const ServedModel& model) {
  const ModelSpec& spec = model.model.spec;
  const int64_t classes = spec.arch.classes;
  std::vector<OutputSpec> outputs = {
      {"logits", OutputKind::logits, "FP32", {-1, classes}},
      {"probabilities", OutputKind::probabilities, "FP32", {-1, classes}},
      {"classes", OutputKind::classes, "BYTES", {-1, -1}},
      {"scores", OutputKind::scores, "FP32", {-1, -1}},
      {"macs_ratio", OutputKind::macs_ratio, "FP32", {-1}},
      {"rates", OutputKind::rates, "FP32", {-1, static_cast<int64_t>(spec.blocks.size())}}};
  const std::vector<size_t> dynamic = model.dynamic_blocks();
  for (const size_t block : dynamic)
    outputs.push_back({"mask." + spec.blocks[block].name, OutputKind::mask, "UINT8", {-1, -1, -1}, block});
  if (!dynamic.empty()) {
    outputs.push_back({"density", OutputKind::density, "FP32", {-1, -1, -1}});
    outputs.push_back({"heat_map", OutputKind::heat_map, "BYTES", {-1}});
  }
  return outputs;
}

/// What the session's times are predicted for. A model is served, though nothing is known of its kernels.
std::optional<HardwareProfile> hardware_of(const SessionOptions& session) {
  if (session.backend == Backend::cpu) {
    try {
      return host_hardware(session.precision);
    } catch (const Error& unknown) {
      cli::log_warning(fmt::format("budget_ms is refused: {}", unknown.what()));
      return std::nullopt;
    }
  }
  if (session.backend == Backend::cuda) return cli::open_hardware(cli::kHostGpu);
  return std::nullopt;
}

Json tensor_json(const std::string& name, const std::string& datatype, const Shape& shape) {
  return {{"name", name}, {"datatype", datatype}, {"shape", shape}};
}

Json config_tensor(const std::string& name, const std::string& datatype, const Shape& shape) {
  const std::string type = datatype == "BYTES" ? "STRING" : datatype;
  const Shape dims = shape.size() > 1 ? Shape(shape.begin() + 1, shape.end()) : Shape{1};
  Json json = {{"name", name}, {"data_type", "TYPE_" + type}, {"dims", dims}};
  if (shape.size() == 1) json["reshape"] = {{"shape", Json::array()}};
  return json;
}

}  // namespace

ModelSource parse_model_source(const std::string& text) {
  const size_t equals = text.find('=');
  ModelSource source;
  source.path = equals == std::string::npos ? text : text.substr(equals + 1);
  source.name =
      equals == std::string::npos ? std::filesystem::path(text).stem().string() : text.substr(0, equals);
  if (!is_name(source.name)) {
    fail(
        "MODEL {}: '{}' cannot be a model's name in a URL; expected letters, digits, '.', '_' and '-', as in "
        "NAME=FILE",
        text, source.name);
  }
  if (source.path.empty()) fail("MODEL {}: no file behind the name; expected NAME=FILE", text);
  return source;
}

std::vector<size_t> ServedModel::dynamic_blocks() const {
  std::vector<size_t> blocks;
  for (size_t i = 0; i < model.spec.blocks.size(); ++i) {
    if (model.spec.blocks[i].is_dynamic()) blocks.push_back(i);
  }
  return blocks;
}

std::optional<MapSize> ServedModel::image_size() const {
  if (model.preprocessing.crop == 0) return std::nullopt;
  return MapSize{model.preprocessing.crop, model.preprocessing.crop};
}

MapSize ServedModel::usual_size() const {
  return image_size().value_or(MapSize{model.preprocessing.resize, model.preprocessing.resize});
}

std::vector<float> BudgetCache::get(const Key& key, const std::function<std::vector<float>()>& compute) {
  const std::lock_guard lock(mutex_);
  const auto found = kept_.find(key);
  if (found != kept_.end()) return found->second;
  if (kept_.size() >= kMaxKept) kept_.clear();
  return kept_[key] = compute();
}

std::shared_ptr<const ServedModel> make_served_model(const std::string& name, Model model,
                                                     const SessionOptions& session) {
  cli::require_classifier(name, model.spec);
  auto served = std::make_shared<ServedModel>();
  served->executable = cli::open_session(model, {.backend = session.backend,
                                                 .isa = session.isa,
                                                 .threads = 1,
                                                 .precision = session.precision,
                                                 .schedule = session.schedule})
                           .executable();
  model.weights.clear();  // the executable has its own
  served->name = name;
  served->model = std::move(model);
  served->outputs = outputs_of(*served);
  served->hardware = hardware_of(session);
  served->budgets = std::make_shared<BudgetCache>();
  return served;
}

std::shared_ptr<const ServedModel> load_served_model(const ModelSource& source,
                                                     const SessionOptions& session) {
  Model model = load_model(source.path);
  for (const std::string& warning : model.origin.warnings) cli::log_warning(warning);
  if (!model.spec.has_head()) cli::require_classifier(source.path, model.spec);
  return make_served_model(source.name, std::move(model), session);
}

Json metadata_of(const ServedModel& model) {
  Json outputs = Json::array();
  for (const OutputSpec& output : model.outputs)
    outputs.push_back(tensor_json(output.name, output.datatype, output.shape));
  return {{"name", model.name},
          {"versions", {kModelVersion}},
          {"platform", "lasnet"},
          {"inputs", {tensor_json("input", "FP32", {-1, 3, -1, -1}), tensor_json("image", "BYTES", {-1})}},
          {"outputs", outputs}};
}

Json config_of(const ServedModel& model, int max_images) {
  Json inputs = {config_tensor("input", "FP32", {-1, 3, -1, -1}), config_tensor("image", "BYTES", {-1})};
  for (Json& input : inputs) input["optional"] = true;  // a request has one of them
  Json outputs = Json::array();
  for (const OutputSpec& output : model.outputs)
    outputs.push_back(config_tensor(output.name, output.datatype, output.shape));
  return {{"name", model.name},           {"platform", "lasnet"}, {"backend", "lasnet"},
          {"max_batch_size", max_images}, {"input", inputs},      {"output", outputs}};
}

Json description_of(const ServedModel& model) {
  const Model& data = model.model;
  Json blocks = Json::array();
  for (const BlockSpec& block : data.spec.blocks) {
    blocks.push_back({{"name", block.name},
                      {"stage", block.stage + 1},
                      {"granularity", cli::granularity_json(block.granularity)}});
  }
  Json points = Json::array();
  for (const OperatingPoint& point : data.operating_points)
    points.push_back({{"macs_ratio", point.macs_ratio}, {"top1", point.top1}});
  return {{"name", model.name},
          {"architecture", cli::describe(data.spec.arch)},
          {"dynamic", data.spec.arch.is_dynamic()},
          {"crop", data.preprocessing.crop},
          {"resize", data.preprocessing.resize},
          {"class_names", data.class_names},
          {"blocks", blocks},
          {"operating_points", points}};
}

}  // namespace lasnet::serve
