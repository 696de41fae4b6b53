// Blocks, barriers, warp operations and asynchronous copies of the emulated device.
#include <algorithm>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "cuda_emulation.h"
#include "fibers.h"
#include "races.h"

namespace lasnet::cuda::emulation {
namespace {

struct Copy {
  void* shared;
  const void* global;
  size_t bytes;
  bool valid;
  bool done = false;

  void run() {
    if (std::exchange(done, true)) return;
    if (valid) {
      std::memcpy(shared, global, bytes);
    } else {
      std::memset(shared, 0, bytes);
    }
  }
  const void* source() const { return valid ? global : nullptr; }
};

/// A warp's part of a warpgroup's product.
struct Product {
  float* sums[32];
  int columns, first_row;
  ProductOperand a, b;
  bool adds;
  float (*to_float)(uint16_t);
  bool done = false;

  void run();
};

/// Of a warp, as a thread's copies are kept.
struct Products {
  std::vector<Product> open;
  std::deque<std::vector<Product>> groups;
};

/// A meeting of a warp or a block.
struct Meeting {
  int arrived = 0, expected = 0;
  uint64_t generation = 0;
  uint32_t warps = 0;  ///< of those that have arrived, a bit each
  std::string operation;
  void* arguments[32] = {};
};

struct Thread {
  std::vector<Copy> open;                ///< copies since the last commit
  std::deque<std::vector<Copy>> groups;  ///< committed, oldest first
  bool knows_predecessor = false;        ///< has waited for the grid before
  const Meeting* waits_for = nullptr;
  uint64_t generation = 0;
  int polls = 0;  ///< since the last barrier: what a warp does between may be part of its waiting

  bool blocked() const { return waits_for != nullptr && waits_for->generation == generation; }
};

struct Block {
  const Grid* grid = nullptr;
  Position position;
  bool early = false;   ///< started while the grid before has not run
  Meeting predecessor;  ///< the end of that
  std::vector<Thread> threads;
  std::vector<Meeting> warps;
  std::vector<Products> products;  ///< of each warp
  std::vector<Meeting> barriers;
  std::vector<unsigned char> memory;
  std::vector<WordHistory> memory_words;
  WarpClocks clocks;
  RaceContext races;
  std::exception_ptr failure;
  Fibers fibers;
  int running = 0;
};

using BlockPointer = std::unique_ptr<Block>;

thread_local std::vector<BlockPointer> idle;     ///< to be used again
thread_local std::vector<BlockPointer> started;  ///< early, of the grid to be run and of the one after it
thread_local Block* block = nullptr;             ///< which runs
thread_local int64_t grid_count = 0;

std::string at_position(const std::string& what) {
  return what + " (block " + std::to_string(position.block.x) + "." + std::to_string(position.block.y) +
         ", thread " + std::to_string(block->running) + ")";
}
[[noreturn]] void fail_emulation(const std::string& what) { throw std::runtime_error(at_position(what)); }

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
  block->threads[block->running].polls = 0;
  if (barrier.arrived == 0) barrier.expected = threads;
  if (barrier.expected != threads) fail_emulation("a barrier of different numbers of threads");
  barrier.warps |= 1u << block->running / 32;
  if (++barrier.arrived == threads) {
    block->clocks.meet(std::exchange(barrier.warps, 0));
    release(barrier);
  } else {
    wait_for(barrier);
  }
}

/// A grid's i-th block, ready to start. They start in this order, which a device's do too and look-back
/// counts on.
BlockPointer new_block(const Grid& grid, uint32_t number, int64_t i) {
  BlockPointer next = idle.empty() ? std::make_unique<Block>() : std::move(idle.back());
  if (!idle.empty()) idle.pop_back();
  auto index = static_cast<unsigned>(i);
  next->grid = &grid;
  next->position = {.thread = {},
                    .block = {index % grid.size.x, index / grid.size.x, 0},
                    .block_size = {static_cast<unsigned>(grid.threads), 1, 1},
                    .grid_size = grid.size};
  next->early = false;
  next->threads.assign(grid.threads, {});
  next->warps.assign(grid.threads / 32, {});
  next->products.assign(grid.threads / 32, {});
  next->predecessor = {};
  next->barriers.assign(16, {});
  if (static_cast<int64_t>(next->memory.size()) != grid.shared_bytes) {
    next->memory = std::vector<unsigned char>(grid.shared_bytes);  // exactly, for address sanitizers
  }
  next->memory_words.assign(grid.shared_bytes / 4 + 1, {});
  std::fill(next->memory.begin(), next->memory.end(), 0xff);  // NaN in every format
  next->failure = nullptr;
  next->fibers.start(grid.threads, run_thread, nullptr);
  next->clocks.start();
  next->races = {.grid = number,
                 .block = static_cast<uint32_t>(i),
                 .clocks = &next->clocks,
                 .shared = next->memory,
                 .stacks = next->fibers.stacks(),
                 .shared_words = next->memory_words.data()};
  return next;
}

bool awaits_predecessor(const Thread& thread) { return thread.waits_for == &block->predecessor; }

/// Runs each thread that can go on until it meets others, polls or ends. Returns whether there was one.
bool run_threads(Block& wanted) {
  block = &wanted;
  position = block->position;
  int threads = static_cast<int>(block->threads.size());
  bool progress = false;
  for (int i = 0; i < threads; ++i) {
    int thread = settings().descending ? threads - 1 - i : i;
    if (block->fibers.finished(thread) || block->threads[thread].blocked()) continue;
    progress = true;
    block->running = thread;
    position.thread = {static_cast<unsigned>(thread), 0, 0};
    block->races.thread = static_cast<uint16_t>(thread);
    races().enter(&block->races);
    block->fibers.resume(thread);
    races().enter(nullptr);
    if (std::optional<std::string> race = races().take_race(); race && !block->failure) {
      block->failure = std::make_exception_ptr(std::runtime_error(at_position(*race)));
    }
    if (block->failure) {
      started.clear();
      std::rethrow_exception(block->failure);
    }
  }
  return progress;
}

bool has_ended(const Block& wanted) {
  for (int thread = 0; thread < static_cast<int>(wanted.threads.size()); ++thread) {
    if (!wanted.fibers.finished(thread)) return false;
  }
  return true;
}

/// Chance: of blocks that run at once, which are slow.
class Chance {
 public:
  bool one_in_three() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 40) % 3 == 0;
  }

 private:
  uint64_t state_ = 1;
};

/// Lets the block's other threads and the other blocks go on.
void let_others_run() {
  constexpr int kPatience = 100000;
  if (++block->threads[block->running].polls > kPatience)
    fail_emulation("a thread waits for what never comes");
  block->fibers.leave();
}

[[noreturn]] void fail_deadlock() {
  started.clear();
  fail_emulation("threads wait for each other: a barrier that not all of them reach");
}

/// The block of a grid that start_early left; null if there is none.
BlockPointer take_started(const Grid& grid) {
  auto found =
      std::find_if(started.begin(), started.end(), [&](const auto& each) { return each->grid == &grid; });
  if (found == started.end()) return nullptr;
  BlockPointer taken = std::move(*found);
  started.erase(found);
  taken->early = false;
  taken->races.unordered_from = 0;
  release(taken->predecessor);
  return taken;
}

void check_grid(const Grid& grid) {
  if (grid.threads % 32 != 0 || grid.threads > 1024)
    throw std::runtime_error("blocks are 32 ... 1024 threads");
  const bool fits = grid.shared_bytes <= (settings().hopper ? 227 : 99) << 10;
  if (!fits) throw std::runtime_error("more shared memory than the device has, sm_86 or 90");
  if (grid.size.x == 0) throw std::runtime_error("an empty grid cannot be launched");
  if (grid.size.y > 65535) throw std::runtime_error("a grid's second axis ends at 65535");
}

}  // namespace

constinit thread_local Position position;

Settings& settings() {
  static thread_local Settings value;
  return value;
}

void start_early(const Grid& grid, uint32_t number, uint32_t unordered_from) {
  check_grid(grid);
  BlockPointer first = new_block(grid, number, 0);
  first->early = true;
  first->races.unordered_from = unordered_from;
  while (run_threads(*first)) {
  }
  if (std::none_of(first->threads.begin(), first->threads.end(), awaits_predecessor)) fail_deadlock();
  started.push_back(std::move(first));
}

void run_grid(const Grid& grid, uint32_t number) {
  check_grid(grid);
  ++grid_count;
  const auto residents = static_cast<size_t>(settings().resident_blocks);
  const int64_t count = static_cast<int64_t>(grid.size.x) * grid.size.y;
  std::vector<BlockPointer> resident;
  if (BlockPointer first = take_started(grid)) resident.push_back(std::move(first));
  auto next = static_cast<int64_t>(resident.size());
  Chance chance;
  while (next < count || !resident.empty()) {
    while (next < count && resident.size() < residents) resident.push_back(new_block(grid, number, next++));
    bool progress = false;
    for (size_t i = 0; i < resident.size(); ++i) {
      bool waits = resident.size() > 1 && chance.one_in_three();
      progress |= waits || run_threads(*resident[settings().descending ? resident.size() - 1 - i : i]);
    }
    if (!progress) fail_deadlock();
    auto ended = std::stable_partition(resident.begin(), resident.end(),
                                       [](const auto& each) { return !has_ended(*each); });
    std::move(ended, resident.end(), std::back_inserter(idle));
    resident.erase(ended, resident.end());
  }
}

int64_t grids_run() { return grid_count; }

void wait_for_predecessor() {
  block->threads[block->running].knows_predecessor = true;
  if (block->early) wait_for(block->predecessor);
}

/// As on a device, that is number 0.
void block_barrier() { meet(block->barriers[0], static_cast<int>(block->threads.size())); }

void named_barrier(int index, int threads) {
  if (threads % 32 != 0 || index < 0 || index >= static_cast<int>(block->barriers.size()))
    fail_emulation("there are 16 named barriers, of whole warps");
  meet(block->barriers[index], threads);
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
void note_read(const void* address, int64_t bytes) { races().read(address, bytes); }

void issue_copy(void* shared, const void* global, size_t bytes, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0)
    fail_emulation("a copy to a misaligned shared address");
  if (valid && reinterpret_cast<uintptr_t>(global) % bytes != 0)
    fail_emulation("a copy from a misaligned address");
  auto* begin = static_cast<unsigned char*>(shared);
  if (begin < block->memory.data() || begin + bytes > block->memory.data() + block->memory.size()) {
    fail_emulation("a copy that leaves shared memory");
  }
  Copy copy{shared, global, bytes, valid};
  races().begin_copy(shared, copy.source(), static_cast<int64_t>(bytes));
  if (!settings().late_copies) copy.run();
  block->threads[block->running].open.push_back(copy);
}

void commit_copies() {
  Thread& thread = block->threads[block->running];
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

void wait_copies(int pending) {
  Thread& thread = block->threads[block->running];
  while (static_cast<int>(thread.groups.size()) > pending) {
    for (Copy& copy : thread.groups.front()) {
      copy.run();
      races().end_copy(copy.shared, copy.source(), static_cast<int64_t>(copy.bytes));
    }
    thread.groups.pop_front();
  }
}

namespace {

/// The 16 values that a product takes of an operand's row.
void read_row(const ProductOperand& operand, int row, float (*to_float)(uint16_t), float (&values)[16]) {
  const int64_t at = operand.rows - block->memory.data();
  if (at % 1024 != 0 || operand.from % 16 != 0) fail_emulation("an operand of a product that is misaligned");
  if (at < 0 || at + row * 128 + 128 > static_cast<int64_t>(block->memory.size()))
    fail_emulation("an operand of a product that leaves shared memory");
  for (int half = 0; half < 2; ++half) {
    const unsigned char* from = operand.rows + row * 128 + ((operand.from / 16 + half) ^ row % 8) * 16;
    note_read(from, 16);
    for (int k = 0; k < 8; ++k) {
      uint16_t bits;
      std::memcpy(&bits, from + 2 * k, 2);
      values[8 * half + k] = to_float(bits);
    }
  }
}

}  // namespace

void Product::run() {
  if (std::exchange(done, true)) return;
  float rows[16][16];
  for (int row = 0; row < 16; ++row) read_row(a, first_row + row, to_float, rows[row]);
  for (int column = 0; column < columns; ++column) {
    float other[16];
    read_row(b, column, to_float, other);
    for (int row = 0; row < 16; ++row) {
      int lane = row % 8 * 4 + column % 8 / 2;
      float& sum = sums[lane][column / 8 * 4 + row / 8 * 2 + column % 2];
      if (!adds) sum = 0;
      for (int k = 0; k < 16; ++k) sum += rows[row][k] * other[k];
    }
  }
}

void issue_product(float* sums, int columns, const ProductOperand& a, const ProductOperand& b, bool adds,
                   float (*to_float)(uint16_t)) {
  struct Issue {
    float* sums;
    Product product;
  } mine{sums, {{}, columns, block->running / 32 % 4 * 16, a, b, adds, to_float}};
  warp_meeting("issue_product", &mine, [](void* const* lanes) {
    Product product = static_cast<Issue*>(lanes[0])->product;
    for (int lane = 0; lane < 32; ++lane) product.sums[lane] = static_cast<Issue*>(lanes[lane])->sums;
    if (!settings().late_products) product.run();
    block->products[block->running / 32].open.push_back(product);
  });
}

void commit_products() {
  warp_meeting("commit_products", nullptr, [](void* const*) {
    Products& own = block->products[block->running / 32];
    own.groups.push_back(std::move(own.open));
    own.open.clear();
  });
}

void wait_products(int pending) {
  warp_meeting("wait_products", &pending, [](void* const* lanes) {
    Products& own = block->products[block->running / 32];
    while (static_cast<int>(own.groups.size()) > *static_cast<int*>(lanes[0])) {
      for (Product& product : own.groups.front()) product.run();
      own.groups.pop_front();
    }
  });
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

namespace lasnet::cuda {

/// What is polled changes only if others go on.
unsigned long long load_volatile(const unsigned long long* from) {
  emulation::let_others_run();
  return *from;
}
void store_volatile(unsigned long long* to, unsigned long long value) { *to = value; }

}  // namespace lasnet::cuda

unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
  return std::exchange(*address, *address + value);
}

unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  return std::exchange(*address, std::min(*address, value));
}
