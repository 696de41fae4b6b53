// What the Python layer passes down: plain values that say what a network, an engine or an image is.
#pragma once

#include <nanobind/nanobind.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "lasnet/engine.h"
#include "lasnet/model.h"

namespace lasnet::python {

namespace nb = nanobind;

/// What a user says of a network in place of what its file says; nothing where a value is None.
struct ArchOverrides {
  std::optional<std::string> arch, granularity, stem, se_pool;
  std::optional<double> width;
  std::optional<int> classes, dilated_stages;

  bool empty() const {
    return !arch && !granularity && !stem && !se_pool && !width && !classes && !dilated_stages;
  }
  /// `arch` with them. Throws Error.
  ArchConfig apply(ArchConfig described) const;
};

/// Reads a dict of them.
ArchOverrides to_overrides(const nb::dict& given);

/// S of a block, as lasnet's dataclasses have it: an int, or "layer".
nb::object to_python_granularity(int granularity);
int from_python_granularity(nb::handle value);

/// (resize, crop, mean, std).
using PreprocessingTuple = std::tuple<int, int, std::vector<float>, std::vector<float>>;
Preprocessing to_preprocessing(const PreprocessingTuple& given);
PreprocessingTuple to_tuple(const Preprocessing& preprocessing);

/// How sessions run a model.
struct EngineOptions {
  std::string backend;
  std::optional<std::string> isa;
  std::string precision;
  std::optional<std::string> schedule;
};

/// A model, and what has been compiled of it: sessions of equal options share their packed weights.
class ModelHandle {
 public:
  explicit ModelHandle(Model model) : model_(std::move(model)) {}

  const Model& model() const { return model_; }
  /// By any number of threads at once.
  std::shared_ptr<const Executable> compile(const EngineOptions& options);

 private:
  Model model_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<const Executable>> compiled_;
};

/// What a latency is asked of: a model, or the name of an architecture or the path of a file.
using Network = std::variant<std::shared_ptr<ModelHandle>, std::string>;

/// Whether it is such a name.
bool names_architecture(const Network& network);
/// Its description, with what replaces parts of it. Throws Error on a name that is neither.
ArchConfig describe_network(const Network& network, const ArchOverrides& overrides);
/// The same of a file, which may have no description if the architecture is named.
ArchConfig describe_file(const std::string& path, const ArchOverrides& overrides,
                         const std::string& state_dict);

/// Size of its images in px: the model's crop, or the one that the file describes, else 224.
MapSize usual_size(const Network& network);

}  // namespace lasnet::python
