// Compiled with the instrumentation that kernels have.
#include "cuda/racy_kernels.h"

namespace lasnet::cuda {

__global__ void exchange(Meeting meeting, int distance, float* out) {
  begin_kernel();
  auto* memory = shared_memory<float>();
  int thread = static_cast<int>(threadIdx.x);
  memory[thread] = 1;
  if (meeting == Meeting::warps) warp_sum(1);
  if (meeting == Meeting::teams) sync_threads_of(1 + thread / 64, 64);
  if (meeting == Meeting::block) __syncthreads();
  out[thread] = memory[(thread + distance) % kThreads];
}

__global__ void passes_on(bool last_one_waits, float* out) {
  begin_kernel();
  auto* memory = shared_memory<float>();
  int warp = warp_index();
  if (warp == 0) memory[lane_index()] = 1;
  if (warp < 2) sync_threads_of(1, 64);
  if (warp == 1 || (warp == 2 && last_one_waits)) sync_threads_of(2, last_one_waits ? 64 : 32);
  if (warp == 2) out[lane_index()] = memory[31 - lane_index()];
}

__global__ void overwrites_what_is_read(bool waits, float* out) {
  begin_kernel();
  auto* memory = shared_memory<float>();
  int thread = static_cast<int>(threadIdx.x);
  memory[thread] = 1;
  __syncthreads();
  out[thread] = memory[kThreads - 1 - thread];
  if (waits) __syncthreads();
  memory[thread] = 2;
}

__global__ void writes_bytes(int overlap, uint8_t* out) {
  begin_kernel();
  int thread = static_cast<int>(threadIdx.x);
  out[thread] = 1;
  if (thread % 8 == 0 && thread > 0) out[thread - overlap] = 2;
}

__global__ void pipeline(Care care, const float* in, float* out) {
  begin_kernel();
  auto* memory = shared_memory<float>();
  int thread = static_cast<int>(threadIdx.x);
  auto fill = [&](int stage) {
    copy_async(memory + (stage % 2 * kThreads + thread) * 4, in + thread * 4, true);
    commit_copies();
  };
  fill(0);
  float sum = 0;
  for (int stage = 0; stage < 4; ++stage) {
    if (care != Care::refills_without_barrier) fill(stage + 1);
    if (care == Care::reads_without_wait) {
      wait_copies<2>();
    } else if (care == Care::refills_without_barrier) {
      wait_copies<0>();
    } else {
      wait_copies<1>();
    }
    if (care != Care::reads_without_barrier) __syncthreads();
    sum += memory[(stage % 2 * kThreads + kThreads - 1 - thread) * 4];
    if (care == Care::refills_without_barrier) {
      fill(stage);  // where others may still read
    } else {
      __syncthreads();
    }
  }
  wait_copies<0>();
  out[thread] = sum;
}

__global__ void loads_matrices(bool waits, float* out) {
  begin_kernel();
  auto* memory = shared_memory<float>();
  for (int i = 0; i < 4; ++i) memory[threadIdx.x * 4 + i] = 1;
  if (waits) __syncthreads();
  uint32_t words[4];
  load_matrices(words, memory + (kThreads - 1 - threadIdx.x) * 4);
  out[threadIdx.x] = as_float(words[0]);
}

__global__ void adds_to_a_neighbour(int distance, float* values) {
  begin_kernel();
  if (threadIdx.x == 0) values[blockIdx.x] += values[(blockIdx.x + distance) % gridDim.x];
}

__global__ void counts(unsigned long long* value) {
  begin_kernel();
  atomicAdd(value, 1);
}

__global__ void discards(bool really, float* values, float* out) {
  begin_kernel();
  const bool uses = threadIdx.x == 0 || !really;
  const float value = *discarded_unless(uses, values + (threadIdx.x == 0 ? blockIdx.x : 0));
  if (uses) out[blockIdx.x * blockDim.x + threadIdx.x] = value;
  if (threadIdx.x == 0) values[blockIdx.x] = value + 1;
}

__global__ void writes(float* value) {
  begin_kernel();
  if (threadIdx.x == 0) *value = 1;
}

__global__ void reads(bool early, const float* from, float* to) {
  let_successor_start();
  float value = 0;
  if (early) value = *from;
  wait_for_predecessor();
  if (!early) value = *from;
  if (threadIdx.x == 0) *to = value;
}

}  // namespace lasnet::cuda
