#include "model_options.h"

#include <algorithm>
#include <filesystem>

#include "base/escape.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/numbers.h"
#include "base/suggest.h"
#include "class_list.h"
#include "formats/metadata.h"
#include "formats/weight_file.h"
#include "log.h"

namespace lasnet::cli {
namespace {

/// A number of classes, or a text file of their names.
void parse_classes(const std::string& text, ModelOptions& options) {
  constexpr int kMaxClasses = 1 << 20;
  if (const auto count = parse_number<int>(text)) {
    if (*count < 0 || *count > kMaxClasses) fail("{} classes; expected 0 to {}", *count, kMaxClasses);
    options.classes = *count;
    return;
  }
  ClassList list = read_class_list(text);
  options.class_names = std::move(list.names);
  options.class_folders = std::move(list.folders);
  options.classes = static_cast<int>(options.class_names.size());
}

/// What the file says of itself, without its weights.
std::optional<Model> description_of(const ModelOptions& options) {
  const auto metadata = open_weight_file(options.path, options.state_dict)->metadata();
  if (!metadata) return std::nullopt;
  return parse_metadata(*metadata, options.path);
}

/// What the file says of its network; for plain weights, their number of classes.
ArchConfig described_or_plain(const ModelOptions& options) {
  if (const auto described = description_of(options)) return described->spec.arch;
  if (!options.arch) {
    fail("{}: no lasnet metadata, so the network is unknown; name its architecture (--arch)", options.path);
  }
  ArchConfig arch;
  arch.classes = stored_classes(options.path, options.state_dict).value_or(0);
  return arch;
}

}  // namespace

void add_model_options(CLI::App& app, ModelOptions& options) {
  const std::string group = "Model (for files that do not describe themselves)";
  app.add_option("MODEL", options.path, "Model file, .safetensors; or PyTorch weights, .pth or .pt")
      ->required();
  app.add_option("--arch", options.arch, "Architecture, e.g. resnet50")->group(group);
  add_parsed(app, "--granularity",
             "S per stage or block, e.g. 4-4-2-1; layer: all of a map or nothing; or static",
             [&](const std::string& text) { options.granularity = parse_granularity(text); })
      ->group(group);
  app.add_option("--width", options.width, "Channel multiplier")->check(above_zero())->group(group);
  add_parsed(app, "--classes",
             "Number of classes, 0 for a backbone without a classifier; or a text file with a class name per "
             "line, or with a folder, a tab and a name",
             [&](const std::string& text) { parse_classes(text, options); })
      ->type_name("N|FILE")
      ->group(group);
  add_parsed(app, "--stem", "imagenet or small", [&](const std::string& text) {
    options.stem = parse_stem(text);
  })->group(group);
  add_parsed(app, "--se", "Pool of Squeeze-and-Excitation: over active pixels (active) or all (dense)",
             [&](const std::string& text) { options.se_pool = parse_se_pool(text); })
      ->group(group);
  app.add_option("--dilated-stages", options.dilated_stages,
                 "Last stages whose stride is replaced by dilation; 2 is torchvision's "
                 "replace_stride_with_dilation=[False, True, True]")
      ->check(whole_number(0, 3))
      ->type_name("N")
      ->group(group);
  app.add_option(
         "--state-dict", options.state_dict,
         "Which state dict of a PyTorch checkpoint, by its keys, e.g. state_dict_ema or ema.model; else "
         "the usual or only one")
      ->type_name("KEYS")
      ->group(group);
}

namespace {

/// Throws UsageError where the name of an architecture, perhaps a mistyped one, stands for a model file.
void check_is_no_architecture(const std::string& path) {
  if (std::filesystem::path(path).has_extension() || std::filesystem::exists(path)) return;
  const std::string near = nearest_name(path, architecture_names());
  if (near.empty()) return;
  throw UsageError(fmt::format(
      "MODEL {}: no such file{}, and an architecture has no weights; expected a model file (lasnet convert "
      "makes one of PyTorch weights, lasnet train of an image folder)",
      path, near == path ? "" : fmt::format(" (did you mean {}?)", near)));
}

}  // namespace

Model load_model(const ModelOptions& options) {
  check_is_no_architecture(options.path);
  const ArchConfig found = described_or_plain(options);
  std::optional<ArchConfig> arch;
  if (!options.describe_nothing()) arch = apply(options, found);
  Model model = lasnet::load_model(options.path, arch, options.state_dict);
  if (!options.class_names.empty()) {
    model.class_names = options.class_names;
    model.class_folders = options.class_folders;
  }
  model.preprocessing = apply(options.preprocessing, model.preprocessing);
  for (const std::string& warning : model.origin.warnings) log_warning(warning);
  return model;
}

namespace {

/// The first block whose S does not divide its map at this crop; null if there is none.
const BlockSpec* undivided_block(const ModelSpec& spec, int crop) {
  const NetworkGeometry geometry = network_geometry(spec, {crop, crop});
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const PatchGrid& grid = geometry.blocks[i].grid;
    if (spec.blocks[i].is_dynamic() && grid.map.height % grid.granularity != 0) return &spec.blocks[i];
  }
  return nullptr;
}

/// The crop nearest to this one at which every S divides its map; 0 if none is sane.
int divided_crop(const ModelSpec& spec, int crop) {
  constexpr int kStep = 32, kMax = 1024;
  int best = 0;
  for (int side = kStep; side <= kMax; side += kStep) {
    if (undivided_block(spec, side) != nullptr) continue;
    if (best == 0 || std::abs(side - crop) < std::abs(best - crop)) best = side;
  }
  return best;
}

}  // namespace

// Patches at a map's border are cut off here. The authors' code rounds their number down, lets windows
// overlap and enlarges the mask by its nearest value: another function of the same weights.
void warn_of_undivided_maps(const std::string& path, const Model& model, int crop) {
  if (model.origin.has_description || model.origin.stored_maskers == 0 || crop < 32) return;
  const BlockSpec* const block = undivided_block(model.spec, crop);
  if (block == nullptr) return;
  const int better = divided_crop(model.spec, crop);
  log_warning(fmt::format(
      "{}: S = {} does not divide the map of {} at {} px. If these maskers were trained with the authors' "
      "code, they decide otherwise here: lasnet cuts patches off at the border, their code shifts them. {}; "
      "or fine-tune the network (lasnet train --init)",
      path, block->granularity, block->name, crop,
      better > 0 ? fmt::format("At --crop {} every S divides its map", better)
                 : std::string("Choose an S that divides it (--granularity)")));
}

ArchConfig apply(const ModelOptions& options, ArchConfig arch) {
  arch.name = options.arch.value_or(arch.name);
  arch.granularity = options.granularity.value_or(arch.granularity);
  arch.width = options.width.value_or(arch.width);
  arch.classes = options.classes.value_or(arch.classes);
  arch.stem = options.stem.value_or(arch.stem);
  arch.se_pool = options.se_pool.value_or(arch.se_pool);
  arch.dilated_stages = options.dilated_stages.value_or(arch.dilated_stages);
  as_usage([&] { make_spec(arch); });
  return arch;
}

bool is_architecture(const std::string& name) {
  const auto names = architecture_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

void check_file_or_architecture(const std::string& name) {
  if (is_architecture(name) || std::filesystem::exists(name)) return;
  const std::string near = nearest_name(name, architecture_names());
  throw UsageError(fmt::format("MODEL {}: no such file, and no architecture{}; known: {}", name,
                               near.empty() ? "" : fmt::format(" (did you mean {}?)", near),
                               fmt::join(architecture_names(), ", ")));
}

Model described_model(const ModelOptions& options) {
  Model model;
  if (is_architecture(options.path)) {
    if (options.arch)
      throw UsageError(fmt::format("--arch: {} already names the architecture", options.path));
    ArchConfig arch;
    arch.name = options.path;
    model.spec = make_spec(apply(options, arch));
    return model;
  }
  check_file_or_architecture(options.path);
  const ArchConfig found = described_or_plain(options);
  model.spec = make_spec(apply(options, found));
  if (model.spec.arch == found) {
    if (auto described = description_of(options))
      model.operating_points = std::move(described->operating_points);
  }
  return model;
}

void warn_of_patches_beyond_maps(const ModelSpec& spec, const NetworkGeometry& geometry) {
  const auto is_beyond = [](const BlockGeometry& block) {
    return block.grid.granularity > std::max(block.output.height, block.output.width);
  };
  const auto beyond = std::find_if(geometry.blocks.begin(), geometry.blocks.end(), is_beyond);
  if (beyond == geometry.blocks.end()) return;
  const auto others = std::count_if(beyond + 1, geometry.blocks.end(), is_beyond);
  log_warning(fmt::format(
      "{}: S = {} is larger than the block's map, {} x {} for images of {} x {} px: one patch is all of it, "
      "and an image computes all or nothing{}",
      spec.blocks[static_cast<size_t>(beyond - geometry.blocks.begin())].name, beyond->grid.granularity,
      beyond->output.height, beyond->output.width, geometry.input.height, geometry.input.width,
      others > 0 ? fmt::format("; so in {} other block{}", others, others == 1 ? "" : "s") : ""));
}

}  // namespace lasnet::cli
