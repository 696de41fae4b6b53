// Which model a command runs, and what to assume about it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "lasnet/geometry.h"
#include "lasnet/model.h"
#include "preprocessing_options.h"

namespace lasnet::cli {
/// A model file, and what to assume about it when it does not say (or to use instead of what it says).
struct ModelOptions {
  std::string path;
  std::optional<std::string> arch;
  std::optional<std::vector<int>> granularity;
  std::optional<double> width;
  std::optional<int> classes;
  std::vector<std::string> class_names;    ///< replace those of the file, as
  std::vector<std::string> class_folders;  ///< these do
  std::optional<StemKind> stem;
  std::optional<SePool> se_pool;
  std::optional<int> dilated_stages;
  std::string state_dict;              ///< which of a checkpoint's; empty: the usual one
  PreprocessingOptions preprocessing;  ///< where the command has these options

  bool describe_nothing() const {
    return !arch && !granularity && !width && !classes && !stem && !se_pool && !dilated_stages;
  }
};
void add_model_options(CLI::App& app, ModelOptions& options);
/// Loads the model with the preprocessing that the options say. Warns of a granularity that it was not
/// trained with, of operating points that are dropped, and of other weights in the file. The number of
/// classes, if nothing says it, is that of the stored classifier; without one, the network is a backbone.
Model load_model(const ModelOptions& options);
/// Says of maskers that others may have trained where S does not divide a map at this crop.
void warn_of_undivided_maps(const std::string& path, const Model& model, int crop);
/// `arch` with what the options say instead.
ArchConfig apply(const ModelOptions& options, ArchConfig arch);
/// The name of an architecture: a network with random weights where a model file could stand.
bool is_architecture(const std::string& name);
/// Throws UsageError if it is neither a file nor an architecture, suggesting the nearest of these.
void check_file_or_architecture(const std::string& name);
/// What MODEL describes, be it a file or the name of an architecture, without reading weights: the network
/// and its operating points. Throws UsageError if it is neither, suggesting the nearest architecture.
Model described_model(const ModelOptions& options);
/// Says which blocks have patches larger than their maps.
void warn_of_patches_beyond_maps(const ModelSpec& spec, const NetworkGeometry& geometry);

}  // namespace lasnet::cli
