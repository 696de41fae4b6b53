// Kernels with and without races, for tests of the emulated device's detector.
#pragma once

#include "backends/cuda/kernels/device.h"

namespace lasnet::cuda {

/// Of a block, where not said otherwise.
inline constexpr int kThreads = 128;

enum class Meeting { none, warps, teams, block };
enum class Care { full, reads_without_wait, reads_without_barrier, refills_without_barrier };

/// A thread reads what another one of another warp has written.
__global__ void exchange(Meeting meeting, int distance, float* out);
/// A team hands over to the next one, warp by warp.
__global__ void passes_on(bool last_one_waits, float* out);
/// Every thread reads a word and writes it in the next round.
__global__ void overwrites_what_is_read(bool waits, float* out);
/// Threads share words, each with bytes of its own.
__global__ void writes_bytes(int overlap, uint8_t* out);
/// Two stages in turn; each thread reads what its neighbours' copies brought.
__global__ void pipeline(Care care, const float* in, float* out);
__global__ void loads_matrices(bool waits, float* out);
__global__ void adds_to_a_neighbour(int distance, float* values);
__global__ void counts(unsigned long long* value);
/// A block's first thread adds to a value of its own; the others read the first block's.
__global__ void discards(bool really, float* values, float* out);
__global__ void writes(float* value);
__global__ void reads(bool early, const float* from, float* to);

}  // namespace lasnet::cuda
