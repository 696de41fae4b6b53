// One line of JSON per request, written by a thread of its own: a reader that is slow or gone holds up no
// request.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "http.h"

namespace lasnet::serve {

class AccessLog {
 public:
  /// Writes to standard output where `path` is "". `on_lost` is told how many lines there was no room for.
  /// Throws Error if the file cannot be opened.
  AccessLog(const std::string& path, std::function<void(size_t)> on_lost);
  /// Writes what is left, for a second at most.
  ~AccessLog();

  /// From any thread; never waits for the file.
  void write(const Json& line);
  /// Opens the file again, which something may have moved away.
  void reopen();

 private:
  static constexpr size_t kMaxLines = 20'000;

  void open();
  void run();

  const std::string path_;
  const std::function<void(size_t)> on_lost_;
  int file_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  bool reopen_ = false, is_ending_ = false;
  std::thread thread_;
};

}  // namespace lasnet::serve
