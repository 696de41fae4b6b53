// The names of a model's classes in a text file, as people and their spreadsheets write it.
#pragma once

#include <string>
#include <vector>

namespace lasnet::cli {

struct ClassList {
  std::vector<std::string> names;
  std::vector<std::string> folders;  ///< of each class, from a file of two columns; else empty
};

/// One class per line: its name, or its folder, a tab and its name. A byte order mark, the line ends of
/// Windows and blank lines at the end are no names. Throws Error naming the file and the line.
ClassList read_class_list(const std::string& path);

}  // namespace lasnet::cli
