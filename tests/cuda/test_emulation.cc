// The emulated device itself: it must see what it claims to see.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <stdexcept>

#include "kernel_operands.h"

namespace lasnet::cuda {
namespace {

__global__ void copies_without_wait(const float* in, float* out) {
  wait_for_predecessor();
  auto* shared = shared_memory<float>();
  copy_async(shared + 4 * threadIdx.x, in + 4 * threadIdx.x, true);
  commit_copies();
  out[threadIdx.x] = shared[4 * threadIdx.x];
}
__global__ void reads_without_barrier(float* out) {
  wait_for_predecessor();
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = 1;
  out[threadIdx.x] = shared[63 - threadIdx.x];
}
__global__ void half_a_barrier(float*) {
  wait_for_predecessor();
  if (threadIdx.x < 40) __syncthreads();
}

__global__ void teams_meet_at_the_blocks_barrier(float*) {
  wait_for_predecessor();
  if (threadIdx.x < 32) {
    sync_threads_of(0, 32);
  } else {
    __syncthreads();
  }
}
__global__ void waits_for_the_next_block(unsigned long long* flags) {
  wait_for_predecessor();
  if (blockIdx.x == 0) {
    while (load_volatile(flags + 1) == 0) {
    }
  }
  if (threadIdx.x == 0) store_volatile(flags + blockIdx.x, 1);
}

__global__ void forgets_its_predecessor(float*) {}
__global__ void increments(float* value) {
  wait_for_predecessor();
  if (threadIdx.x == 0) ++*value;
}
__global__ void doubles_what_it_read_early(float* value) {
  float early = *value;
  wait_for_predecessor();
  if (threadIdx.x == 0) *value = 2 * early;
}

TEST(Emulation, ShowsMissingWaitsAndBarriers) {
  alignas(16) float in[256] = {}, out[64];
  Stream stream;
  LaunchShape shape{1, 64, 1024};
  {
    WithSettings settings({.late_copies = true});
    launch(stream, copies_without_wait, shape, static_cast<const float*>(in), static_cast<float*>(out));
    EXPECT_TRUE(std::isnan(out[5]));
  }
  launch(stream, reads_without_barrier, shape, static_cast<float*>(out));
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_THROW(launch(stream, half_a_barrier, shape, static_cast<float*>(out)), std::runtime_error);
  {
    WithSettings settings({.descending = true});  // the block's barrier first
    EXPECT_THROW(launch(stream, teams_meet_at_the_blocks_barrier, shape, static_cast<float*>(out)),
                 std::runtime_error);
  }
  EXPECT_THROW(launch(stream, forgets_its_predecessor, shape, static_cast<float*>(out)), std::runtime_error);
}

TEST(Emulation, RunsAsManyBlocksAtOnceAsItIsTold) {
  unsigned long long flags[2] = {};
  Stream stream;
  EXPECT_THROW(launch(stream, waits_for_the_next_block, LaunchShape{2, 64}, +flags), std::runtime_error);
  WithSettings settings({.resident_blocks = 2});
  launch(stream, waits_for_the_next_block, LaunchShape{2, 64}, +flags);
  EXPECT_EQ(flags[0], 1u);
}

TEST(Emulation, ShowsWhatBranchesTakeFromEachOther) {
  float value = 1;
  Stream stream, branch;
  stream.begin_capture();
  branch.wait_for(stream);
  launch(branch, increments, LaunchShape{}, &value);
  launch(stream, doubles_what_it_read_early, LaunchShape{}, &value);
  stream.wait_for(branch);
  const Graph graph = stream.end_capture();
  std::set<float> results;
  for (int replay = 0; replay < 2; ++replay) {
    value = 1;
    stream.run(graph);
    results.insert(value);
  }
  EXPECT_EQ(results, (std::set<float>{3, 4}));
}

TEST(Emulation, ShowsWhatAKernelOfAGraphReadsTooEarly) {
  float value = 0;
  Stream stream, branch;
  const auto replay = [&](auto second, bool on_branch) {
    value = 0;
    stream.begin_capture();
    launch(stream, increments, LaunchShape{}, &value);
    if (on_branch) branch.wait_for(stream);
    launch(on_branch ? branch : stream, second, LaunchShape{}, &value);
    if (on_branch) stream.wait_for(branch);
    launch(stream, increments, LaunchShape{}, &value);
    stream.run(stream.end_capture());
    return value;
  };
  EXPECT_EQ(replay(increments, false), 3);
  EXPECT_EQ(replay(doubles_what_it_read_early, false), 0 + 1) << "it read what was before the first kernel";
  EXPECT_EQ(replay(doubles_what_it_read_early, true), 2 * 1 + 1) << "a branch starts after what it waits for";
}

}  // namespace
}  // namespace lasnet::cuda
