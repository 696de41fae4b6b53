#include <algorithm>
#include <cctype>
#include <filesystem>

#include "core/fail.h"
#include "lasnet/image.h"

namespace lasnet {
namespace {

namespace fs = std::filesystem;

bool has_image_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png";
}

/// Names of the entries of `dir` that `keep` accepts, in byte order. Hidden ones (".git", "._photo.jpg") are
/// no data.
template <typename Keep>
std::vector<std::string> names_in(const fs::path& dir, Keep keep) try {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with('.') && keep(entry)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
} catch (const fs::filesystem_error& error) {
  fail("{}: cannot be listed: {}", dir.string(), error.code().message());
}

}  // namespace

ImageFolder open_image_folder(const std::string& dir) {
  fs::path root(dir);
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    fail("{}: {}, expected a folder with one subfolder of images per class", dir,
         fs::exists(root, error) ? "not a folder" : "no such folder");
  }
  ImageFolder folder;
  folder.classes = names_in(root, [](const fs::directory_entry& entry) { return entry.is_directory(); });
  if (folder.classes.size() < 2) {
    fail("{}: {} class folder{}, expected at least two (DIR/<class>/*.jpg)", dir, folder.classes.size(),
         folder.classes.size() == 1 ? "" : "s");
  }
  for (size_t label = 0; label < folder.classes.size(); ++label) {
    fs::path class_dir = root / folder.classes[label];
    std::vector<std::string> files = names_in(class_dir, [](const fs::directory_entry& entry) {
      return has_image_suffix(entry.path()) && entry.is_regular_file();
    });
    if (files.empty()) fail("{}: the class folder holds no .jpg, .jpeg or .png image", class_dir.string());
    for (const std::string& file : files) {
      folder.items.push_back({(class_dir / file).string(), static_cast<int>(label)});
    }
  }
  return folder;
}

std::vector<std::string> list_images(const std::string& dir) try {
  std::vector<std::string> files;
  for (auto entry = fs::recursive_directory_iterator(dir); entry != fs::end(entry); ++entry) {
    if (entry->path().filename().string().starts_with('.')) {
      entry.disable_recursion_pending();
    } else if (has_image_suffix(entry->path()) && entry->is_regular_file()) {
      files.push_back(entry->path().string());
    }
  }
  if (files.empty()) fail("{}: no .jpg, .jpeg or .png image in it or its subfolders", dir);
  std::sort(files.begin(), files.end());
  return files;
} catch (const fs::filesystem_error& error) {
  fail("{}: cannot be listed: {}", dir, error.code().message());
}

}  // namespace lasnet
