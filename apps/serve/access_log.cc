#include "access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "base/escape.h"
#include "base/fail.h"
#include "log.h"

namespace lasnet::serve {
namespace {

constexpr int kLastWaitMs = 1000;

/// Whether all of it was written. When the program ends, a reader has a second to make room.
bool write_all(int file, std::string_view text, bool is_ending) {
  while (!text.empty()) {
    pollfd ready{file, POLLOUT, 0};
    if (is_ending && poll(&ready, 1, kLastWaitMs) <= 0) return false;
    // Small enough for a pipe that is ready to take it at once.
    const ssize_t written = ::write(file, text.data(), std::min<size_t>(text.size(), 4096));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

AccessLog::AccessLog(const std::string& path, std::function<void(size_t)> on_lost)
    : path_(path), on_lost_(std::move(on_lost)) {
  open();
  if (file_ < 0) fail("access log {}: cannot be opened: {}", path_, std::strerror(errno));
  thread_ = std::thread([this] { run(); });
}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
  if (!path_.empty()) close(file_);
}

void AccessLog::open() {
  constexpr mode_t kMode = 0640;
  file_ =
      path_.empty() ? STDOUT_FILENO : ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, kMode);
}

void AccessLog::write(const Json& line) {
  std::string text = escaped_json(line.dump(-1, ' ', false, Json::error_handler_t::replace)) + "\n";
  {
    const std::lock_guard lock(mutex_);
    if (lines_.size() >= kMaxLines) return on_lost_(1);
    lines_.push_back(std::move(text));
  }
  changed_.notify_one();
}

void AccessLog::reopen() {
  if (path_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    reopen_ = true;
  }
  changed_.notify_one();
}

void AccessLog::run() {
  std::vector<std::string> lines;
  for (bool is_ending = false; !is_ending;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !lines_.empty() || reopen_ || is_ending_; });
      lines.swap(lines_);
      is_ending = is_ending_;
      if (std::exchange(reopen_, false)) {
        const int before = file_;
        open();
        if (file_ < 0) {
          cli::log_warning(
              fmt::format("access log {}: cannot be opened again: {}", path_, std::strerror(errno)));
          file_ = before;
        } else {
          close(before);
        }
      }
    }
    std::string text;
    for (const std::string& line : lines) text += line;
    if (!write_all(file_, text, is_ending)) on_lost_(lines.size());
    lines.clear();
  }
}

}  // namespace lasnet::serve
