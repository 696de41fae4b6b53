// Blocks, barriers, warp operations and asynchronous copies of the emulated device.
#include <algorithm>
#include <deque>
#include <exception>
#include <string>

#include "cuda_emulation.h"
#include "fibers.h"

namespace lasnet::cuda::emulation {
namespace {

struct Copy {
  void* shared;
  const void* global;
  bool valid;

  void run() const {
    if (valid) {
      std::memcpy(shared, global, 16);
    } else {
      std::memset(shared, 0, 16);
    }
  }
};

/// A meeting of a warp or a block.
struct Meeting {
  int arrived = 0;
  uint64_t generation = 0;
  std::string operation;
  void* arguments[32] = {};
};

struct Thread {
  std::vector<Copy> open;                ///< copies since the last commit
  std::deque<std::vector<Copy>> groups;  ///< committed, oldest first
  bool knows_predecessor = false;        ///< has waited for the grid before
  const Meeting* waits_for = nullptr;
  uint64_t generation = 0;

  bool blocked() const { return waits_for != nullptr && waits_for->generation == generation; }
};

struct Block {
  const Grid* grid = nullptr;
  Position position;
  bool early = false;   ///< started while the grid before has not run
  Meeting predecessor;  ///< the end of that
  std::vector<Thread> threads;
  std::vector<Meeting> warps;
  Meeting barrier;
  std::vector<Meeting> named;  ///< barriers
  std::vector<unsigned char> memory;
  std::exception_ptr failure;
  Fibers fibers;
  int running = 0;
};

/// The grid that runs has one block at a time, the one after it may have one that started early.
thread_local Block blocks[2];
thread_local Block* block = &blocks[0];
thread_local int64_t grid_count = 0;

[[noreturn]] void fail_emulation(const std::string& what) {
  throw std::runtime_error(what + " (block " + std::to_string(position.block.x) + "." +
                           std::to_string(position.block.y) + ", thread " + std::to_string(block->running) +
                           ")");
}

void run_thread(int thread, void*) {
  try {
    block->grid->kernel();
    const Thread& state = block->threads[thread];
    if (!state.open.empty()) fail_emulation("copies were issued and never committed");
    if (!state.knows_predecessor) fail_emulation("the kernel ended without waiting for the one before it");
  } catch (...) {
    block->failure = std::current_exception();
  }
}

void wait_for(Meeting& meeting) {
  Thread& thread = block->threads[block->running];
  thread.waits_for = &meeting;
  thread.generation = meeting.generation;
  block->fibers.leave();
  thread.waits_for = nullptr;
}

void release(Meeting& meeting) {
  meeting.arrived = 0;
  ++meeting.generation;
}

void check_same_operation(Meeting& meeting, const char* operation) {
  if (meeting.arrived == 0) meeting.operation = operation;
  if (meeting.operation != operation) {
    fail_emulation("a warp meets for " + meeting.operation + " and for " + operation);
  }
}

void meet(Meeting& barrier, int threads) {
  check_same_operation(barrier, "barrier");
  if (++barrier.arrived == threads) {
    release(barrier);
  } else {
    wait_for(barrier);
  }
}

Block& free_block() { return blocks[0].early ? blocks[1] : blocks[0]; }

/// Makes `next` the running block: the i-th one that the grid runs.
void prepare_block(Block& next, const Grid& grid, int64_t i) {
  block = &next;
  int64_t count = static_cast<int64_t>(grid.size.x) * grid.size.y;
  auto index = static_cast<unsigned>(settings().descending ? count - 1 - i : i);
  next.grid = &grid;
  next.position = {.thread = {},
                   .block = {index % grid.size.x, index / grid.size.x, 0},
                   .block_size = {static_cast<unsigned>(grid.threads), 1, 1},
                   .grid_size = grid.size};
  next.early = false;
  next.threads.assign(grid.threads, {});
  next.warps.assign(grid.threads / 32, {});
  next.predecessor = next.barrier = {};
  next.named.assign(16, {});
  if (static_cast<int64_t>(next.memory.size()) != grid.shared_bytes) {
    next.memory = std::vector<unsigned char>(grid.shared_bytes);  // exactly, for address sanitizers
  }
  std::fill(next.memory.begin(), next.memory.end(), 0xff);  // NaN in every format
  next.failure = nullptr;
  next.fibers.start(grid.threads, run_thread, nullptr);
}

bool awaits_predecessor(const Thread& thread) { return thread.waits_for == &block->predecessor; }

/// Runs the block to its end; an early one until it cannot go on without the grid before.
void run_block() {
  position = block->position;
  int threads = static_cast<int>(block->threads.size());
  for (bool progress = true; progress;) {
    progress = false;
    for (int i = 0; i < threads; ++i) {
      int thread = settings().descending ? threads - 1 - i : i;
      if (block->fibers.finished(thread) || block->threads[thread].blocked()) continue;
      progress = true;
      block->running = thread;
      position.thread = {static_cast<unsigned>(thread), 0, 0};
      block->fibers.resume(thread);
      if (block->failure) {
        blocks[0].early = blocks[1].early = false;
        std::rethrow_exception(block->failure);
      }
    }
  }
  const auto& states = block->threads;
  if (block->early && std::any_of(states.begin(), states.end(), awaits_predecessor)) return;
  for (int thread = 0; thread < threads; ++thread) {
    if (!block->fibers.finished(thread))
      fail_emulation("threads wait for each other: a barrier that not all of them reach");
  }
}

void check_grid(const Grid& grid) {
  if (grid.threads % 32 != 0 || grid.threads > 1024)
    throw std::runtime_error("blocks are 32 ... 1024 threads");
  if (grid.shared_bytes > 99 << 10) throw std::runtime_error("more shared memory than sm_86 has");
  if (grid.size.x == 0) throw std::runtime_error("an empty grid cannot be launched");
  if (grid.size.y > 65535) throw std::runtime_error("a grid's second axis ends at 65535");
}

}  // namespace

thread_local Position position;

Settings& settings() {
  static thread_local Settings value;
  return value;
}

void start_early(const Grid& grid) {
  check_grid(grid);
  prepare_block(free_block(), grid, 0);
  block->early = true;
  run_block();
}

void run_grid(const Grid& grid) {
  check_grid(grid);
  ++grid_count;
  int64_t first = 0;
  for (Block& started : blocks) {
    if (!started.early || started.grid != &grid) continue;
    block = &started;
    block->early = false;
    release(block->predecessor);
    run_block();
    first = 1;
  }
  Block& own = free_block();
  for (int64_t i = first; i < static_cast<int64_t>(grid.size.x) * grid.size.y; ++i) {
    prepare_block(own, grid, i);
    run_block();
  }
}

int64_t grids_run() { return grid_count; }

void wait_for_predecessor() {
  block->threads[block->running].knows_predecessor = true;
  if (block->early) wait_for(block->predecessor);
}

void block_barrier() { meet(block->barrier, static_cast<int>(block->threads.size())); }

void named_barrier(int index, int threads) {
  if (threads % 32 != 0 || index < 0 || index >= static_cast<int>(block->named.size()))
    fail_emulation("there are 16 named barriers, of whole warps");
  meet(block->named[index], threads);
}

void warp_meeting(const char* operation, void* argument, void (*combine)(void* const*)) {
  Meeting& warp = block->warps[block->running / 32];
  check_same_operation(warp, operation);
  warp.arguments[block->running % 32] = argument;
  if (++warp.arrived < 32) return wait_for(warp);
  combine(warp.arguments);
  release(warp);
}

int lane_index() { return block->running % 32; }
unsigned char* shared_bytes() { return block->memory.data(); }

void issue_copy(void* shared, const void* global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0) fail_emulation("a copy to a misaligned shared address");
  if (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)
    fail_emulation("a copy from a misaligned address");
  auto* begin = static_cast<unsigned char*>(shared);
  if (begin < block->memory.data() || begin + 16 > block->memory.data() + block->memory.size()) {
    fail_emulation("a copy that leaves shared memory");
  }
  Copy copy{shared, global, valid};
  if (settings().late_copies) {
    block->threads[block->running].open.push_back(copy);
  } else {
    copy.run();
  }
}

void commit_copies() {
  Thread& thread = block->threads[block->running];
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

void wait_copies(int pending) {
  Thread& thread = block->threads[block->running];
  while (static_cast<int>(thread.groups.size()) > pending) {
    for (const Copy& copy : thread.groups.front()) copy.run();
    thread.groups.pop_front();
  }
}

namespace {

/// Element `k` of 32 bytes of k, of which a lane holds 4 at 4 * t and 4 at 4 * t + 16.
template <Precision P>
float element(uint32_t word, int within) {
  if constexpr (P == Precision::fp16) return f16_to_f32(static_cast<uint16_t>(word >> (16 * within)));
  if constexpr (P == Precision::bf16) return bf16_to_f32(static_cast<uint16_t>(word >> (16 * within)));
  return std::bit_cast<float>(word & 0xffffe000u);  // the hardware ignores the bits below TF32's mantissa
}

}  // namespace

template <Precision P>
void combine_multiply_add(void* const* lanes) {
  constexpr int kPerWord = P == Precision::tf32 ? 1 : 2, kDepth = 8 * kPerWord;
  float a[16][kDepth], b[kDepth][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* own = static_cast<MultiplyAdd*>(lanes[lane]);
    int group = lane / 4, part = lane % 4;
    for (int half = 0; half < 2; ++half) {
      for (int within = 0; within < kPerWord; ++within) {
        int k = (part + 4 * half) * kPerWord + within;
        a[group][k] = element<P>(own->a[2 * half], within);
        a[group + 8][k] = element<P>(own->a[2 * half + 1], within);
        b[k][group] = element<P>(own->b[half], within);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* sums = static_cast<MultiplyAdd*>(lanes[lane])->sums;
    for (int i = 0; i < 4; ++i) {
      int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (int k = 0; k < kDepth; ++k) sums[i] += a[row][k] * b[k][column];
    }
  }
}

template void combine_multiply_add<Precision::tf32>(void* const*);
template void combine_multiply_add<Precision::fp16>(void* const*);
template void combine_multiply_add<Precision::bf16>(void* const*);

}  // namespace lasnet::cuda::emulation
