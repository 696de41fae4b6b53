#include "train/starting_point.h"

#include <algorithm>

#include "base/fail.h"
#include "formats/metadata.h"
#include "formats/pytorch/state_dict.h"
#include "formats/weight_file.h"
#include "train/config.h"
#include "train/record.h"

namespace lasnet {
namespace {

std::string describe(const ArchConfig& arch) {
  return fmt::format("{} (width {:g}, stem {})", arch.name, arch.width, to_string(arch.stem));
}

/// Names of the classes that a file was trained on; empty if it does not say. Throws Error if it says that it
/// holds another network.
std::vector<std::string> class_names_of(const WeightFile& file, const ArchConfig& wanted) {
  const auto metadata = file.metadata();
  if (!metadata) return {};
  const Model described = parse_metadata(*metadata, file.origin());
  const ArchConfig& arch = described.spec.arch;
  if (arch.name != wanted.name || arch.width != wanted.width || arch.stem != wanted.stem) {
    fail("{}: its network is {}, the one to train {}; give the {}, {} and {} of the file", file.origin(),
         describe(arch), describe(wanted), setting_name("arch"), setting_name("width"), setting_name("stem"));
  }
  if (arch.dilated_stages > 0) {
    fail("{}: its network has {} dilated stages; networks with them run, but are not trained", file.origin(),
         arch.dilated_stages);
  }
  return described.class_folders.empty() ? described.class_names : described.class_folders;
}

bool is_masker(const ModelSpec& spec, const std::string& tensor) {
  return std::ranges::any_of(spec.blocks, [&](const BlockSpec& block) {
    return block.is_dynamic() && tensor.starts_with(block.masker_name() + ".");
  });
}

}  // namespace

StartingPoint starting_point(const ModelSpec& spec, const std::vector<std::string>& classes,
                             const std::string& init, const std::string& state_dict, uint64_t seed) {
  StartingPoint start{.weights = random_weights(spec, seed), .trained = false, .note = {}, .warning = {}};
  if (init.empty()) return start;

  const auto file = open_weight_file(init, state_dict);
  if (const std::string which = describe_choice(init, file->state_dict(), file->other_state_dicts());
      !which.empty())
    start.warning = fmt::format("{} ({} chooses)", which, setting_name("state_dict"));
  const std::vector<std::string> names = class_names_of(*file, spec.arch);
  const auto head = file->tensors().find(spec.head_name + ".weight");
  const bool same_size = head != file->tensors().end() && !head->second.shape.empty() &&
                         head->second.shape[0] == static_cast<int64_t>(classes.size());
  start.trained = same_size && (names.empty() || same_names(names, classes));
  Weights fresh_head;
  for (const char* part : {".weight", ".bias"}) {
    const std::string name = spec.head_name + part;
    if (!start.trained) fresh_head[name] = start.weights.at(name);
  }
  start.weights = read_weights(*file, spec, std::move(fresh_head), UnknownTensors::ignore);
  if (!start.trained) {
    start.note = fmt::format(
        "{}: its classes are others than the {} of the data: a fresh head is fitted first, and then trained "
        "with the static network for as long as {} says",
        init, classes.size(), setting_name("pretrain_epochs"));
  }
  return start;
}

StoredMaskers stored_maskers(const ModelSpec& spec, const std::string& init, const std::string& state_dict) {
  StoredMaskers maskers;
  if (init.empty()) return maskers;
  const auto file = open_weight_file(init, state_dict);
  bool trained = false;
  for (const TensorSpec& tensor : required_tensors(spec)) {
    if (!is_masker(spec, tensor.name)) continue;
    const auto stored = file->tensors().find(tensor.name);
    if (stored == file->tensors().end()) return {};
    if (stored->second.shape != tensor.shape) {
      fail("{}: {}: expected shape {}, got {}; {} leaves the maskers of the file out", init, tensor.name,
           to_string(tensor.shape), to_string(stored->second.shape), setting_name("fresh_maskers"));
    }
    Tensor values = file->read(tensor.name);
    if (tensor.name.ends_with(".weight"))
      trained |= std::ranges::any_of(values.data, [](float value) { return value != 0; });
    maskers.weights[tensor.name] = std::move(values);
  }
  if (!trained) return {};
  if (const auto metadata = file->metadata())
    maskers.granularity = parse_metadata(*metadata, init).spec.arch.granularity;
  return maskers;
}

}  // namespace lasnet
