// The image files of a run: names, sizes and times, by which a resumed run sees that one was replaced.
#pragma once

#include <span>
#include <string>

namespace lasnet {

/// One line per file, `<size> <time in ns> <name below root>`, in name order.
std::string list_files(const std::string& root, std::span<const std::string> paths);

/// Of a list, what copies of the files on another machine have too: `<size> <name below root>`.
std::string without_times(const std::string& list);

/// How the files of two lists differ.
struct ListDifference {
  std::string content;  ///< names files that are missing, new or of another size; empty if none is
  std::string times;    ///< the same of files that only have another time
};
ListDifference compare_lists(const std::string& before, const std::string& now);

}  // namespace lasnet
