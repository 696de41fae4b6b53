// Text that is pleasant to read on a terminal: emphasis, bars, aligned tables, and numbers with units.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lasnet::cli {

/// Whether the file descriptor is a terminal that can redraw a line: one that TERM does not call dumb.
bool is_terminal(int descriptor);
/// Whether text on it is emphasised: it is such a terminal, and NO_COLOR is not set (https://no-color.org).
bool has_colours(int descriptor);
/// Characters in a line of standard output; 0 where that is no terminal, and lines may have any length.
int terminal_columns();

/// Text of which only newlines and the emphasis below reach a terminal; everything else that would steer it
/// is escaped.
std::string safe_to_print(std::string_view text);

/// Emphasis on standard output of one line of text, which is escaped; plain where it has no colours.
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
/// S of a block: "4", "layer", or "-" in a static one.
std::string format_granularity(int granularity);
/// "3.21 ms", "412 ms".
std::string format_ms(double milliseconds);
/// As format_ms, told apart to the microsecond: "0.043 ms", "1.234 ms", "12.34 ms", "412.0 ms".
std::string format_fine_ms(double milliseconds);
/// "1.52x faster", "1.52x slower", or "as fast" as rounded.
std::string format_speedup(double ratio);
/// "1:02:03" or "2:03".
std::string format_duration(double seconds);

/// Rows of cells under headers. A header that starts with '>' aligns its column to the right. Cells are one
/// line of text each, escaped.
class Table {
 public:
  explicit Table(std::vector<std::string> headers);

  void add_row(std::vector<std::string> cells);
  /// A line between the rows before and after.
  void add_rule();
  /// Each line starts with `indent` spaces and ends with a newline. Where a line has more than `columns`
  /// characters (0: any number), the widest columns of text are wrapped.
  std::string to_string(int indent = 0, int columns = terminal_columns()) const;

 private:
  /// Of each column, in lines of at most `columns` characters (0: any number).
  std::vector<int> widths(int columns) const;
  /// A row's lines: more than one where a cell is wrapped.
  std::vector<std::string> lines(std::vector<std::string> cells, const std::vector<int>& widths) const;

  std::vector<std::string> headers_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

}  // namespace lasnet::cli
