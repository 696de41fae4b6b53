// The device as the engine sees it: memory, streams, graphs and events that free themselves. Names no CUDA
// type; runtime.cc implements it, and tests replace it by memory of the host.
//
// Every function throws Error when CUDA reports a failure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/math.h"
#include "lasnet/engine.h"
#include "lasnet/error.h"

namespace lasnet::cuda {

/// Properties of the current device that shape launches.
struct DeviceLimits {
  int multiprocessors = 1;
  int64_t shared_bytes_per_block = 0;  ///< with opt-in
  std::string name = {};               ///< as CUDA has it
  double clock_hz = 0;                 ///< highest, of the multiprocessors
  double memory_bytes_per_s = 0;       ///< peak, by its clock and width
  bool runs_hopper = false;            ///< tiles for compute capability 9.0
};

/// The backend's device is this thread's current one meanwhile; then the caller's is again. Memory, streams
/// and kernels belong to the current device: who calls the functions below holds one of these.
class DeviceScope {
 public:
  DeviceScope();
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int callers_ = -1;  ///< less than 0: none to go back to
};

/// The device, initialised. Throws Error (no device, old driver, a device that cannot run `precision`),
/// suggesting the CPU.
DeviceLimits require_device(Precision precision);

/// What DeviceBuffer throws when the device has too little memory left.
class OutOfDeviceMemory : public Error {
 public:
  using Error::Error;
};

/// Owns device memory. Move-only.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Zeroed. `purpose` completes "... needs N MiB of device memory" when there is too little.
  DeviceBuffer(int64_t bytes, const std::string& purpose);

  void* data() const { return data_.get(); }
  int64_t bytes() const { return bytes_; }
  /// Blocking copies.
  void upload(const void* from, int64_t bytes);

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  int64_t bytes_ = 0;
};

/// Page-locked host memory, so that copies run at full speed and asynchronously. Move-only.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(int64_t bytes);

  void* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
};

/// A captured sequence of work. Move-only.
class Graph {
 public:
  Graph() = default;
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  friend class Stream;
  struct Destroy {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Destroy> handle_;
};

/// An ordered queue of work on the device. Move-only; used by one thread at a time.
class Stream {
 public:
  Stream();

  void copy_to_device(void* to, const void* from, int64_t bytes);
  void copy_to_host(void* to, const void* from, int64_t bytes);
  void fill(void* to, uint8_t value, int64_t bytes);
  /// Waits for everything, and reports what failed on the device.
  void synchronize();
  /// Waits for everything after an exception, whatever failed.
  void settle() noexcept;

  /// What follows here starts when all of the other stream's work so far has ended. A stream that waits for
  /// one that is recorded is recorded with it; the recorded one has to wait for it in turn before the end.
  void wait_for(Stream& other);

  /// Until end_capture, work of this stream is recorded instead of run.
  void begin_capture();
  Graph end_capture();
  /// Gives up a capture after an exception; never throws.
  void abandon_capture() noexcept;
  void run(const Graph& graph);

  /// Whether the newest work is a kernel, and kernels may overlap at their ends here.
  bool follows_kernel() const { return overlaps_kernels_ && follows_kernel_; }
  void note_kernel() { follows_kernel_ = true; }
  void note_other() { follows_kernel_ = false; }

  void* handle() const { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(void* p) const;
  };
  struct DestroyMarker {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Destroy> handle_;
  std::unique_ptr<void, DestroyMarker> marker_;  ///< of the work so far
  bool overlaps_kernels_ = false;                ///< whether the kernels know how to wait for each other
  bool follows_kernel_ = false;
};

/// A point in a stream's work.
class Event {
 public:
  Event();

  void record(Stream& stream);
  /// Seconds between two events that have happened.
  static double seconds_between(const Event& begin, const Event& end);

 private:
  struct Destroy {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Destroy> handle_;
};

/// The architecture that what runs on the current device was compiled for, as in __CUDA_ARCH__ / 10 (90:
/// compute capability 9.0), which may be older than the device; 0: there is nothing that it can run
/// (probe.cu).
int code_architecture();

/// Whether this build has code of `hopper` tiles that the current device runs (hopper_probe.cu).
bool runs_hopper();
/// As code_architecture, of one kernel: the address of a __global__ function.
int architecture_of(const void* kernel);

/// Launch plumbing. `kernel`: address of a __global__ function.
void allow_shared_memory(const void* kernel, int64_t bytes);
/// `error`: a cudaError_t.
void check_launch(int error);
/// Blocks that fill the device, at most `work`: a persistent kernel's grid.
int64_t persistent_blocks(const void* kernel, int threads, int64_t shared_bytes, int64_t work);
/// Teams of threads that a persistent kernel's block is made of.
struct TeamShape {
  int threads = 32;
  int64_t shared_bytes = 0;
  int most = 1;  ///< in a block
};
struct PersistentShape {
  int64_t blocks = 1;
  int teams = 1;  ///< of each
};
/// Teams of a block: as many as fit it, but no more than a multiprocessor's share of `work` (> 0) needs.
inline int teams_of_block(const DeviceLimits& device, const TeamShape& team, int64_t work) {
  int64_t fitting = std::min<int64_t>(team.most, device.shared_bytes_per_block / team.shared_bytes);
  int64_t share = ceil_div(work, device.multiprocessors);
  return static_cast<int>(std::min(std::max<int64_t>(1, fitting), share));
}
/// Teams and blocks that fill the device, no more than `work` needs with a multiprocessor's share for each
/// block.
PersistentShape persistent_shape(const void* kernel, const TeamShape& team, int64_t work);

}  // namespace lasnet::cuda
