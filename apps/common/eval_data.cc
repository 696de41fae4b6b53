#include "eval_data.h"

#include <algorithm>
#include <exception>
#include <filesystem>

#include "base/fail.h"
#include "base/names.h"
#include "log.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

/// The model's class index of each folder.
std::vector<int> match_classes(const std::string& dir, const ImageFolder& folder, const Model& model) {
  const auto& names = model.class_folders.empty() ? model.class_names : model.class_folders;
  std::vector<int> indices;
  if (names.empty()) {
    if (static_cast<int>(folder.classes.size()) != model.spec.arch.classes) {
      fail("{}: {} class folders, but the model has {} classes (and no names to match them by)", dir,
           folder.classes.size(), model.spec.arch.classes);
    }
    for (size_t i = 0; i < folder.classes.size(); ++i) indices.push_back(static_cast<int>(i));
    return indices;
  }
  const auto unknown = missing_from(folder.classes, names);
  const auto absent = missing_from(names, folder.classes);
  if (!unknown.empty()) {
    fail(
        "{}: {} of {} folders are no classes of the model: {}; classes of the model without a folder: {}. "
        "Rename the folders, or give the folders' names in the order of the model's classes, one per line "
        "(--classes FILE)",
        dir, unknown.size(), folder.classes.size(), some_of(unknown), some_of(absent));
  }
  if (!absent.empty()) log_warning(fmt::format("{}: no images of {}", dir, some_of(absent)));
  for (const auto& name : folder.classes) {
    indices.push_back(static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin()));
  }
  return indices;
}

std::vector<uint8_t> load_object(const std::string& path, const std::string& image_path, const Image& image,
                                 const SampleOptions& options) {
  const Image mask = load_image(path, options.decode);
  if (mask.width != image.width || mask.height != image.height) {
    fail("{}: a mask of {} x {} px, but {} has {} x {}", path, mask.width, mask.height, image_path,
         image.width, image.height);
  }
  const Image seen = resize_and_crop(mask, options.preprocessing);
  std::vector<uint8_t> object(seen.rgb.size() / 3);
  for (size_t i = 0; i < object.size(); ++i) object[i] = seen.rgb[3 * i] >= 128;
  return object;
}

/// A sample, or why there is none.
struct Loaded {
  Sample sample;
  std::string unreadable;    ///< the image, which is to be left out
  std::exception_ptr error;  ///< anything else
};

Loaded load_sample(const ImageFolder::Item& item, const std::string& mask, const SampleOptions& options) {
  const Preprocessing& preprocessing = options.preprocessing;
  Image image;
  try {
    image = load_image(item.path, options.decode);
  } catch (const Error& error) {
    if (!options.skip_unreadable) fail("{}; --skip-unreadable leaves such images out", error.what());
    return {.sample = {}, .unreadable = error.what(), .error = {}};
  }
  Sample sample{item.label, item.path, to_input(resize_and_crop(image, preprocessing), preprocessing), {}};
  if (!mask.empty()) sample.object = load_object(mask, item.path, image, options);
  return {.sample = std::move(sample), .unreadable = {}, .error = {}};
}

}  // namespace

ImageFolder open_validation(const std::string& dir, const Model& model) {
  const std::string part = validation_folder(dir);
  const std::string& chosen = part.empty() ? dir : part;
  ImageFolder folder = open_image_folder(chosen);
  if (!folder.left_out.empty())
    log_warning(fmt::format("{}: {}", chosen, describe_left_out(folder.left_out)));
  const auto indices = match_classes(chosen, folder, model);
  for (auto& item : folder.items) item.label = indices[static_cast<size_t>(item.label)];
  return folder;
}

std::vector<std::string> object_mask_paths(const ImageFolder& folder, const std::string& masks) {
  std::vector<std::string> paths;
  for (const auto& item : folder.items) {
    const fs::path image(item.path);
    paths.push_back(
        (fs::path(masks) / image.parent_path().filename() / (image.stem().string() + ".png")).string());
    std::error_code error;
    const fs::file_status status = fs::status(paths.back(), error);
    if (!fs::is_regular_file(status)) {
      fail("{}: {}; expected the object mask of {}", paths.back(),
           fs::exists(status) ? "is no file" : "missing", item.path);
    }
  }
  return paths;
}

Samples load_samples(const ImageFolder& folder, const std::vector<std::string>& masks, size_t begin,
                     size_t end, const SampleOptions& options, ThreadPool& pool) {
  std::vector<Loaded> loaded(end - begin);
  pool.parallel_for(static_cast<int64_t>(end - begin), [&](int64_t index, int) {
    const auto i = static_cast<size_t>(index);
    try {
      loaded[i] = load_sample(folder.items[begin + i], masks.empty() ? "" : masks[begin + i], options);
    } catch (...) {
      loaded[i].error = std::current_exception();
    }
  });
  Samples samples;
  for (Loaded& one : loaded) {
    if (one.error) std::rethrow_exception(one.error);
    if (one.unreadable.empty()) {
      samples.read.push_back(std::move(one.sample));
    } else {
      samples.unreadable.push_back(std::move(one.unreadable));
    }
  }
  return samples;
}

void warn_of_unreadable(const std::vector<std::string>& reasons) {
  constexpr size_t kShown = 5;
  const size_t shown = reasons.size() <= kShown + 1 ? reasons.size() : kShown;
  for (size_t i = 0; i < shown; ++i) log_warning("left out: " + reasons[i]);
  if (shown < reasons.size()) {
    log_warning(fmt::format("left out: ... {} more; --json lists them all", reasons.size() - shown));
  }
}

}  // namespace lasnet::cli
