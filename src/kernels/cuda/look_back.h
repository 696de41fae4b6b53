// How much the chunks before one hold together, while others work on them: decoupled look-back (after Merrill
// and Garland 2016).
//
//   before(c) = sum over chunks i < c of count(i)
//
// Each chunk publishes its own count at once and, when it knows it, the sum up to and with it. One that looks
// back adds counts until it meets a sum. Chunks are dealt by a ticket, so that a block waits for started
// blocks only. What chunks publish names the launch that they belong to, so that nothing has to be set back.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {

/// A chunk to work on, and the number of the launch, of which 30 bits count.
struct Ticket {
  int chunk = 0;
  unsigned launch = 0;
};

/// What a chunk has published: a state and the launch above a number of entries.
enum : unsigned { kNothing = 0, kOwnCount = 1, kUpToHere = 2 };
inline constexpr int kLaunchBits = 30;
inline constexpr unsigned kLaunchMask = (1u << kLaunchBits) - 1;

LASNET_HOST_DEVICE inline unsigned long long published(unsigned state, unsigned launch, int entries) {
  return static_cast<unsigned long long>(state << kLaunchBits | launch) << 32 |
         static_cast<unsigned>(entries);
}
/// What other launches left is nothing.
LASNET_HOST_DEVICE inline unsigned state_in(unsigned long long cell, unsigned launch) {
  auto mark = static_cast<unsigned>(cell >> 32);
  return (mark & kLaunchMask) == launch ? mark >> kLaunchBits : kNothing;
}

/// Looks back from the chunks of a block of kThreads threads. All threads call its functions together.
template <int kThreads>
class LookBack {
  static constexpr int kWarps = kThreads / 32;

 public:
  /// Of the block, in shared memory.
  struct Shared {
    int partial[kWarps];
    Ticket ticket;
  };

  __device__ LookBack(const ListProgress& progress, Shared& shared) : progress_(progress), shared_(shared) {}

  /// The next chunk that no block has taken. The last one to come starts the next launch's count.
  __device__ int take(int chunks) {
    is_alone_ = chunks == 1;
    if (is_alone_) return 0;
    if (threadIdx.x == 0) {
      unsigned long long ticket = atomicAdd(progress_.tickets, 1ull);
      shared_.ticket = {static_cast<int>(ticket), static_cast<unsigned>(ticket >> 32) & kLaunchMask};
      if (shared_.ticket.chunk == chunks - 1) atomicAdd(progress_.tickets, (1ull << 32) - chunks);
    }
    __syncthreads();
    ticket_ = shared_.ticket;
    return ticket_.chunk;
  }

  /// What chunks before it hold, of a chunk that holds `count`. May wait for them.
  __device__ int before(int count) {
    if (is_alone_) return 0;
    if (ticket_.chunk > 0) publish(kOwnCount, count);
    int sum = ticket_.chunk > 0 ? sum_before() : 0;
    publish(kUpToHere, sum + count);
    return sum;
  }

  /// Sum of a value over the block, in every thread.
  __device__ static int block_sum(int value, Shared& shared) {
    value = warp_sum(value);
    gather(value, shared);
    int sum = 0;
    for (int i = 0; i < kWarps; ++i) sum += shared.partial[i];
    __syncthreads();
    return sum;
  }

 private:
  __device__ static void gather(int of_warp, Shared& shared) {
    if (threadIdx.x % 32 == 0) shared.partial[threadIdx.x / 32] = of_warp;
    __syncthreads();
  }

  /// Least value over the block, in every thread.
  __device__ static int block_min(int value, Shared& shared) {
    for (int distance = 16; distance > 0; distance /= 2) {
      int other = __shfl_xor_sync(kWholeWarp, value, distance);
      value = other < value ? other : value;
    }
    gather(value, shared);
    for (int i = 0; i < kWarps; ++i) value = shared.partial[i] < value ? shared.partial[i] : value;
    __syncthreads();
    return value;
  }

  __device__ void publish(unsigned state, int entries) {
    if (threadIdx.x == 0)
      store_volatile(progress_.cells + ticket_.chunk, published(state, ticket_.launch, entries));
  }

  /// A chunk per thread and round, from the nearest on.
  __device__ int sum_before() {
    int sum = 0, thread = static_cast<int>(threadIdx.x);
    for (int last = ticket_.chunk - 1; last >= 0; last -= kThreads) {
      int other = last - thread;
      unsigned long long cell = published(kUpToHere, ticket_.launch, 0);
      if (other >= 0) {
        do {
          cell = load_volatile(progress_.cells + other);
        } while (state_in(cell, ticket_.launch) == kNothing);
      }
      bool knows = state_in(cell, ticket_.launch) == kUpToHere;
      int nearest = block_min(knows ? thread : kThreads, shared_);
      sum += block_sum(thread <= nearest ? static_cast<int>(cell) : 0, shared_);
      if (nearest < kThreads) break;
    }
    return sum;
  }

  ListProgress progress_;
  Shared& shared_;
  bool is_alone_ = false;
  Ticket ticket_;
};

}  // namespace lasnet::cuda
