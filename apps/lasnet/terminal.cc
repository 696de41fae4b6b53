#include "terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace lasnet::cli {
namespace {

std::string styled(const std::string& text, const char* code) {
  static const bool enabled = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return enabled && !text.empty() ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
}

std::string repeated(const std::string& piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

}  // namespace

std::string bold(const std::string& text) { return styled(text, "1"); }
std::string dim(const std::string& text) { return styled(text, "2"); }
std::string accent(const std::string& text) { return styled(text, "36"); }

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

std::string shell_quoted(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("/._-+=:,@%").find(static_cast<char>(c)) != std::string::npos;
  });
  if (plain) return text;
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
  return result + "'";
}

Table::Table(std::vector<std::string> headers) : headers_(std::move(headers)) {
  for (auto& header : headers_) {
    right_.push_back(header.starts_with('>'));
    if (right_.back()) header.erase(0, 1);
  }
}

void Table::add_row(std::vector<std::string> cells) {
  cells.resize(headers_.size());
  rows_.push_back(std::move(cells));
}

void Table::add_rule() { rows_.emplace_back(); }

std::string Table::to_string(int indent) const {
  std::vector<int> widths;
  for (size_t column = 0; column < headers_.size(); ++column) {
    int width = display_width(headers_[column]);
    for (const auto& row : rows_) width = std::max(width, row.empty() ? 0 : display_width(row[column]));
    widths.push_back(width);
  }
  int total = 2 * (static_cast<int>(widths.size()) - 1);
  for (const int width : widths) total += width;
  const std::string margin(static_cast<size_t>(indent), ' ');
  const std::string rule = margin + dim(repeated("─", total)) + "\n";

  const auto line = [&](const std::vector<std::string>& cells, bool header) {
    std::string text;
    for (size_t column = 0; column < cells.size(); ++column) {
      const std::string padding(static_cast<size_t>(widths[column] - display_width(cells[column])), ' ');
      if (column > 0) text += "  ";
      text += right_[column] ? padding + cells[column] : cells[column] + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return margin + (header ? dim(text) : text) + "\n";
  };

  std::string text = line(headers_, true) + rule;
  for (const auto& row : rows_) text += row.empty() ? rule : line(row, false);
  return text;
}

}  // namespace lasnet::cli
