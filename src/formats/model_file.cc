// Model files: a .safetensors container whose metadata describes the network. Plain weights are read from any
// format of weight_file.h.
#include <utility>

#include "base/enum_names.h"
#include "base/fail.h"
#include "formats/load_warnings.h"
#include "formats/metadata.h"
#include "formats/quantization.h"
#include "formats/safetensors.h"
#include "formats/weight_file.h"
#include "formats/weights.h"
#include "lasnet/model.h"
#include "lasnet/quantize.h"

namespace lasnet {
namespace {

constexpr auto kDTypes =
    enum_names<DType>("data type", {{DType::f32, "fp32"}, {DType::f16, "fp16"}, {DType::bf16, "bf16"}});

/// The caller's architecture must be the file's, except for what is chosen when it runs.
void check_same_network(const ArchConfig& file, const ArchConfig& wanted, const std::string& path) {
  auto describe = [](const ArchConfig& arch) {
    return fmt::format("{}, width {}, {} classes, {} stem", arch.name, arch.width, arch.classes,
                       to_string(arch.stem));
  };
  ArchConfig adapted = file;
  adapted.granularity = wanted.granularity;
  adapted.se_pool = wanted.se_pool;
  adapted.dilated_stages = wanted.dilated_stages;
  if (adapted == wanted) return;
  fail(
      "{}: the file holds {}; asked for {}. Only the granularity, the pool of Squeeze-and-Excitation and the "
      "number of dilated stages can be chosen",
      path, describe(file), describe(wanted));
}

/// Of zero weights, so that the bias alone decides: every patch of every input is active.
void add_selecting_masker(const BlockSpec& block, float bias0, Weights& weights) {
  Tensor bias({2});
  bias.data = {bias0, 0.0f};
  weights[block.masker_name() + ".weight"] = Tensor({2, block.in_channels, 1, 1}, 0.0f);
  weights[block.masker_name() + ".bias"] = std::move(bias);
}

bool has_masker(const WeightFile& file, const BlockSpec& block) {
  return file.tensors().contains(block.masker_name() + ".weight") ||
         file.tensors().contains(block.masker_name() + ".bias");
}

/// Maskers for the dynamic blocks that have none in the file.
Weights fresh_maskers(const ModelSpec& spec, const WeightFile& file) {
  Weights fresh;
  for (const BlockSpec& block : spec.blocks) {
    if (!block.is_dynamic() || has_masker(file, block)) continue;
    add_selecting_masker(block, fresh_masker_bias(spec.arch), fresh);
  }
  return fresh;
}

WeightsOrigin origin_of(const WeightFile& file, const ModelSpec& spec) {
  WeightsOrigin origin{.format = file.format(),
                       .has_description = file.metadata().has_value(),
                       .state_dict = file.state_dict(),
                       .other_state_dicts = file.other_state_dicts(),
                       .prefix = file.prefix()};
  for (const BlockSpec& block : spec.blocks) {
    if (has_masker(file, block)) {
      ++origin.stored_maskers;
    } else if (block.is_dynamic()) {
      ++origin.fresh_maskers;
    }
  }
  return origin;
}

}  // namespace

std::string to_string(DType dtype) { return kDTypes.name(dtype); }
DType parse_dtype(const std::string& text) { return kDTypes.parse(text); }

std::optional<ArchConfig> described_architecture(const std::string& path, const std::string& state_dict) {
  const auto metadata = open_weight_file(path, state_dict)->metadata();
  if (!metadata) return std::nullopt;
  return parse_metadata(*metadata, path).spec.arch;
}

std::optional<Preprocessing> described_preprocessing(const std::string& path, const std::string& state_dict) {
  const auto metadata = open_weight_file(path, state_dict)->metadata();
  if (!metadata) return std::nullopt;
  return parse_metadata(*metadata, path).preprocessing;
}

std::optional<int> stored_classes(const std::string& path, const std::string& state_dict) {
  const auto file = open_weight_file(path, state_dict);
  const auto head = file->tensors().find(ModelSpec{}.head_name + ".weight");
  if (head == file->tensors().end() || head->second.shape.size() != 2) return std::nullopt;
  const int64_t rows = head->second.shape.front();
  if (!std::in_range<int>(rows)) return std::nullopt;
  return static_cast<int>(rows);
}

Model load_model(const std::string& path, const std::optional<ArchConfig>& arch,
                 const std::string& state_dict) {
  const auto file = open_weight_file(path, state_dict);
  const auto metadata = file->metadata();
  if (!metadata && !arch) {
    fail("{}: no lasnet metadata, so the network is unknown; give its architecture", path);
  }
  std::optional<Model> described;
  if (metadata) described = parse_metadata(*metadata, path);
  if (described && arch) check_same_network(described->spec.arch, *arch, path);
  Model model = described.value_or(Model{});
  if (arch) {
    if (model.spec.arch != *arch) model.operating_points.clear();
    model.spec = make_spec(*arch);
  }
  model.origin = origin_of(*file, model.spec);
  model.origin.warnings = load_warnings(path, described, model);
  Weights fresh = arch ? fresh_maskers(model.spec, *file) : Weights();
  check_weight_memory(model.spec, path);
  model.weights = model.quantization
                      ? read_quantized(*file, model.spec, std::move(fresh), *model.quantization)
                      : read_weights(*file, model.spec, std::move(fresh), UnknownTensors::refuse);
  return model;
}

void save_model(const Model& model, const std::string& path, DType dtype) {
  check_metadata(model, path);
  check_weights(model.spec, model.weights, path);
  Safetensors content;
  if (model.quantization) {
    check_quantization(model.spec, *model.quantization, path);
    if (dtype != DType::f32) {
      fail("{}: data type {}: what is not int8 in a quantized model stays fp32", path, to_string(dtype));
    }
    content = quantized_content(model);
  } else {
    content.tensors = model.weights;
  }
  content.metadata[kMetadataKey] = write_metadata(model);
  write_safetensors(content, path, dtype);
}

}  // namespace lasnet
