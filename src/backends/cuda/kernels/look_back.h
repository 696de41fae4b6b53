// How much the chunks before one hold together, while others work on them: decoupled look-back (after Merrill
// and Garland 2016).
//
//   before(c) = sum over chunks i < c of count(i)
//
// Each chunk publishes its own count at once and, when it knows it, the sum up to and with it. One that looks
// back adds counts until it meets a sum. A chunk is worked on by the block of its index. A device starts the
// blocks of a grid in order of their index, as scans of CUB count on too, so that a block waits for started
// ones only.
//
// What chunks publish names the launch that they belong to, so that nothing has to be set back. The chunk
// that comes last counts the launch when it has looked back: by then every other one has published, and so
// has read the count. A cell's 64 bits are written at once, and each store here follows from what was loaded
// before it, so that no fences are needed.
#pragma once

#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"

namespace lasnet::cuda {

/// What a chunk has published: a state and the launch, of which 30 bits count, above a number of entries.
enum : unsigned { kNothing = 0, kOwnCount = 1, kUpToHere = 2 };
inline constexpr int kLaunchBits = 30;
inline constexpr unsigned kLaunchMask = (1u << kLaunchBits) - 1;

LASNET_HOST_DEVICE inline unsigned long long published(unsigned state, unsigned long long launch,
                                                       int entries) {
  unsigned mark = state << kLaunchBits | (static_cast<unsigned>(launch) & kLaunchMask);
  return static_cast<unsigned long long>(mark) << 32 | static_cast<unsigned>(entries);
}
/// What other launches left is nothing.
LASNET_HOST_DEVICE inline unsigned state_in(unsigned long long cell, unsigned long long launch) {
  auto mark = static_cast<unsigned>(cell >> 32);
  return ((mark ^ static_cast<unsigned>(launch)) & kLaunchMask) == 0 ? mark >> kLaunchBits : kNothing;
}

/// Looks back from a chunk. All lanes of one warp make it and call it together.
class LookBack {
 public:
  __device__ LookBack(const ListProgress& progress, int chunk, int chunks)
      : progress_(progress), chunk_(chunk), chunks_(chunks) {}

  /// Starts to read which launch this is; comes first.
  __device__ void start() { launch_ = load_volatile(progress_.launches); }

  /// What chunks before it hold, of a chunk that holds `count`. May wait for them.
  __device__ int before(int count) {
    // Every lane's number is the one that lane 0 publishes, read before the launch can be over.
    launch_ = __shfl_sync(kWholeWarp, launch_, 0);
    if (chunk_ > 0) publish(kOwnCount, count);
    int sum = sum_before();
    publish(kUpToHere, sum + count);
    if (lane_index() == 0 && chunk_ == chunks_ - 1) store_volatile(progress_.launches, launch_ + 1);
    return sum;
  }

 private:
  /// Chunks per lane that are read at once.
  static constexpr int kReads = 8;

  __device__ void publish(unsigned state, int entries) {
    if (lane_index() == 0) store_volatile(progress_.cells + chunk_, published(state, launch_, entries));
  }

  /// From the nearest on; a lane's reads do not wait for each other.
  __device__ int sum_before() {
    int sum = 0;
    for (int last = chunk_ - 1; last >= 0; last -= kReads * 32) {
      unsigned long long cells[kReads];
      bool all_published;
      do {
        all_published = true;
        for (int i = 0; i < kReads; ++i) {
          int other = last - 32 * i - lane_index();
          cells[i] = load_volatile(progress_.cells + (other > 0 ? other : 0));
        }
        for (int i = 0; i < kReads; ++i) all_published &= state_in(cells[i], launch_) != kNothing;
      } while (__ballot_sync(kWholeWarp, !all_published) != 0);
      int nearest = kReads * 32;  // that knows its sum; the first chunk does
      for (int i = kReads - 1; i >= 0; --i) {
        unsigned know = __ballot_sync(kWholeWarp, state_in(cells[i], launch_) == kUpToHere);
        if (know != 0) nearest = 32 * i + __ffs(static_cast<int>(know)) - 1;
      }
      for (int i = 0; i < kReads; ++i) {
        if (32 * i + lane_index() <= nearest) sum += static_cast<int>(cells[i]);
      }
      if (nearest < kReads * 32) break;
    }
    return warp_sum(sum);
  }

  ListProgress progress_;
  int chunk_, chunks_;
  unsigned long long launch_ = 0;
};

}  // namespace lasnet::cuda
