#include "train/starting_point.h"

#include "core/fail.h"
#include "model/safetensors.h"

namespace lasnet {
namespace {

/// Names of the classes that a file was trained on; empty if it does not say.
std::vector<std::string> class_names_of(const std::string& path, const Safetensors& file) {
  return file.metadata.contains("lasnet") ? load_model(path).class_names : std::vector<std::string>{};
}

}  // namespace

StartingPoint starting_point(const ModelSpec& spec, const std::vector<std::string>& classes,
                             const std::string& init, uint64_t seed) {
  StartingPoint start{.weights = random_weights(spec, seed), .trained = false, .note = {}};
  if (init.empty()) return start;

  Safetensors file = read_safetensors(init);
  std::vector<std::string> names = class_names_of(init, file);
  auto head = file.tensors.find(spec.head_name + ".weight");
  bool same_size = head != file.tensors.end() && !head->second.shape.empty() &&
                   head->second.shape[0] == static_cast<int64_t>(classes.size());
  start.trained = same_size && (names.empty() || names == classes);
  Weights given;
  for (const TensorSpec& item : required_tensors(spec)) {
    bool of_head = item.name.starts_with(spec.head_name + ".");
    auto found = file.tensors.find(item.name);
    if (of_head && !start.trained) {
      given[item.name] = start.weights.at(item.name);
    } else if (found != file.tensors.end()) {
      given[item.name] = std::move(found->second);
    }
  }
  check_weights(spec, given, init);
  start.weights = std::move(given);
  if (!start.trained) {
    start.note = fmt::format(
        "{}: its classes are others than the {} of the data: a fresh head is trained with the "
        "static network first",
        init, classes.size());
  }
  return start;
}

}  // namespace lasnet
