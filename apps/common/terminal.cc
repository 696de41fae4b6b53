#include "terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string_view>
#include <utility>

#include "base/escape.h"
#include "lasnet/model.h"

namespace lasnet::cli {
namespace {

constexpr std::string_view kBold = "\x1b[1m", kDim = "\x1b[2m", kAccent = "\x1b[36m", kPlain = "\x1b[0m";

bool is_emphasised() {
  static const bool enabled = has_colours(STDOUT_FILENO);
  return enabled;
}

/// One line of text, escaped but for this program's own emphasis.
std::string escape_but_styles(std::string_view text) {
  if (!is_emphasised()) return escaped(text);
  std::string result;
  while (!text.empty()) {
    const size_t begin = std::min(text.find('\x1b'), text.size());
    result += escaped(text.substr(0, begin));
    text.remove_prefix(begin);
    if (text.empty()) break;
    const std::string_view styles[] = {kBold, kDim, kAccent, kPlain};
    const auto style = std::find_if(std::begin(styles), std::end(styles),
                                    [text](std::string_view known) { return text.starts_with(known); });
    const bool known = style != std::end(styles);
    result += known ? std::string(*style) : escaped(text.substr(0, 1));
    text.remove_prefix(known ? style->size() : 1);
  }
  return result;
}

std::string styled(const std::string& text, std::string_view style) {
  const std::string shown = escape_but_styles(text);
  return is_emphasised() && !text.empty() ? fmt::format("{}{}{}", style, shown, kPlain) : shown;
}

/// A number in the environment; 0 if there is none.
int environment_number(const char* name) {
  const char* text = std::getenv(name);
  int number = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

std::string repeated(const std::string& piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

}  // namespace

bool is_terminal(int descriptor) {
  const char* kind = std::getenv("TERM");
  return isatty(descriptor) != 0 && (kind == nullptr || std::string_view(kind) != "dumb");
}

bool has_colours(int descriptor) {
  const char* refused = std::getenv("NO_COLOR");
  return is_terminal(descriptor) && (refused == nullptr || *refused == '\0');
}

int terminal_columns() {
  constexpr int kUsual = 80;
  if (isatty(STDOUT_FILENO) == 0) return 0;
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const int columns = environment_number("COLUMNS");
  return columns > 0 ? columns : kUsual;
}

std::string safe_to_print(std::string_view text) {
  std::string result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    result += escape_but_styles(text.substr(begin, end - begin));
    if (end < text.size()) result += '\n';
    begin = end + 1;
  }
  return result;
}

std::string bold(const std::string& text) { return styled(text, kBold); }
std::string dim(const std::string& text) { return styled(text, kDim); }
std::string accent(const std::string& text) { return styled(text, kAccent); }

std::string bar(double fraction, int width) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::lround(std::clamp(fraction, 0.0, 1.0) * width * 8));
  const int full = eighths / 8;
  const std::string filled = repeated("█", full) + kEighths[eighths % 8];
  return filled + repeated(" ", width - full - (eighths % 8 > 0 ? 1 : 0));
}

int display_width(const std::string& text) {
  int width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = std::min(text.find('m', i), text.size() - 1);
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string format_count(double value) {
  for (const auto& [unit, name] : {std::pair{1e9, "G"}, std::pair{1e6, "M"}, std::pair{1e3, "k"}}) {
    if (value < unit) continue;
    const double scaled = value / unit;
    return fmt::format("{:.{}f} {}", scaled, scaled < 10 ? 2 : scaled < 100 ? 1 : 0, name);
  }
  return fmt::format("{:.0f}", value);
}

std::string format_percent(double fraction) { return fmt::format("{:.1f} %", 100 * fraction); }

std::string format_granularity(int granularity) {
  return granularity > 0 ? patch_side_to_string(granularity) : "-";
}

std::string format_macs(double macs, double static_macs) {
  return fmt::format("{}{}{}", format_count(macs),
                     macs <= static_macs ? " of " : ", maskers included, instead of ",
                     format_count(static_macs));
}

std::string format_ms(double milliseconds) {
  return fmt::format("{:.{}f} ms", milliseconds, milliseconds < 10 ? 2 : milliseconds < 100 ? 1 : 0);
}

std::string format_fine_ms(double milliseconds) {
  return fmt::format("{:.{}f} ms", milliseconds, milliseconds < 10 ? 3 : milliseconds < 100 ? 2 : 1);
}

std::string format_speedup(double ratio) {
  const double shown = std::max(ratio, 1 / ratio);
  if (shown < 1.005) return "as fast";
  return fmt::format("{:.2f}x {}", shown, ratio > 1 ? "faster" : "slower");
}

std::string format_duration(double seconds) {
  const auto total = static_cast<long>(std::ceil(seconds));
  if (total >= 3600) return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{}:{:02}", total / 60, total % 60);
}

Table::Table(std::vector<std::string> headers) : headers_(std::move(headers)) {
  for (auto& header : headers_) {
    right_.push_back(header.starts_with('>'));
    if (right_.back()) header.erase(0, 1);
  }
}

namespace {

constexpr int kGap = 2;         ///< between columns
constexpr int kNarrowest = 12;  ///< a column is not wrapped to less
constexpr int kWidest = 200;    ///< longer cells are cut

int total_width(const std::vector<int>& widths) {
  return std::accumulate(widths.begin(), widths.end(), kGap * (static_cast<int>(widths.size()) - 1));
}

/// Bytes of a text's first `width` characters.
size_t bytes_of(std::string_view text, int width) {
  size_t bytes = 0;
  for (; bytes < text.size() && (width > 0 || (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80);
       ++bytes) {
    if ((static_cast<unsigned char>(text[bytes]) & 0xC0) != 0x80) --width;
  }
  return bytes;
}

/// A cell that would make its column too wide; emphasised text is not cut.
std::string cut(std::string cell) {
  if (display_width(cell) <= kWidest || cell.find('\x1b') != cell.npos) return cell;
  return cell.substr(0, bytes_of(cell, kWidest)) + "...";
}

/// Takes the first line of at most `width` characters from the cell: it ends after a space or a comma if
/// there is one. Emphasised text is not cut.
std::string take_line(std::string& cell, int width) {
  if (display_width(cell) <= width || cell.find('\x1b') != cell.npos) return std::exchange(cell, "");
  const size_t most = bytes_of(cell, width);
  const size_t split = cell.find_last_of(" ,", most - 1);
  const size_t bytes = split == cell.npos ? most : split + 1;
  std::string line = cell.substr(0, bytes);
  cell.erase(0, bytes);
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  cells.resize(headers_.size());
  for (std::string& cell : cells) cell = cut(escape_but_styles(cell));
  rows_.push_back(std::move(cells));
}

void Table::add_rule() { rows_.emplace_back(); }

std::vector<int> Table::widths(int columns) const {
  std::vector<int> widths;
  std::vector<bool> wraps;
  for (size_t column = 0; column < headers_.size(); ++column) {
    int width = display_width(headers_[column]);
    bool plain = !right_[column];
    for (const auto& row : rows_) {
      if (row.empty()) continue;
      width = std::max(width, display_width(row[column]));
      plain = plain && row[column].find('\x1b') == std::string::npos;
    }
    widths.push_back(width);
    wraps.push_back(plain);
  }
  while (columns > 0 && total_width(widths) > columns) {
    size_t widest = widths.size();
    for (size_t column = 0; column < widths.size(); ++column) {
      if (!wraps[column] || widths[column] <= kNarrowest) continue;
      if (widest == widths.size() || widths[column] > widths[widest]) widest = column;
    }
    if (widest == widths.size()) break;
    --widths[widest];
  }
  return widths;
}

std::vector<std::string> Table::lines(std::vector<std::string> cells, const std::vector<int>& widths) const {
  std::vector<std::string> lines;
  do {
    std::string& line = lines.emplace_back();
    for (size_t column = 0; column < cells.size(); ++column) {
      const std::string cell = take_line(cells[column], widths[column]);
      const std::string padding(static_cast<size_t>(std::max(0, widths[column] - display_width(cell))), ' ');
      if (column > 0) line.append(kGap, ' ');
      line += right_[column] ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
  } while (std::any_of(cells.begin(), cells.end(), [](const auto& cell) { return !cell.empty(); }));
  return lines;
}

std::string Table::to_string(int indent, int columns) const {
  const std::vector<int> column_widths = widths(columns > 0 ? std::max(1, columns - indent) : 0);
  const std::string margin(static_cast<size_t>(indent), ' ');
  const std::string rule = margin + dim(repeated("─", total_width(column_widths))) + "\n";
  std::string text;
  for (const std::string& line : lines(headers_, column_widths)) text += margin + dim(line) + "\n";
  text += rule;
  for (const auto& row : rows_) {
    if (row.empty()) {
      text += rule;
      continue;
    }
    for (const std::string& line : lines(row, column_widths)) text += margin + line + "\n";
  }
  return text;
}

}  // namespace lasnet::cli
