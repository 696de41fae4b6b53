#include "setup.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/processors.h"
#include "classes.h"
#include "eval_data.h"
#include "image_options.h"
#include "input_options.h"
#include "lasnet/report.h"
#include "lasnet/version.h"
#include "latency_options.h"
#include "machine.h"
#include "model_options.h"
#include "recorded_peers.h"
#include "recorded_sweep.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

/// Of several texts.
class Digest {
 public:
  void add(std::string_view text) { value_ = fnv1a(std::string_view("\0", 1), fnv1a(text, value_)); }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  uint64_t value_ = fnv1a("");
};

/// A model file that describes itself.
ModelOptions file_of(const std::string& path) {
  ModelOptions options;
  options.path = path;
  return options;
}

Model open_model(const std::string& path) {
  if (is_architecture(path)) {
    throw UsageError(fmt::format(
        "{}: an architecture with random weights finds nothing in photographs; give a model file", path));
  }
  Model model = load_model(file_of(path));
  if (!model.spec.arch.is_dynamic()) {
    throw UsageError(fmt::format(
        "{}: a static network computes everything, so there is nothing to report; expected one with "
        "maskers, as lasnet train makes it",
        path));
  }
  require_classifier(path, model.spec);
  return model;
}

/// Images that lie in the folder itself have no class.
bool has_class_folders(const std::string& dir, const std::vector<std::string>& images) {
  return std::none_of(images.begin(), images.end(), [&](const std::string& path) {
    return fs::path(path).parent_path().lexically_normal() ==
           (fs::path(dir) / "").parent_path().lexically_normal();
  });
}

/// At most `count`, evenly spread.
std::vector<std::string> spread(const std::vector<std::string>& paths, size_t count) {
  if (paths.size() <= count) return paths;
  std::vector<std::string> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(paths[i * paths.size() / count]);
  return chosen;
}

/// The whole photograph with objects at the scale that the network was trained on.
Preprocessing uncropped(const Preprocessing& preprocessing) {
  return apply(InputOptions{.no_crop = true}, preprocessing);
}

Photograph open_photograph(const std::string& path, const Model& model, MapSize size) {
  const Image image = load_image(path, decode_options({}));
  const Preprocessing whole = uncropped(model.preprocessing);
  const Image seen = resize_and_crop(image, whole);
  InputOptions usual;
  if (model.preprocessing.crop == 0) usual.size = static_cast<int>(size.height);
  const Preprocessing cropped = apply(usual, model.preprocessing);
  return {.name = fs::path(path).filename().string(),
          .shown = visible_part(image, whole),
          .whole = to_input(seen, whole),
          .seen = {seen.height, seen.width},
          .cropped = to_input(resize_and_crop(image, cropped), cropped)};
}

std::vector<HardwareProfile> open_others(const std::vector<std::string>& names) {
  std::vector<HardwareProfile> profiles;
  for (const std::string& name : names) profiles.push_back(open_hardware(name));
  return profiles;
}

std::vector<Json> open_peers(const ReportOptions& options) {
  std::vector<Json> comparisons;
  for (const std::string& path : options.peers) comparisons.push_back(read_peers(path, options.model));
  return comparisons;
}

std::string key_of(const Setup& setup, const std::vector<std::string>& images) {
  Digest digest;
  const std::vector<uint8_t> model = read_file(setup.options.model);
  digest.add({reinterpret_cast<const char*>(model.data()), model.size()});
  digest.add(version());
  digest.add(processor_name());
  digest.add(fmt::format("{} {} {}", static_cast<int>(setup.options.effort), setup.threads, setup.resolved));
  digest.add(hardware_to_toml(setup.host));
  for (const HardwareProfile& other : setup.others) digest.add(hardware_to_toml(other));
  std::error_code ignored;
  for (const std::string& path : images) {
    digest.add(path);
    digest.add(std::to_string(fs::file_size(path, ignored)));
    digest.add(std::to_string(fs::last_write_time(path, ignored).time_since_epoch().count()));
  }
  return digest.text();
}

}  // namespace

std::vector<Tensor> Setup::inputs() const {
  std::vector<Tensor> all;
  for (const Photograph& photograph : photographs) all.push_back(photograph.cropped);
  return all;
}

Setup prepare(const ReportOptions& options) {
  Setup setup{
      .options = options,
      .repetitions = repetitions(options.effort),
      .model = open_model(options.model),
      .size = usual_size(file_of(options.model)),
      .resolved = to_string(available_isas().back()),
      .threads = options.threads > 0 ? options.threads : std::min(default_threads(), physical_cores()),
      .photographs = {},
      .found = 0,
      .labelled = {},
      .peers = open_peers(options),
      .host = open_hardware(""),
      .others = open_others(options.hardware),
      .sweep = options.sweep.empty() ? Json() : read_recorded_sweep(options.sweep),
      .key = {}};
  // Of a data set only the part that the network was not trained on.
  if (const std::string part = validation_folder(options.images); !part.empty()) setup.options.images = part;
  const std::vector<std::string> images = list_images(setup.options.images);
  setup.found = images.size();
  if (has_class_folders(setup.options.images, images))
    setup.labelled = open_validation(setup.options.images, setup.model);
  for (const std::string& path : spread(images, setup.repetitions.photographs))
    setup.photographs.push_back(open_photograph(path, setup.model, setup.size));
  setup.key = key_of(setup, images);
  return setup;
}

}  // namespace lasnet::cli
