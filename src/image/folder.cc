#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/fail.h"
#include "lasnet/image.h"

namespace lasnet {
namespace {

namespace fs = std::filesystem;

/// In small letters.
std::string suffix_of(const fs::path& path) {
  std::string suffix = path.extension().string();
  for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return suffix;
}

bool has_image_suffix(const fs::path& path) {
  const std::string suffix = suffix_of(path);
  return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png" || suffix == ".webp";
}

/// Hidden files and folders (".git", "._photo.jpg") are no data.
bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

bool is_folder(const fs::directory_entry& entry) {
  std::error_code ignored;
  return entry.is_directory(ignored);
}

/// The entries of `dir` in byte order, without hidden ones.
std::vector<fs::directory_entry> entries_of(const fs::path& dir) try {
  std::vector<fs::directory_entry> entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    if (!is_hidden(entry.path())) entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.path().filename().native() < b.path().filename().native();
  });
  return entries;
} catch (const fs::filesystem_error& error) {
  fail("{}: cannot be listed: {}", dir.string(), error.code().message());
}

/// Images in `dir` at any depth. Links to folders are not followed.
int64_t count_images_below(const fs::path& dir) {
  std::error_code error;
  int64_t images = 0;
  fs::recursive_directory_iterator entry(dir, fs::directory_options::skip_permission_denied, error);
  for (; !error && entry != fs::end(entry); entry.increment(error)) {
    if (is_hidden(entry->path())) {
      entry.disable_recursion_pending();
    } else {
      images += has_image_suffix(entry->path()) && !is_folder(*entry) ? 1 : 0;
    }
  }
  return images;
}

constexpr const char* kBrokenLinks = "behind broken links";

bool is_broken_link(const fs::directory_entry& entry) {
  std::error_code ignored;
  return entry.is_symlink(ignored) && !entry.exists(ignored);
}

/// What to call a file that is not read.
std::string kind_of(const fs::directory_entry& entry) {
  if (is_broken_link(entry)) return kBrokenLinks;
  const std::string suffix = suffix_of(entry.path());
  if (has_image_suffix(entry.path())) return suffix + " (no regular file)";
  return suffix.empty() ? "without a suffix" : suffix;
}

/// The image files of a class folder; the others are counted.
std::vector<std::string> images_in(const fs::path& class_dir, LeftOut& left_out) {
  std::vector<std::string> files;
  LeftOut others;
  for (const fs::directory_entry& entry : entries_of(class_dir)) {
    std::error_code error;
    if (is_folder(entry)) {
      if (int64_t images = count_images_below(entry.path()); images > 0)
        others["in nested folders"] += images;
    } else if (has_image_suffix(entry.path()) && entry.is_regular_file(error)) {
      files.push_back(entry.path().string());
    } else {
      ++others[kind_of(entry)];
    }
  }
  if (files.empty()) {
    fail("{}: the class folder holds no .jpg, .jpeg, .png or .webp image{}{}", class_dir.string(),
         others.empty() ? "" : "; ", describe_left_out(others));
  }
  for (const auto& [kind, count] : others) left_out[kind] += count;
  return files;
}

/// Throws Error unless it is a folder that can be looked into.
void check_is_folder(const fs::path& dir) {
  std::error_code error;
  fs::file_status status = fs::status(dir, error);
  if (fs::is_directory(status)) return;
  const std::string reason = fs::exists(status) ? "not a folder"
                             : status.type() == fs::file_type::not_found
                                 ? "no such folder"
                                 : "cannot be opened: " + error.message();
  fail("{}: {}, expected a folder with one subfolder of images per class", dir.string(), reason);
}

}  // namespace

std::string describe_left_out(const LeftOut& left_out) {
  std::vector<std::pair<std::string, int64_t>> kinds(left_out.begin(), left_out.end());
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  int64_t files = 0;
  std::vector<std::string> parts;
  for (const auto& [kind, count] : kinds) {
    files += count;
    parts.push_back(fmt::format("{} {}", count, kind));
  }
  if (files == 0) return "";
  return fmt::format("{} file{} left out: {}", files, files == 1 ? " was" : "s were", fmt::join(parts, ", "));
}

ImageFolder open_image_folder(const std::string& dir) {
  const fs::path root(dir);
  check_is_folder(root);
  ImageFolder folder;
  for (const fs::directory_entry& entry : entries_of(root)) {
    if (is_folder(entry)) {
      folder.classes.push_back(entry.path().filename().string());
    } else if (is_broken_link(entry)) {
      ++folder.left_out[kBrokenLinks];  // perhaps a class
    } else if (has_image_suffix(entry.path())) {
      ++folder.left_out["beside the class folders"];
    }
  }
  if (folder.classes.size() < 2) {
    fail("{}: {} class folder{}, expected at least two (DIR/<class>/*.jpg)", dir, folder.classes.size(),
         folder.classes.size() == 1 ? "" : "s");
  }
  for (size_t label = 0; label < folder.classes.size(); ++label) {
    for (std::string& file : images_in(root / folder.classes[label], folder.left_out)) {
      folder.items.push_back({std::move(file), static_cast<int>(label)});
    }
  }
  return folder;
}

std::string validation_folder(const std::string& dir) {
  for (const char* name : {"val", "valid"}) {
    const fs::path part = fs::path(dir) / name;
    std::error_code ignored;
    if (fs::is_directory(part, ignored)) return part.string();
  }
  return "";
}

std::vector<std::string> list_images(const std::string& dir) try {
  std::vector<std::string> files;
  for (auto entry = fs::recursive_directory_iterator(dir); entry != fs::end(entry); ++entry) {
    if (is_hidden(entry->path())) {
      entry.disable_recursion_pending();
    } else if (has_image_suffix(entry->path()) && entry->is_regular_file()) {
      files.push_back(entry->path().string());
    }
  }
  if (files.empty()) fail("{}: no .jpg, .jpeg, .png or .webp image in it or its subfolders", dir);
  std::sort(files.begin(), files.end());
  return files;
} catch (const fs::filesystem_error& error) {
  fail("{}: cannot be listed: {}", dir, error.code().message());
}

}  // namespace lasnet
