// What several subcommands share: which model, on which kernels, and how results leave the program.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "lasnet/engine.h"
#include "lasnet/geometry.h"
#include "lasnet/image.h"
#include "lasnet/model.h"
#include "lasnet/version.h"
#include "preprocessing_options.h"

namespace lasnet::cli {

using Json = nlohmann::ordered_json;

/// Whether this build has training.
inline constexpr bool kTraining = LASNET_TRAINING;

inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

/// Calls the body of a program and returns its exit code. An exception is logged and becomes an exit code:
/// kExitUsage for a wrong command line, kExitError for a wrong file or a failed system call.
int guarded(const std::function<int()>& body);

/// Parses the command line. Returns the exit code if that is all there is to do (help, wrong use), else -1.
int parse(CLI::App& app, int argc, char** argv);

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
  std::string state_dict;              ///< which of a checkpoint's; empty: the usual one
  PreprocessingOptions preprocessing;  ///< where the command has these options

  bool describe_nothing() const { return !arch && !granularity && !width && !classes && !stem && !se_pool; }
};
void add_model_options(CLI::App& app, ModelOptions& options);
/// Loads the model with the preprocessing that the options say. Warns of a granularity that it was not
/// trained with, and of other weights in the file. The number of classes, if nothing says it, is that of the
/// stored classifier.
Model load_model(const ModelOptions& options);
/// Says of maskers that others may have trained where S does not divide a map at this crop.
void warn_of_undivided_maps(const std::string& path, const Model& model, int crop);
/// `arch` with what the options say instead.
ArchConfig apply(const ModelOptions& options, ArchConfig arch);
/// The name of an architecture: a network with random weights where a model file could stand.
bool is_architecture(const std::string& name);
/// Throws UsageError if it is neither a file nor an architecture, suggesting the nearest of these.
void check_file_or_architecture(const std::string& name);
/// What MODEL describes, be it a file or the name of an architecture, without reading weights. Throws
/// UsageError if it is neither, suggesting the nearest architecture.
ModelSpec described_spec(const ModelOptions& options);
/// Says which blocks have patches larger than their maps.
void warn_of_patches_beyond_maps(const ModelSpec& spec, const NetworkGeometry& geometry);
/// Every <block>.npy of the folder that `lasnet forward --masks` wrote. `option` names it in errors.
MaskSet load_masks(const std::string& dir, const std::string& option);
/// A side in px or HEIGHTxWIDTH. Throws Error.
MapSize parse_size(const std::string& text);

/// --backend, --precision, --isa, --threads. `threads` by default; 0: default_threads().
void add_session_options(CLI::App& app, SessionOptions& options, int threads);
/// --check-finite, for RunOptions.
void add_check_finite_flag(CLI::App& app, bool& check);
/// What computes.
struct Kernels {
  Backend backend = Backend::cpu;
  Isa isa = Isa::scalar;
  Precision precision = Precision::fp32;
  int threads = 1;
};
/// Throws Error, with the reason and what can be done `instead`, where there is no CUDA device.
void require_cuda_device(const std::string& asked_by, const std::string& instead);
/// "cpu avx2, 1 thread"; "cuda fp16, NVIDIA H100".
std::string describe_kernels(const Kernels& kernels);
std::string describe(const Session& session);
/// "resnet18 x0.5, S 4-4-2-1".
std::string describe(const ArchConfig& arch);

/// {"name", "width", "classes", "stem", "granularity"}, and "se_pool" of a network that has one.
Json arch_json(const ModelSpec& spec);

/// How photographs become inputs of another size than the model's own.
struct InputOptions {
  int size = 0;          ///< crop in px, the resize in proportion; 0: the model's
  bool no_crop = false;  ///< keep the whole photograph, at its aspect ratio
};
void add_input_options(CLI::App& app, InputOptions& options);
Preprocessing apply(const InputOptions& options, Preprocessing preprocessing);

/// The class's name, or its number where the model has no names.
std::string class_name(const Model& model, int64_t index);

/// The first image whose logits are not all finite numbers.
std::optional<int64_t> image_without_class(const Tensor& logits);
/// Why there is none: what follows a photograph's name.
inline constexpr const char* kLogitsNotFinite =
    "its logits are not finite numbers, so it has no class: the weights are too large, or the input or its "
    "mean "
    "and std are not what the network was trained on (--check-finite names the first layer)";

/// Indices of the k largest values of one row of logits, best first.
std::vector<int64_t> top_classes(const float* logits, int64_t classes, int k);

void add_json_flag(CLI::App& app, bool& json);
/// One object on standard output; bytes that are not UTF-8 are replaced.
void print_json(const Json& json);
/// Text on standard output, escaped but for newlines and emphasis.
void print(const std::string& text);

/// Creates the directory and its parents. Throws Error.
void create_directory(const std::string& path);
/// --plot FILE.svg.
void add_plot_option(CLI::App& app, std::string& path, const std::string& help);

}  // namespace lasnet::cli
