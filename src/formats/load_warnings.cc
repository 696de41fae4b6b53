#include "formats/load_warnings.h"

#include <fmt/format.h>

#include "formats/pytorch/state_dict.h"

namespace lasnet {
namespace {

/// The masks of a model suit the patches that it was trained with, and its weights suit the masks.
std::string other_granularity(const std::string& path, const ArchConfig& described, const ArchConfig& arch) {
  if (!described.is_dynamic() || described.granularity == arch.granularity) return "";
  return fmt::format("granularity {}: {} is made for {}; {}", granularity_to_string(arch.granularity), path,
                     granularity_to_string(described.granularity),
                     arch.is_dynamic() ? "its maskers do not know patches of that size"
                                       : "without masks its weights are not what they were fitted to");
}

/// Thresholds are chosen for one network, and load_model keeps them for no other.
std::string dropped_points(const std::string& path, size_t described, size_t kept) {
  if (described == kept) return "";
  return fmt::format(
      "{}: its {} operating points are left out, since they are of the network as the file describes it; "
      "lasnet tune finds new ones",
      path, described);
}

/// Of a file that does not say whether it is dynamic.
std::string unused_maskers(const std::string& path, const Model& model) {
  if (model.spec.arch.is_dynamic() || model.origin.stored_maskers == 0) return "";
  return fmt::format(
      "{}: the file has maskers, which a static network leaves out; a granularity keeps them (the S that "
      "they "
      "were trained for, e.g. 4-4-2-1)",
      path);
}

std::string other_weights(const std::string& path, const WeightsOrigin& origin) {
  const std::string which = describe_choice(path, origin.state_dict, origin.other_state_dicts);
  return which.empty() ? "" : which + " (state_dict chooses)";
}

}  // namespace

std::vector<std::string> load_warnings(const std::string& path, const std::optional<Model>& described,
                                       const Model& model) {
  std::vector<std::string> warnings = {other_weights(path, model.origin)};
  if (described) {
    warnings.push_back(other_granularity(path, described->spec.arch, model.spec.arch));
    warnings.push_back(
        dropped_points(path, described->operating_points.size(), model.operating_points.size()));
  } else {
    warnings.push_back(unused_maskers(path, model));
  }
  std::erase(warnings, "");
  return warnings;
}

}  // namespace lasnet
