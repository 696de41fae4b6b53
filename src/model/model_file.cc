// Model files: a .safetensors container whose metadata describes the network.
#include "core/fail.h"
#include "lasnet/model.h"
#include "model/metadata.h"
#include "model/safetensors.h"

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

/// Gives every dynamic block without masker a fresh one, and drops the maskers of blocks that are static in
/// `spec`.
void fit_maskers(const ModelSpec& spec, Weights& weights) {
  Weights fresh;
  init_maskers(spec, 0, fresh_masker_bias(spec.arch), fresh);
  for (const BlockSpec& block : spec.blocks) {
    std::string weight = block.masker_name() + ".weight";
    std::string bias = block.masker_name() + ".bias";
    if (!block.is_dynamic()) {
      weights.erase(weight);
      weights.erase(bias);
    } else if (!weights.contains(weight) && !weights.contains(bias)) {
      weights[weight] = std::move(fresh.at(weight));
      weights[bias] = std::move(fresh.at(bias));
    }
  }
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
  const Safetensors content = read_safetensors(path);
  const auto metadata = content.metadata.find(kMetadataKey);
  if (metadata == content.metadata.end()) return std::nullopt;
  return parse_metadata(metadata->second, path).spec.arch;
}

Model load_model(const std::string& path, const std::optional<ArchConfig>& arch) {
  Safetensors content = read_safetensors(path);
  auto metadata = content.metadata.find(kMetadataKey);
  bool described = metadata != content.metadata.end();
  if (!described && !arch) {
    fail("{}: no lasnet metadata, so the network is unknown; name its architecture (--arch)", path);
  }
  Model model;
  if (described) model = parse_metadata(metadata->second, path);
  if (described && arch) check_same_network(model.spec.arch, *arch, path);
  if (arch) {
    model.spec = make_spec(*arch);
    fit_maskers(model.spec, content.tensors);
  }
  check_weights(model.spec, content.tensors, path);
  model.weights = std::move(content.tensors);
  return model;
}

void save_model(const Model& model, const std::string& path, DType dtype) {
  check_metadata(model, path);
  check_weights(model.spec, model.weights, path);
  write_safetensors({model.weights, {{kMetadataKey, write_metadata(model)}}}, path, dtype);
}

}  // namespace lasnet
