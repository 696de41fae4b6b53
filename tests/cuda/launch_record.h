// What a run of the cuda backend launches on the emulated device, as data and as text.
#pragma once

#include <string>
#include <vector>

#include "cuda_emulation.h"
#include "lasnet/engine.h"

namespace lasnet::test {

using cuda::emulation::Launch;

/// While it lives, this thread's launches are noted, on a device of 132 multiprocessors.
class LaunchRecorder {
 public:
  /// `runs_kernels`: else nothing is computed, so that large networks take no time.
  explicit LaunchRecorder(bool runs_kernels = false, bool hopper = false);
  ~LaunchRecorder();
  LaunchRecorder(const LaunchRecorder&) = delete;
  LaunchRecorder& operator=(const LaunchRecorder&) = delete;

  std::vector<Launch> launches;

 private:
  cuda::emulation::Settings before_;
};

/// Whether the launch has this name, or is of a kernel whose first argument is of this type: "ConvCall".
bool is_launch_of(const Launch& launch, const char* type);

/// A line per launch: what it is, its shape and all arguments. Buffers, streams and kernels are numbered in
/// the order in which they are first named; places are offsets into buffers, which have to be there still.
std::string to_text(const std::vector<Launch>& launches);

}  // namespace lasnet::test
