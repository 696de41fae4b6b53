// How long each operation of a block takes, where a run asks for it.
#pragma once

#include <algorithm>
#include <vector>

#include "base/stopwatch.h"
#include "engine/executable.h"

namespace lasnet {

class OperationClock {
 public:
  /// `seconds` has an entry for each operation of the block.
  OperationClock(const RunRequest& request, std::vector<double>& seconds)
      : request_(request), seconds_(seconds) {
    if (request_.time_operations) std::fill(seconds_.begin(), seconds_.end(), 0.0);
  }

  /// Runs an operation or a part of it, and adds its time.
  template <typename Part>
  void time(size_t operation, const Part& part) {
    if (!request_.time_operations) return part();
    const Stopwatch watch(request_.time);
    part();
    seconds_[operation] += watch.seconds();
  }

 private:
  const RunRequest& request_;
  std::vector<double>& seconds_;
};

}  // namespace lasnet
