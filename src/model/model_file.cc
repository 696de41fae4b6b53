// Model files: a .safetensors container whose metadata describes the network. Plain weights are read from any
// format of weight_file.h.
#include <utility>

#include "core/fail.h"
#include "core/memory.h"
#include "lasnet/model.h"
#include "model/metadata.h"
#include "model/safetensors.h"
#include "model/weight_file.h"

namespace lasnet {
namespace {

/// The caller's architecture must be the file's, except for what is chosen when it runs.
void check_same_network(const ArchConfig& file, const ArchConfig& wanted, const std::string& path) {
  auto describe = [](const ArchConfig& arch) {
    return fmt::format("{}, width {}, {} classes, {} stem", arch.name, arch.width, arch.classes,
                       to_string(arch.stem));
  };
  ArchConfig adapted = file;
  adapted.granularity = wanted.granularity;
  adapted.se_pool = wanted.se_pool;
  if (adapted == wanted) return;
  fail(
      "{}: the file holds {}; asked for {}. Only the granularity and the pool of Squeeze-and-Excitation can "
      "be chosen",
      path, describe(file), describe(wanted));
}

/// Maskers for the dynamic blocks that have none in the file.
Weights fresh_maskers(const ModelSpec& spec, const WeightFile& file) {
  Weights fresh;
  init_maskers(spec, 0, fresh_masker_bias(spec.arch), fresh);
  for (const BlockSpec& block : spec.blocks) {
    std::string weight = block.masker_name() + ".weight";
    std::string bias = block.masker_name() + ".bias";
    if (!file.tensors().contains(weight) && !file.tensors().contains(bias)) continue;
    fresh.erase(weight);
    fresh.erase(bias);
  }
  return fresh;
}

/// The weights as float32, once as read and once as packed for a backend.
void check_memory(const ModelSpec& spec, const std::string& path) {
  int64_t floats = 0;
  for (const TensorSpec& tensor : required_tensors(spec)) floats += element_count(tensor.shape);
  require_memory(2 * floats * static_cast<int64_t>(sizeof(float)), path, "use a smaller network");
}

}  // namespace

std::string to_string(DType dtype) {
  if (dtype == DType::f16) return "fp16";
  return dtype == DType::bf16 ? "bf16" : "fp32";
}

DType parse_dtype(const std::string& text) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (text == to_string(dtype)) return dtype;
  }
  fail("data type '{}' is unknown; expected fp32, fp16 or bf16", text);
}

std::optional<ArchConfig> described_architecture(const std::string& path) {
  const auto metadata = open_weight_file(path)->metadata();
  if (!metadata) return std::nullopt;
  return parse_metadata(*metadata, path).spec.arch;
}

std::optional<Preprocessing> described_preprocessing(const std::string& path) {
  const auto metadata = open_weight_file(path)->metadata();
  if (!metadata) return std::nullopt;
  return parse_metadata(*metadata, path).preprocessing;
}

std::optional<int> stored_classes(const std::string& path) {
  const auto file = open_weight_file(path);
  const auto head = file->tensors().find(ModelSpec{}.head_name + ".weight");
  if (head == file->tensors().end() || head->second.shape.size() != 2) return std::nullopt;
  const int64_t rows = head->second.shape.front();
  if (!std::in_range<int>(rows)) return std::nullopt;
  return static_cast<int>(rows);
}

Model load_model(const std::string& path, const std::optional<ArchConfig>& arch) {
  const auto file = open_weight_file(path);
  const auto metadata = file->metadata();
  if (!metadata && !arch) {
    fail("{}: no lasnet metadata, so the network is unknown; name its architecture (--arch)", path);
  }
  Model model;
  if (metadata) model = parse_metadata(*metadata, path);
  if (metadata && arch) check_same_network(model.spec.arch, *arch, path);
  Weights fresh;
  if (arch) {
    model.spec = make_spec(*arch);
    fresh = fresh_maskers(model.spec, *file);
  }
  check_memory(model.spec, path);
  model.weights = read_weights(*file, model.spec, std::move(fresh), UnknownTensors::refuse);
  return model;
}

void save_model(const Model& model, const std::string& path, DType dtype) {
  check_metadata(model, path);
  check_weights(model.spec, model.weights, path);
  write_safetensors({model.weights, {{kMetadataKey, write_metadata(model)}}}, path, dtype);
}

}  // namespace lasnet
