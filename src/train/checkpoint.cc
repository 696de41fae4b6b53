#include "train/checkpoint.h"

#include <algorithm>
#include <cfloat>
#include <climits>
#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "formats/safetensors.h"
#include "train/config.h"
#include "train/digest.h"

namespace lasnet {
namespace {

constexpr int kVersion = 5;
constexpr const char* kMetadataKey = "lasnet_checkpoint";
constexpr const char* kDigestKey = "sha256";
constexpr std::string_view kWeightPrefix = "weights.";
constexpr std::string_view kMomentumPrefix = "momentum.";

/// Wide enough for every run, and far from where arithmetic overflows.
constexpr int64_t kMaxCount = int64_t{1} << 48;
constexpr double kMaxSeconds = 1e12;
constexpr double kMaxRatio = 100;  // maskers can make a network dearer than the static one

std::optional<double> milliseconds_from(const Record& record) {
  if (record.is_null()) return std::nullopt;
  return record.number(0, 1e3 * kMaxSeconds);
}

nlohmann::json milliseconds_to_json(const std::optional<double>& ms) {
  return ms ? nlohmann::json(*ms) : nlohmann::json(nullptr);
}

Evaluation evaluation_from(const Record& record) {
  Evaluation evaluation;
  evaluation.top1 = record["top1"].number(0, 1);
  evaluation.top5 = record["top5"].number(0, 1);
  evaluation.loss = record["loss"].loss();
  evaluation.macs_ratio = record["macs_ratio"].number(0, kMaxRatio);
  evaluation.macs_ratio_std = record["macs_ratio_std"].number(0, kMaxRatio);
  for (const Record& rate : record["rates"].items()) evaluation.rates.push_back(rate.number(0, 1));
  evaluation.images = record["images"].integer(0, kMaxCount);
  evaluation.predicted_ms = milliseconds_from(record["predicted_ms"]);
  evaluation.measured_ms = milliseconds_from(record["measured_ms"]);
  return evaluation;
}

nlohmann::json to_json(const LossParts& losses) {
  return {{"classification", losses.classification},
          {"distillation", losses.distillation},
          {"features", losses.features},
          {"budget", losses.budget}};
}

LossParts losses_from(const Record& record) {
  return {.classification = record["classification"].loss(),
          .distillation = record["distillation"].loss(),
          .features = record["features"].loss(),
          .budget = record["budget"].loss()};
}

nlohmann::json to_json(const ImageFigures& figures) {
  return {{"decoded", figures.decoded},
          {"decode_seconds", figures.decode_seconds},
          {"wait_seconds", figures.wait_seconds}};
}

ImageFigures figures_from(const Record& record) {
  return {.decoded = record["decoded"].integer(0, kMaxCount),
          .decode_seconds = record["decode_seconds"].number(0, kMaxSeconds),
          .wait_seconds = record["wait_seconds"].number(0, kMaxSeconds)};
}

nlohmann::json epoch_to_json(const EpochInfo& info) {
  return {{"phase", info.phase},
          {"epoch", info.epoch},
          {"epochs", info.epochs},
          {"train_loss", info.train_loss},
          {"train_top1", info.train_top1},
          {"train_macs_ratio", info.train_macs_ratio},
          {"train_losses", to_json(info.train_losses)},
          {"images_per_s", info.images_per_s},
          {"images", to_json(info.images)},
          {"lr", info.lr},
          {"gumbel_temperature", info.gumbel_temperature},
          {"seconds", info.seconds},
          {"validation", to_json(info.validation)},
          {"empty_blocks", info.empty_blocks},
          {"full_blocks", info.full_blocks},
          {"warnings", info.warnings}};
}

std::string phase_from(const Record& record) {
  const std::string phase = record.text();
  if (std::ranges::find(kPhaseOrder, phase) == kPhaseOrder.end())
    record.wrong(fmt::format("one of {}", fmt::join(kPhaseOrder, ", ")));
  return phase;
}

EpochInfo epoch_from(const Record& record) {
  EpochInfo info;
  info.phase = phase_from(record["phase"]);
  info.epoch = static_cast<int>(record["epoch"].integer(1, INT_MAX));
  info.epochs = static_cast<int>(record["epochs"].integer(info.epoch, INT_MAX));
  info.train_loss = record["train_loss"].loss();
  info.train_top1 = record["train_top1"].number(0, 1);
  info.train_macs_ratio = record["train_macs_ratio"].number(0, kMaxRatio);
  info.train_losses = losses_from(record["train_losses"]);
  info.images_per_s = record["images_per_s"].number(0, DBL_MAX);
  info.images = figures_from(record["images"]);
  info.lr = record["lr"].number(0, DBL_MAX);
  info.gumbel_temperature = record["gumbel_temperature"].number(0, DBL_MAX);
  info.seconds = record["seconds"].number(0, kMaxSeconds);
  info.validation = evaluation_from(record["validation"]);
  info.empty_blocks = record["empty_blocks"].texts();
  info.full_blocks = record["full_blocks"].texts();
  info.warnings = record["warnings"].texts();
  return info;
}

nlohmann::json state_to_json(const RunState& state) {
  nlohmann::json json = {{"phase", state.phase},
                         {"epoch", state.epoch},
                         {"step", state.step},
                         {"loss", state.sums.loss},
                         {"macs_ratio", state.sums.macs_ratio},
                         {"images", state.sums.images},
                         {"correct", state.sums.correct},
                         {"seconds", state.sums.seconds},
                         {"losses", to_json(state.sums.losses)},
                         {"from", to_json(state.sums.from)},
                         {"history", nlohmann::json::array()},
                         {"results", nlohmann::json::object()}};
  for (const EpochInfo& info : state.history) json["history"].push_back(epoch_to_json(info));
  for (const auto& [phase, evaluation] : state.results) json["results"][phase] = to_json(evaluation);
  return json;
}

RunState state_from(const Record& record) {
  RunState state;
  state.phase = phase_from(record["phase"]);
  state.epoch = static_cast<int>(record["epoch"].integer(0, INT_MAX));
  state.step = record["step"].integer(0, kMaxCount);
  state.sums.loss = record["loss"].number(-DBL_MAX, DBL_MAX);
  state.sums.images = record["images"].integer(0, kMaxCount);
  state.sums.macs_ratio = record["macs_ratio"].number(0, kMaxRatio * static_cast<double>(state.sums.images));
  state.sums.correct = record["correct"].integer(0, state.sums.images);
  state.sums.seconds = record["seconds"].number(0, kMaxSeconds);
  state.sums.losses = losses_from(record["losses"]);
  state.sums.from = figures_from(record["from"]);
  for (const Record& info : record["history"].items()) state.history.push_back(epoch_from(info));
  for (const auto& [phase, evaluation] : record["results"].members())
    state.results[phase] = evaluation_from(evaluation);
  return state;
}

Preprocessing preprocessing_from(const Record& record) {
  Preprocessing preprocessing;
  const auto values = [](const Record& list) {
    std::vector<float> numbers;
    for (const Record& item : list.items())
      numbers.push_back(static_cast<float>(item.number(-FLT_MAX, FLT_MAX)));
    return numbers;
  };
  preprocessing.resize = static_cast<int>(record["resize"].integer(1, INT_MAX));
  preprocessing.crop = static_cast<int>(record["crop"].integer(0, INT_MAX));
  preprocessing.mean = values(record["mean"]);
  preprocessing.std = values(record["std"]);
  return preprocessing;
}

/// Of everything that the file is read for.
std::string digest(const std::string& facts, const Weights& tensors) {
  Sha256 sum;
  sum.add(facts);
  for (const auto& [name, tensor] : tensors) {
    sum.add(fmt::format("\n{} {}\n", name, to_string(tensor.shape)));
    sum.add({reinterpret_cast<const uint8_t*>(tensor.data.data()), tensor.data.size() * sizeof(float)});
  }
  return sum.hex();
}

void check_finite(const Weights& tensors, const std::string& path) {
  for (const auto& [name, tensor] : tensors) {
    if (!std::ranges::all_of(tensor.data, [](float value) { return std::isfinite(value); })) {
      fail("{}: {} has values that are not finite: the run has diverged; lower {}", path, name,
           setting_name("lr"));
    }
  }
}

const std::string& metadata_of(const Safetensors& file, const char* key, const std::string& path) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) fail("{}: not a training checkpoint: no metadata key {}", path, key);
  return found->second;
}

void check_version(const Record& facts, const std::string& path) {
  const int64_t version = facts["version"].integer(0, INT_MAX);
  if (version == kVersion) return;
  fail(
      "{}: a checkpoint of version {}, this program's have version {}; go on with the lasnet that wrote it, "
      "or start anew with {}",
      path, version, kVersion, setting_name("overwrite"));
}

}  // namespace

std::optional<Deployment> RunInputs::deployment(const TrainConfig& config) const {
  if (hardware.empty()) return std::nullopt;
  return deployment_of(config, parse_hardware(hardware, setting_name("hardware")));
}

nlohmann::json to_json(const Evaluation& evaluation) {
  return {{"top1", evaluation.top1},
          {"top5", evaluation.top5},
          {"loss", evaluation.loss},
          {"macs_ratio", evaluation.macs_ratio},
          {"macs_ratio_std", evaluation.macs_ratio_std},
          {"rates", evaluation.rates},
          {"images", evaluation.images},
          {"predicted_ms", milliseconds_to_json(evaluation.predicted_ms)},
          {"measured_ms", milliseconds_to_json(evaluation.measured_ms)}};
}

nlohmann::json to_json(const Preprocessing& preprocessing) {
  return {{"resize", preprocessing.resize},
          {"crop", preprocessing.crop},
          {"mean", preprocessing.mean},
          {"std", preprocessing.std}};
}

nlohmann::json facts_of(const Checkpoint& checkpoint) {
  return {{"version", kVersion},
          {"config", to_json(checkpoint.config)},
          {"processes", checkpoint.processes},
          {"inputs",
           {{"init", checkpoint.inputs.init},
            {"teacher", checkpoint.inputs.teacher},
            {"hardware", checkpoint.inputs.hardware}}},
          {"classes", checkpoint.classes},
          {"train_images", checkpoint.train_images},
          {"file_list", checkpoint.file_list},
          {"preprocessing", to_json(checkpoint.preprocessing)},
          {"state", state_to_json(checkpoint.state)}};
}

Checkpoint checkpoint_from(const Record& facts) {
  Checkpoint checkpoint;
  checkpoint.config = config_from(facts["config"]);
  checkpoint.processes = static_cast<int>(facts["processes"].integer(1, INT_MAX));
  const Record inputs = facts["inputs"];
  checkpoint.inputs = {.init = inputs["init"].text(),
                       .teacher = inputs["teacher"].text(),
                       .hardware = inputs["hardware"].text()};
  checkpoint.classes = facts["classes"].texts();
  checkpoint.train_images = facts["train_images"].integer(0, kMaxCount);
  checkpoint.file_list = facts["file_list"].text();
  checkpoint.preprocessing = preprocessing_from(facts["preprocessing"]);
  checkpoint.state = state_from(facts["state"]);
  return checkpoint;
}

void save_checkpoint(const Checkpoint& checkpoint, const std::string& path) {
  Safetensors file;
  for (const auto& [name, tensor] : checkpoint.weights)
    file.tensors[std::string(kWeightPrefix) + name] = tensor;
  for (const auto& [name, tensor] : checkpoint.momentum)
    file.tensors[std::string(kMomentumPrefix) + name] = tensor;
  check_finite(file.tensors, path);
  file.metadata[kMetadataKey] = to_text(facts_of(checkpoint));
  file.metadata[kDigestKey] = digest(file.metadata[kMetadataKey], file.tensors);
  write_safetensors(file, path, DType::f32);
}

std::optional<Checkpoint> load_checkpoint(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  Safetensors file = read_safetensors(path);
  const std::string& text = metadata_of(file, kMetadataKey, path);
  const std::string where = fmt::format("{}: metadata '{}'", path, kMetadataKey);
  const nlohmann::json json = parse_record(text, where);
  const Record facts(json, where);
  check_version(facts, path);
  if (digest(text, file.tensors) != metadata_of(file, kDigestKey, path))
    fail("{}: damaged: its bytes are not those that were written (SHA-256 differs)", path);
  check_finite(file.tensors, path);
  Checkpoint checkpoint = checkpoint_from(facts);
  for (auto& [name, tensor] : file.tensors) {
    bool is_weight = name.starts_with(kWeightPrefix);
    if (!is_weight && !name.starts_with(kMomentumPrefix)) fail("{}: unknown tensor {}", path, name);
    std::string key = name.substr(is_weight ? kWeightPrefix.size() : kMomentumPrefix.size());
    (is_weight ? checkpoint.weights : checkpoint.momentum)[key] = std::move(tensor);
  }
  return checkpoint;
}

void check_position(const RunState& state, const RunExtent& extent, const std::string& origin) {
  const bool between_epochs = state.epoch == extent.epochs && state.step == 0;
  if (!between_epochs && (state.epoch >= extent.epochs || state.step > extent.steps)) {
    fail(
        "{}: the position is epoch {}, step {} of {}, expected one of {} epochs of {} steps; start "
        "anew with {}",
        origin, state.epoch + 1, state.step, state.phase, extent.epochs, extent.steps,
        setting_name("overwrite"));
  }
  if (state.sums.images != state.step * extent.batch) {
    fail("{}: {} images after {} steps of {} images, expected {}", origin, state.sums.images, state.step,
         extent.batch, state.step * extent.batch);
  }
  for (const EpochInfo& info : state.history) {
    const size_t rates = info.validation.rates.size();
    if (rates != 0 && rates != extent.blocks)
      fail("{}: {} rates in epoch {} of {}, expected one for each of {} blocks", origin, rates, info.epoch,
           info.phase, extent.blocks);
  }
}

}  // namespace lasnet
