// A progress bar on standard error: how far, how fast, how long still.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lasnet::cli {

/// On a terminal, a bar that is redrawn in place at most ten times a second. Elsewhere a plain line now and
/// then, so that log files stay short. Not thread safe.
class Progress {
 public:
  /// `unit` is what is counted, e.g. "images"; `begun` of them were finished before, and say nothing about
  /// the rate.
  Progress(std::string label, int64_t total, std::string unit, int64_t begun = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total` are finished; `note` is appended as it is.
  void update(int64_t done, const std::string& note = "");
  /// Removes the bar from the terminal, so that other text can be written.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::string line(int64_t done, const std::string& note, double elapsed_s) const;

  std::string label_, unit_;
  int64_t total_, begun_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_, last_;
};

}  // namespace lasnet::cli
