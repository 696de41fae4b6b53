#include "train/checkpoint.h"

#include <filesystem>

#include "core/fail.h"
#include "model/safetensors.h"

namespace lasnet {
namespace {

constexpr int kVersion = 1;
constexpr const char* kMetadataKey = "lasnet_checkpoint";
constexpr std::string_view kWeightPrefix = "weights.";
constexpr std::string_view kMomentumPrefix = "momentum.";

Evaluation evaluation_from(const nlohmann::json& json) {
  Evaluation evaluation;
  json.at("top1").get_to(evaluation.top1);
  json.at("top5").get_to(evaluation.top5);
  json.at("loss").get_to(evaluation.loss);
  json.at("macs_ratio").get_to(evaluation.macs_ratio);
  json.at("macs_ratio_std").get_to(evaluation.macs_ratio_std);
  json.at("rates").get_to(evaluation.rates);
  json.at("images").get_to(evaluation.images);
  return evaluation;
}

nlohmann::json epoch_to_json(const EpochInfo& info) {
  return {{"phase", info.phase},
          {"epoch", info.epoch},
          {"epochs", info.epochs},
          {"train_loss", info.train_loss},
          {"train_top1", info.train_top1},
          {"lr", info.lr},
          {"gumbel_temperature", info.gumbel_temperature},
          {"seconds", info.seconds},
          {"validation", to_json(info.validation)},
          {"warnings", info.warnings}};
}

EpochInfo epoch_from(const nlohmann::json& json) {
  EpochInfo info;
  json.at("phase").get_to(info.phase);
  json.at("epoch").get_to(info.epoch);
  json.at("epochs").get_to(info.epochs);
  json.at("train_loss").get_to(info.train_loss);
  json.at("train_top1").get_to(info.train_top1);
  json.at("lr").get_to(info.lr);
  json.at("gumbel_temperature").get_to(info.gumbel_temperature);
  json.at("seconds").get_to(info.seconds);
  info.validation = evaluation_from(json.at("validation"));
  json.at("warnings").get_to(info.warnings);
  return info;
}

nlohmann::json state_to_json(const RunState& state) {
  nlohmann::json json = {{"phase", state.phase},
                         {"epoch", state.epoch},
                         {"step", state.step},
                         {"loss", state.sums.loss},
                         {"images", state.sums.images},
                         {"correct", state.sums.correct},
                         {"seconds", state.sums.seconds},
                         {"history", nlohmann::json::array()},
                         {"results", nlohmann::json::object()}};
  for (const EpochInfo& info : state.history) json["history"].push_back(epoch_to_json(info));
  for (const auto& [phase, evaluation] : state.results) json["results"][phase] = to_json(evaluation);
  return json;
}

RunState state_from(const nlohmann::json& json) {
  RunState state;
  json.at("phase").get_to(state.phase);
  json.at("epoch").get_to(state.epoch);
  json.at("step").get_to(state.step);
  json.at("loss").get_to(state.sums.loss);
  json.at("images").get_to(state.sums.images);
  json.at("correct").get_to(state.sums.correct);
  json.at("seconds").get_to(state.sums.seconds);
  for (const nlohmann::json& info : json.at("history")) state.history.push_back(epoch_from(info));
  for (const auto& [phase, evaluation] : json.at("results").items()) {
    state.results[phase] = evaluation_from(evaluation);
  }
  return state;
}

}  // namespace

nlohmann::json to_json(const Evaluation& evaluation) {
  return {{"top1", evaluation.top1},
          {"top5", evaluation.top5},
          {"loss", evaluation.loss},
          {"macs_ratio", evaluation.macs_ratio},
          {"macs_ratio_std", evaluation.macs_ratio_std},
          {"rates", evaluation.rates},
          {"images", evaluation.images}};
}

void save_checkpoint(const Checkpoint& checkpoint, const std::string& path) {
  Safetensors file;
  nlohmann::json facts = {{"version", kVersion},           {"recipe", checkpoint.recipe},
                          {"classes", checkpoint.classes}, {"train_images", checkpoint.train_images},
                          {"threads", checkpoint.threads}, {"state", state_to_json(checkpoint.state)}};
  file.metadata[kMetadataKey] = facts.dump();
  for (const auto& [name, tensor] : checkpoint.weights)
    file.tensors[std::string(kWeightPrefix) + name] = tensor;
  for (const auto& [name, tensor] : checkpoint.momentum)
    file.tensors[std::string(kMomentumPrefix) + name] = tensor;
  write_safetensors(file, path, DType::f32);
}

std::optional<Checkpoint> load_checkpoint(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  Safetensors file = read_safetensors(path);
  Checkpoint checkpoint;
  try {
    nlohmann::json facts = nlohmann::json::parse(file.metadata.at(kMetadataKey));
    if (facts.at("version") != kVersion)
      fail("{}: checkpoint version {}, expected {}", path, facts.at("version").dump(), kVersion);
    checkpoint.recipe = facts.at("recipe");
    facts.at("classes").get_to(checkpoint.classes);
    facts.at("train_images").get_to(checkpoint.train_images);
    checkpoint.threads = facts.value("threads", 0);
    checkpoint.state = state_from(facts.at("state"));
  } catch (const nlohmann::json::exception& error) {
    fail("{}: not a training checkpoint ({})", path, error.what());
  } catch (const std::out_of_range&) {
    fail("{}: not a training checkpoint: no metadata key {}", path, kMetadataKey);
  }
  for (auto& [name, tensor] : file.tensors) {
    bool is_weight = name.starts_with(kWeightPrefix);
    std::string key = name.substr(is_weight ? kWeightPrefix.size() : kMomentumPrefix.size());
    (is_weight ? checkpoint.weights : checkpoint.momentum)[key] = std::move(tensor);
  }
  return checkpoint;
}

}  // namespace lasnet
