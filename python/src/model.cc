// Models: read, made, written.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "arguments.h"
#include "bindings.h"

namespace lasnet::python {
namespace {

std::string as_string(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

std::shared_ptr<ModelHandle> load(const nb::bytes& path, const nb::dict& given, const std::string& state_dict,
                                  const std::vector<std::string>& class_names,
                                  const std::optional<PreprocessingTuple>& preprocessing) {
  const std::string file = as_string(path);
  const ArchOverrides overrides = to_overrides(given);
  const nb::gil_scoped_release released;
  const ArchConfig described = describe_file(file, overrides, state_dict);
  std::optional<ArchConfig> arch;
  if (!overrides.empty()) arch = described;
  Model model = load_model(file, arch, state_dict);
  if (!class_names.empty()) {
    model.class_names = class_names;
    model.class_folders.clear();
  }
  if (preprocessing) model.preprocessing = to_preprocessing(*preprocessing);
  return std::make_shared<ModelHandle>(std::move(model));
}

std::shared_ptr<ModelHandle> create(const nb::dict& given, uint64_t seed) {
  const ArchOverrides overrides = to_overrides(given);
  const nb::gil_scoped_release released;
  Model model;
  model.spec = make_spec(overrides.apply({}));
  model.weights = random_weights(model.spec, seed);
  return std::make_shared<ModelHandle>(std::move(model));
}

void save(const ModelHandle& handle, const nb::bytes& path, const std::string& dtype) {
  const std::string file = as_string(path);
  const nb::gil_scoped_release released;
  save_model(handle.model(), file, parse_dtype(dtype));
}

nb::dict describe(const ModelHandle& handle) {
  const Model& model = handle.model();
  const ArchConfig& arch = model.spec.arch;
  nb::dict facts;
  facts["arch"] = arch.name;
  facts["granularity"] = granularity_to_string(arch.granularity);
  facts["width"] = arch.width;
  facts["classes"] = arch.classes;
  facts["dilated_stages"] = arch.dilated_stages;
  facts["stem"] = to_string(arch.stem);
  facts["se_pool"] = to_string(arch.se_pool);
  facts["class_names"] = model.class_names;
  facts["preprocessing"] = to_tuple(model.preprocessing);
  facts["training_json"] = model.training_json;
  facts["state_dict"] = model.origin.state_dict;
  facts["other_state_dicts"] = model.origin.other_state_dicts;
  nb::list features;
  for (const FeatureSpec& feature : feature_specs(model.spec))
    features.append(nb::make_tuple(feature.name, feature.channels, feature.stride));
  facts["features"] = features;
  facts["quantized"] = model.quantization.has_value();
  facts["fresh_maskers"] = model.origin.fresh_maskers;
  facts["warnings"] = model.origin.warnings;
  return facts;
}

}  // namespace

void bind_model(nb::module_& module) {
  nb::class_<ModelHandle>(module, "Model").def("describe", &describe).def("save", &save);
  module.def("load", &load);
  module.def("create", &create);
  module.def("architectures", &architecture_names);
}

}  // namespace lasnet::python
