#include "class_list.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "base/fail.h"
#include "base/file.h"

namespace lasnet::cli {
namespace {

bool is_blank(const std::string& line) { return line.find_first_not_of(" \t\r") == std::string::npos; }

/// The text of a file in UTF-8, without its byte order mark.
std::string read_text(const std::string& path) {
  constexpr uint64_t kMaxBytes = 64 << 20;
  const std::vector<uint8_t> bytes = read_file(path, kMaxBytes);
  std::string text(bytes.begin(), bytes.end());
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
    fail("{}: its text is UTF-16; save it as UTF-8", path);
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  return text;
}

/// Up to the last line that is not blank.
std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
  }
  while (!lines.empty() && is_blank(lines.back())) lines.pop_back();
  return lines;
}

}  // namespace

ClassList read_class_list(const std::string& path) {
  const std::vector<std::string> lines = lines_of(read_text(path));
  if (lines.empty()) fail("{}: expected one class name per line, got nothing", path);
  const bool two_columns = lines.front().find('\t') != std::string::npos;
  ClassList list;
  std::set<std::string> folders;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (is_blank(line)) fail("{}:{}: empty line; expected one class name per line", path, i + 1);
    const size_t tab = line.find('\t');
    if (!two_columns && tab == std::string::npos) {
      list.names.push_back(line);
      continue;
    }
    const bool fits = two_columns && tab != std::string::npos && tab > 0 && tab + 1 < line.size() &&
                      line.find('\t', tab + 1) == std::string::npos;
    if (!fits) {
      fail(
          "{}:{}: '{}'; expected on every line a class name, or on every line a folder, a tab and a class "
          "name",
          path, i + 1, line);
    }
    list.folders.push_back(line.substr(0, tab));
    list.names.push_back(line.substr(tab + 1));
    if (!folders.insert(list.folders.back()).second)
      fail("{}:{}: the folder '{}' is there twice; expected another for each class", path, i + 1,
           list.folders.back());
  }
  return list;
}

}  // namespace lasnet::cli
