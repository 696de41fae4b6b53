#include "eval_data.h"

#include <algorithm>
#include <exception>
#include <filesystem>

#include "core/fail.h"
#include "log.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

/// The names in `a` that are not in `b`.
std::vector<std::string> missing_from(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string> names;
  std::copy_if(a.begin(), a.end(), std::back_inserter(names),
               [&](const auto& name) { return std::find(b.begin(), b.end(), name) == b.end(); });
  return names;
}

/// The model's class index of each folder.
std::vector<int> match_classes(const std::string& dir, const ImageFolder& folder, const Model& model) {
  const auto& names = model.class_names;
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
    fail("{}: these folders are no classes of the model: {}; classes of the model without a folder: {}", dir,
         fmt::join(unknown, ", "), absent.empty() ? "none" : fmt::format("{}", fmt::join(absent, ", ")));
  }
  if (!absent.empty()) log_warning(fmt::format("{}: no images of {}", dir, fmt::join(absent, ", ")));
  for (const auto& name : folder.classes) {
    indices.push_back(static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin()));
  }
  return indices;
}

std::vector<uint8_t> load_object(const std::string& path, const std::string& image_path, const Image& image,
                                 const Preprocessing& preprocessing) {
  const Image mask = load_image(path);
  if (mask.width != image.width || mask.height != image.height) {
    fail("{}: a mask of {} x {} px, but {} has {} x {}", path, mask.width, mask.height, image_path,
         image.width, image.height);
  }
  const Image seen = resize_and_crop(mask, preprocessing);
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

Loaded load_sample(const ImageFolder::Item& item, const std::string& mask, const Preprocessing& preprocessing,
                   bool skip_unreadable) {
  Image image;
  try {
    image = load_image(item.path);
  } catch (const Error& error) {
    if (!skip_unreadable) fail("{}; --skip-unreadable leaves such images out", error.what());
    return {.sample = {}, .unreadable = error.what(), .error = {}};
  }
  Sample sample{item.label, item.path, to_input(resize_and_crop(image, preprocessing), preprocessing), {}};
  if (!mask.empty()) sample.object = load_object(mask, item.path, image, preprocessing);
  return {.sample = std::move(sample), .unreadable = {}, .error = {}};
}

}  // namespace

ImageFolder open_validation(const std::string& dir, const Model& model) {
  const fs::path nested = fs::path(dir) / "val";
  const std::string chosen = fs::is_directory(nested) ? nested.string() : dir;
  ImageFolder folder = open_image_folder(chosen);
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
    if (!fs::is_regular_file(paths.back()))
      fail("{}: missing; expected the object mask of {}", paths.back(), item.path);
  }
  return paths;
}

Samples load_samples(const ImageFolder& folder, const std::vector<std::string>& masks, size_t begin,
                     size_t end, const Preprocessing& preprocessing, bool skip_unreadable, ThreadPool& pool) {
  std::vector<Loaded> loaded(end - begin);
  pool.parallel_for(static_cast<int64_t>(end - begin), [&](int64_t index, int) {
    const auto i = static_cast<size_t>(index);
    try {
      loaded[i] = load_sample(folder.items[begin + i], masks.empty() ? "" : masks[begin + i], preprocessing,
                              skip_unreadable);
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

}  // namespace lasnet::cli
