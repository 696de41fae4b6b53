// Stands in for gloo_group.cc where libtorch's or Gloo's headers are missing.
#include "base/fail.h"
#include "train/process_group.h"

namespace lasnet {

bool trains_with_processes() { return false; }

std::unique_ptr<ProcessGroup> join_processes(const Processes& processes) {
  fail(
      "{} processes were started, but this lasnet was built without Gloo, by which they would speak to each "
      "other; install its headers (Debian: libgloo-dev) and build again, or train with one process",
      processes.size);
}

}  // namespace lasnet
