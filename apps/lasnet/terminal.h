// Text that is pleasant to read on a terminal: emphasis, bars, aligned tables, and numbers with units.
#pragma once

#include <string>
#include <vector>

namespace lasnet::cli {

/// Emphasis on standard output; plain text when that is not a terminal or NO_COLOR is set.
std::string bold(const std::string& text);
std::string dim(const std::string& text);
std::string accent(const std::string& text);

/// A horizontal bar of `width` characters, filled to `fraction` (clamped to [0, 1]) in eighths of a
/// character.
std::string bar(double fraction, int width);

/// Characters that UTF-8 text occupies, escape sequences apart.
int display_width(const std::string& text);

/// "1.82 G", "12.3 M", "456 k", "7".
std::string format_count(double value);
/// "68.0 M of 158 M"; "8.77 M, maskers included, instead of 8.76 M" where nothing is saved.
std::string format_macs(double macs, double static_macs);
/// "47.3 %".
std::string format_percent(double fraction);
/// "3.21 ms", "412 ms".
std::string format_ms(double milliseconds);
/// As format_ms, told apart to the microsecond: "0.043 ms", "1.234 ms", "12.34 ms", "412.0 ms".
std::string format_fine_ms(double milliseconds);
/// "1.52x faster", "1.52x slower", or "as fast" as rounded.
std::string format_speedup(double ratio);
/// "1:02:03" or "2:03".
std::string format_duration(double seconds);

/// As one word of a shell's command line.
std::string shell_quoted(const std::string& text);

/// Rows of cells under headers. A header that starts with '>' aligns its column to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> headers);

  void add_row(std::vector<std::string> cells);
  /// A line between the rows before and after.
  void add_rule();
  /// Each line starts with `indent` spaces and ends with a newline.
  std::string to_string(int indent = 0) const;

 private:
  std::vector<std::string> headers_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

}  // namespace lasnet::cli
