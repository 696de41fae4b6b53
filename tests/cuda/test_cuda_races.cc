// The emulated device's race detector: each race that it is there for, beside the same kernel without it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "cuda/racy_kernels.h"

namespace lasnet::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr LaunchShape kBlock{1, kThreads, 4096};

/// Tests write here, so that compilers leave the reads in.
float sink[kThreads * 4];

/// What the emulation says of a kernel, for threads in either order and copies at either time; nothing if
/// it finds no fault.
template <class... Arguments>
std::string fault(void (*kernel)(Arguments...), const LaunchShape& shape, Arguments... arguments) {
  std::set<std::string> found;
  const emulation::Settings usual = emulation::settings();
  for (int turn = 0; turn < 4; ++turn) {
    emulation::settings() = {.late_copies = turn % 2 == 0, .descending = turn / 2 == 0};
    Stream stream;
    try {
      launch(stream, kernel, shape, arguments...);
      found.insert("");
    } catch (const std::runtime_error& error) {
      found.insert(error.what());
    }
  }
  emulation::settings() = usual;
  return found.size() > 1 && found.contains("") ? "only found in some orders" : *found.begin();
}

// ---- Threads of a block ----

TEST(CudaRaces, OnlyBarriersOrderThreads) {
  EXPECT_THAT(fault(exchange, kBlock, Meeting::block, 1, +sink), IsEmpty());
  EXPECT_THAT(fault(exchange, kBlock, Meeting::none, 0, +sink), IsEmpty()) << "its own";
  EXPECT_THAT(fault(exchange, kBlock, Meeting::none, 1, +sink), HasSubstr("a race for shared memory"));
  EXPECT_THAT(fault(exchange, kBlock, Meeting::warps, 1, +sink), HasSubstr("a race for shared memory"));
}

TEST(CudaRaces, ABarrierOrdersThoseWhoCome) {
  EXPECT_THAT(fault(exchange, kBlock, Meeting::teams, 64, +sink), HasSubstr("a race"))
      << "threads 0 and 64 are of different teams";
  EXPECT_THAT(fault(exchange, kBlock, Meeting::teams, 128, +sink), IsEmpty());
}

TEST(CudaRaces, WhatAWarpKnowsItPassesOn) {
  EXPECT_THAT(fault(passes_on, kBlock, true, +sink), IsEmpty());
  EXPECT_THAT(fault(passes_on, kBlock, false, +sink), HasSubstr("a race for shared memory"));
}

TEST(CudaRaces, WhatIsReadIsNotOverwritten) {
  EXPECT_THAT(fault(overwrites_what_is_read, kBlock, true, +sink), IsEmpty());
  EXPECT_THAT(fault(overwrites_what_is_read, kBlock, false, +sink), HasSubstr("a race for shared memory"));
}

TEST(CudaRaces, BytesOfAWordAreToldApart) {
  auto* bytes = reinterpret_cast<uint8_t*>(sink);
  EXPECT_THAT(fault(writes_bytes, kBlock, 0, bytes), IsEmpty());
  EXPECT_THAT(fault(writes_bytes, kBlock, 1, bytes), HasSubstr("a race for device memory"));
}

// ---- Copies ----

TEST(CudaRaces, CopiesAreWaitedForByAllWhoRead) {
  alignas(16) static const float in[kThreads * 4] = {};
  EXPECT_THAT(fault(pipeline, kBlock, Care::full, +in, +sink), IsEmpty());
  EXPECT_THAT(fault(pipeline, kBlock, Care::reads_without_wait, +in, +sink),
              HasSubstr("a copy that was not waited for"));
  EXPECT_THAT(fault(pipeline, kBlock, Care::reads_without_barrier, +in, +sink),
              HasSubstr("a race for shared memory"));
  EXPECT_THAT(fault(pipeline, kBlock, Care::refills_without_barrier, +in, +sink),
              HasSubstr("a race for shared memory"));
}

TEST(CudaRaces, MatricesAreReadToo) {
  EXPECT_THAT(fault(loads_matrices, kBlock, true, +sink), IsEmpty());
  EXPECT_THAT(fault(loads_matrices, kBlock, false, +sink), HasSubstr("a race for shared memory"));
}

// ---- Blocks and grids ----

TEST(CudaRaces, NothingOrdersBlocks) {
  const LaunchShape blocks{4, 32};
  EXPECT_THAT(fault(adds_to_a_neighbour, blocks, 0, +sink), IsEmpty());
  EXPECT_THAT(fault(adds_to_a_neighbour, blocks, 1, +sink), HasSubstr("a race for device memory: block"));
  unsigned long long count = 0;
  EXPECT_THAT(fault(counts, blocks, &count), IsEmpty()) << "atomic";
  EXPECT_THAT(fault(discards, blocks, true, +sink, sink + 4), IsEmpty());
  EXPECT_THAT(fault(discards, blocks, false, +sink, sink + 4), HasSubstr("a race for device memory"));
}

/// What is said of a graph, replayed twice.
template <class Record>
std::string fault_of_graph(const Record& record) {
  Stream stream, branch;
  stream.begin_capture();
  record(stream, branch);
  const Graph graph = stream.end_capture();
  try {
    stream.run(graph);
    stream.run(graph);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST(CudaRaces, AKernelWaitsForAllThatMayStillRun) {
  float value = 0, other = 0;
  const auto graph = [&](int between, bool early) {
    return fault_of_graph([&](Stream& stream, Stream&) {
      launch(stream, writes, LaunchShape{}, &value);
      for (int i = 0; i < between; ++i) launch(stream, writes, LaunchShape{}, &other);
      launch(stream, reads, LaunchShape{}, early, static_cast<const float*>(&value), &other);
    });
  };
  EXPECT_THAT(graph(0, false), IsEmpty());
  EXPECT_THAT(graph(0, true), HasSubstr("the next grid, before it waited for this one, reads what"));
  // The one between has started early too, and waits.
  EXPECT_THAT(graph(1, true), HasSubstr("a grid that may still run writes what"));
  EXPECT_THAT(graph(1, false), IsEmpty());
}

TEST(CudaRaces, BranchesAreOrderedWhereTheyMeet) {
  float value = 0, other = 0;
  const auto graph = [&](bool meets) {
    return fault_of_graph([&](Stream& stream, Stream& branch) {
      branch.wait_for(stream);
      launch(branch, writes, LaunchShape{}, &value);
      if (meets) stream.wait_for(branch);
      launch(stream, reads, LaunchShape{}, false, static_cast<const float*>(&value), &other);
      if (!meets) stream.wait_for(branch);
    });
  };
  EXPECT_THAT(graph(true), IsEmpty());
  EXPECT_THAT(graph(false),
              AllOf(HasSubstr("a race for device memory"), HasSubstr("a grid that may still run")));
}

}  // namespace
}  // namespace lasnet::cuda
