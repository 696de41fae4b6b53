// Time since construction.
#pragma once

#include <time.h>

namespace lasnet {

/// `wall`: what a clock on the wall shows. `thread`: processor time of the calling thread, in which the work
/// of other programs on the same processor does not count.
enum class TimeSource { wall, thread };

class Stopwatch {
 public:
  explicit Stopwatch(TimeSource source = TimeSource::wall)
      : clock_(source == TimeSource::wall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID), start_(now()) {}

  double seconds() const { return now() - start_; }

 private:
  double now() const {
    timespec time = {};
    clock_gettime(clock_, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }

  clockid_t clock_;
  double start_;
};

}  // namespace lasnet
