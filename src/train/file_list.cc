#include "train/file_list.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include "base/fail.h"
#include "base/names.h"

namespace lasnet {
namespace {

struct Stamp {
  std::string size, time;
};

std::string line_of(const std::string& root, const std::string& path) {
  struct stat status {};
  // A file that is gone by now is missed when it is read.
  if (::stat(path.c_str(), &status) != 0) status = {};
  const std::string name = std::filesystem::path(path).lexically_relative(root).string();
  return fmt::format("{} {} {}\n", status.st_size,
                     int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec, name);
}

std::string_view name_of(std::string_view line) {
  return line.substr(line.find(' ', line.find(' ') + 1) + 1);
}

/// By name; lines that are none are left out.
std::map<std::string, Stamp> parse(std::string_view text) {
  std::map<std::string, Stamp> files;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const size_t first = line.find(' '), second = line.find(' ', first + 1);
    if (second == std::string_view::npos) continue;
    files[std::string(name_of(line))] = {std::string(line.substr(0, first)),
                                         std::string(line.substr(first + 1, second - first - 1))};
  }
  return files;
}

}  // namespace

std::string list_files(const std::string& root, std::span<const std::string> paths) {
  std::vector<std::string> lines;
  for (const std::string& path : paths) lines.push_back(line_of(root, path));
  std::ranges::sort(lines, {}, name_of);
  return fmt::format("{}", fmt::join(lines, ""));
}

std::string without_times(const std::string& list) {
  std::string text;
  for (const auto& [name, stamp] : parse(list)) text += fmt::format("{} {}\n", stamp.size, name);
  return text;
}

ListDifference compare_lists(const std::string& before, const std::string& now) {
  const auto old_files = parse(before), new_files = parse(now);
  std::vector<std::string> content, times;
  for (const auto& [name, stamp] : old_files) {
    const auto found = new_files.find(name);
    if (found == new_files.end()) {
      content.push_back(name + " (gone)");
    } else if (found->second.size != stamp.size) {
      content.push_back(fmt::format("{} ({} bytes instead of {})", name, found->second.size, stamp.size));
    } else if (found->second.time != stamp.time) {
      times.push_back(name);
    }
  }
  for (const auto& [name, stamp] : new_files) {
    if (!old_files.contains(name)) content.push_back(name + " (new)");
  }
  return {.content = content.empty() ? "" : some_of(content), .times = times.empty() ? "" : some_of(times)};
}

}  // namespace lasnet
