#include "arguments.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <filesystem>

#include "lasnet/error.h"

namespace lasnet::python {
namespace {

template <typename T>
std::optional<T> entry(const nb::dict& given, const char* name) {
  if (!given.contains(name)) return std::nullopt;
  const nb::object value = given[name];
  if (value.is_none()) return std::nullopt;
  return nb::cast<T>(value);
}

const std::string* network_path(const Network& network) { return std::get_if<std::string>(&network); }

const Model& network_model(const Network& network) {
  return std::get<std::shared_ptr<ModelHandle>>(network)->model();
}

}  // namespace

ArchConfig ArchOverrides::apply(ArchConfig described) const {
  described.name = arch.value_or(described.name);
  if (granularity) described.granularity = parse_granularity(*granularity);
  described.width = width.value_or(described.width);
  described.classes = classes.value_or(described.classes);
  described.dilated_stages = dilated_stages.value_or(described.dilated_stages);
  if (stem) described.stem = parse_stem(*stem);
  if (se_pool) described.se_pool = parse_se_pool(*se_pool);
  make_spec(described);  // throws on what is no network
  return described;
}

ArchOverrides to_overrides(const nb::dict& given) {
  return {.arch = entry<std::string>(given, "arch"),
          .granularity = entry<std::string>(given, "granularity"),
          .stem = entry<std::string>(given, "stem"),
          .se_pool = entry<std::string>(given, "se_pool"),
          .width = entry<double>(given, "width"),
          .classes = entry<int>(given, "classes"),
          .dilated_stages = entry<int>(given, "dilated_stages")};
}

nb::object to_python_granularity(int granularity) {
  if (granularity == kWholeMapGranularity) return nb::cast(patch_side_to_string(granularity));
  return nb::cast(granularity);
}

int from_python_granularity(nb::handle value) {
  if (nb::isinstance<nb::str>(value)) return parse_patch_side(nb::cast<std::string>(value));
  return nb::cast<int>(value);
}

ArchConfig describe_file(const std::string& path, const ArchOverrides& overrides,
                         const std::string& state_dict) {
  if (auto described = described_architecture(path, state_dict)) return overrides.apply(*described);
  if (!overrides.arch) {
    throw Error(path + ": no lasnet metadata, so the network is unknown; name its architecture (arch=)");
  }
  ArchConfig arch;
  arch.classes = stored_classes(path, state_dict).value_or(0);
  return overrides.apply(arch);
}

std::shared_ptr<const Executable> ModelHandle::compile(const EngineOptions& options) {
  const Backend backend = parse_backend(options.backend);
  const Precision precision = parse_precision(options.precision);
  std::optional<Isa> isa;
  if (options.isa) isa = parse_isa(*options.isa);
  std::optional<NetworkSchedule> plan;
  if (options.schedule) plan = uniform_schedule(model_.spec, parse_block_schedule(*options.schedule));

  const std::string key = to_string(backend) + ' ' + to_string(precision) + ' ' +
                          (isa ? to_string(*isa) : "default") + ' ' + options.schedule.value_or("default");
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const Executable>& kept = compiled_[key];
  std::shared_ptr<const Executable> executable = kept.lock();
  if (!executable) kept = executable = make_executable(model_, backend, isa, plan, precision);
  return executable;
}

bool names_architecture(const Network& network) {
  const std::string* name = network_path(network);
  const auto names = architecture_names();
  return name != nullptr && std::find(names.begin(), names.end(), *name) != names.end();
}

ArchConfig describe_network(const Network& network, const ArchOverrides& overrides) {
  const std::string* path = network_path(network);
  if (path == nullptr) return overrides.apply(network_model(network).spec.arch);
  if (!names_architecture(network) && std::filesystem::exists(*path))
    return describe_file(*path, overrides, "");
  ArchConfig arch;
  arch.name = *path;
  return overrides.apply(arch);
}

MapSize usual_size(const Network& network) {
  constexpr int kImageNet = 224;
  const std::string* path = network_path(network);
  int side = 0;
  if (path == nullptr) {
    side = network_model(network).preprocessing.crop;
  } else if (!names_architecture(network)) {
    const auto preprocessing = described_preprocessing(*path);
    side = preprocessing ? preprocessing->crop : 0;
  }
  if (side == 0) side = kImageNet;
  return {side, side};
}

Preprocessing to_preprocessing(const PreprocessingTuple& given) {
  const auto& [resize, crop, mean, std] = given;
  return {.resize = resize, .crop = crop, .mean = mean, .std = std};
}

PreprocessingTuple to_tuple(const Preprocessing& preprocessing) {
  return {preprocessing.resize, preprocessing.crop, preprocessing.mean, preprocessing.std};
}

}  // namespace lasnet::python
