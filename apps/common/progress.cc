#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/escape.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kPlainLine{20};
constexpr int kBarWidth = 24;

}  // namespace

Progress::Progress(std::string label, int64_t total, std::string unit, int64_t begun)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(std::max<int64_t>(total, 1)),
      begun_(begun),
      terminal_(is_terminal(STDERR_FILENO)),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() { clear(); }

void Progress::update(int64_t done, const std::string& note) {
  const auto now = Clock::now();
  const bool due = now - last_ >= (terminal_ ? Clock::duration(kRedraw) : Clock::duration(kPlainLine));
  if (!due) return;
  last_ = now;
  const std::string text = escaped(line(done, note, std::chrono::duration<double>(now - start_).count()));
  if (terminal_) {
    std::fprintf(stderr, "\r\x1b[2K%s", text.c_str());
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

void Progress::clear() {
  if (drawn_) std::fputs("\r\x1b[2K", stderr);
  drawn_ = false;
}

std::string Progress::line(int64_t done, const std::string& note, double elapsed_s) const {
  const double fraction = static_cast<double>(done) / static_cast<double>(total_);
  const double rate = static_cast<double>(done - begun_) / std::max(elapsed_s, 1e-9);
  std::string text = label_ + " ";
  if (terminal_) text += "▕" + bar(fraction, kBarWidth) + "▏ ";
  text += fmt::format("{:3.0f} %  {}/{}  {:.{}f} {}/s", 100 * fraction, done, total_, rate, rate < 10 ? 1 : 0,
                      unit_);
  if (done > begun_ && done < total_)
    text += fmt::format("  {} left", format_duration((total_ - done) / rate));
  return note.empty() ? text : text + "  " + note;
}

}  // namespace lasnet::cli
