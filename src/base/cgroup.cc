#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/numbers.h"

namespace lasnet {
namespace {

/// One line of /proc/self/cgroup: which controllers, and where below their mount. Version 2 names none.
struct Membership {
  bool unified = false;
  std::string path;
};

/// The folders of a process's groups, its own first, up to the mount.
struct Groups {
  bool unified = false;  ///< version 2
  std::vector<std::string> folders;
};

/// Whether `name` is one of the words between commas.
bool lists(const std::string& words, const std::string& name) {
  const std::vector<std::string_view> all = split(words, ',');
  return std::find(all.begin(), all.end(), name) != all.end();
}

/// Of version 1 if that has the controller here, else of version 2.
std::optional<Membership> membership(const std::string& root, const std::string& controller) {
  std::optional<Membership> found;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // number:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      path = line.substr(second + 1);
    if (lists(controllers, controller)) return Membership{false, path};
    if (controllers.empty()) found = Membership{true, path};
  }
  return found;
}

/// Where a hierarchy is mounted, and which of its folders that shows.
struct Mount {
  std::string shown, point;
};

std::optional<Mount> mount_of(const std::string& root, const std::string& controller, bool unified) {
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string skipped, shown, point, field, kind, source, options;
    fields >> skipped >> skipped >> skipped >> shown >> point;
    while (fields >> field && field != "-") continue;
    fields >> kind >> source >> options;
    if (unified ? kind == "cgroup2" : kind == "cgroup" && lists(options, controller))
      return Mount{shown, point};
  }
  return std::nullopt;
}

Groups groups_of(const std::string& root, const std::string& controller) {
  const auto member = membership(root, controller);
  const auto mount = member ? mount_of(root, controller, member->unified) : std::nullopt;
  if (!mount) return {};
  Groups groups{.unified = member->unified, .folders = {}};
  std::string below = member->path;
  if (mount->shown != "/") below = below.starts_with(mount->shown) ? below.substr(mount->shown.size()) : "";
  while (below.find_first_not_of('/') != std::string::npos) {
    groups.folders.push_back(root + mount->point + below);
    below.resize(below.rfind('/'));
  }
  groups.folders.push_back(root + mount->point);
  return groups;
}

/// The number in a word; nothing for "max", a negative one or none.
std::optional<int64_t> number(const std::string& word) {
  const auto value = parse_number<int64_t>(word);
  return value && *value >= 0 ? value : std::nullopt;
}

/// The first number of a file.
std::optional<int64_t> number_in(const std::string& path) {
  std::string word;
  std::ifstream(path) >> word;
  return number(word);
}

/// Quota and period of one group.
std::optional<double> quota_in(const std::string& folder, bool unified) {
  std::optional<int64_t> quota, period;
  if (unified) {
    std::string first, second;
    std::ifstream(folder + "/cpu.max") >> first >> second;
    quota = number(first), period = number(second);
  } else {
    quota = number_in(folder + "/cpu.cfs_quota_us"), period = number_in(folder + "/cpu.cfs_period_us");
  }
  if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

/// Cached files, which a group gives up before it refuses memory.
int64_t cached_bytes(const std::string& folder, bool unified) {
  const std::string prefix = unified ? "" : "total_";
  std::ifstream file(folder + "/memory.stat");
  int64_t bytes = 0, value = 0;
  for (std::string key; file >> key >> value;) {
    if (key == prefix + "inactive_file" || key == prefix + "active_file") bytes += value;
  }
  return bytes;
}

std::optional<int64_t> free_in(const std::string& folder, bool unified) {
  const auto limit = number_in(folder + (unified ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used = number_in(folder + (unified ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!limit || !used) return std::nullopt;
  const int64_t held = std::max<int64_t>(0, *used - cached_bytes(folder, unified));
  return std::max<int64_t>(0, *limit - held);
}

/// The least that `ask(folder, unified)` says of the groups that a process is in.
template <typename Ask>
auto least(const Groups& groups, const Ask& ask) {
  decltype(ask(std::string(), true)) least;
  for (const std::string& folder : groups.folders) {
    const auto of_folder = ask(folder, groups.unified);
    if (of_folder && (!least || *of_folder < *least)) least = of_folder;
  }
  return least;
}

}  // namespace

std::optional<double> cpu_quota(const std::string& root) { return least(groups_of(root, "cpu"), quota_in); }

std::optional<int64_t> group_memory_bytes(const std::string& root) {
  return least(groups_of(root, "memory"), free_in);
}

}  // namespace lasnet
