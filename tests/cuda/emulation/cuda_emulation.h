// CUDA C++ on the host, for tests: kernels compiled as plain C++ run block by block, the threads of a block
// as fibers that switch at barriers, warp operations and polls; several blocks at once where a test asks for
// it.
//
// What it shows: wrong indices and fragment layouts, reads of shared memory that nothing wrote (it starts as
// NaN), copies read before they were waited for or overwritten before they were read (both extremes of their
// timing can be chosen), threads that disagree on a barrier, misaligned copies, blocks that wait for what
// never comes, and in graphs what a kernel does too early (its first block starts before the kernel that it
// follows) and what branches take from each other (they run in either order). Races between threads, blocks
// and overlapping grids are found whatever order things run in (races.h), where GCC compiles and no sanitizer
// is at work. Addresses outside of buffers and of shared memory are the address sanitizer's to find. What it
// cannot show: the memory model of what blocks poll (every access is sequentially consistent), real timing,
// registers, bank conflicts, whether copies are published to products (publish_to_products), and instructions
// this project does not use (TMA).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

#include "backends/cuda/kernels/runtime.h"
#include "base/float_formats.h"
#include "lasnet/precision.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

struct alignas(8) uint2 {
  uint32_t x, y;
};

namespace lasnet::cuda {

struct LaunchShape {
  int64_t blocks = 1;
  int threads = 32;
  int64_t shared_bytes = 0;
  int rows = 1;
};

namespace emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

/// What the engine asked a stream for.
struct Launch {
  std::string name;              ///< type of a kernel's first argument, mangled; "fill" or "wait"
  const void* stream = nullptr;  ///< its handle
  const void* kernel = nullptr;
  LaunchShape shape = {};
  bool overlaps = false;                      ///< the kernel may start before the one before it has ended
  std::vector<unsigned char> arguments = {};  ///< bytes, one argument after the other

  /// The first argument, or what it begins with.
  template <class Call>
  Call call() const {
    Call call;
    std::memcpy(&call, arguments.data(), sizeof call);
    return call;
  }
};
/// Arguments of Launch "fill".
struct Fill {
  void* to = nullptr;
  int64_t bytes = 0;
  int value = 0;
};

/// How a launch is run.
struct Settings {
  bool late_copies =
      true;  ///< asynchronous copies happen when they are waited for, else when they are issued
  bool late_products = true;  ///< warpgroups' products, the same
  bool hopper = false;        ///< the device runs tiles for compute capability 9.0, and has its shared memory
  bool descending = false;    ///< threads, and blocks that run at once, take turns from the last to the first
  int multiprocessors = 3;    ///< few, so that persistent blocks take several tiles
  int resident_blocks = 1;    ///< that run by turns and chance, each up to its next barriers
  int64_t memory_bytes = int64_t{4} << 30;  ///< for all threads' device buffers
  std::vector<Launch>* launches = nullptr;  ///< where launches are noted
  bool runs_kernels = true;                 ///< else they are only noted, and graphs do nothing
};
/// Of this thread.
Settings& settings();

/// The running thread of the running block.
struct Position {
  Index thread, block, block_size, grid_size;
};
extern constinit thread_local Position position;

struct Grid {
  Index size;
  int threads = 0;
  int64_t shared_bytes = 0;
  std::function<void()> kernel;
};
/// Runs all blocks. Throws std::runtime_error on what the head of this file lists. `number`: see
/// RaceDetector.
void run_grid(const Grid& grid, uint32_t number);
/// Before the grid before it has run: the first block, as far as it gets without wait_for_predecessor. Grids
/// from `unordered_from` on may run meanwhile.
void start_early(const Grid& grid, uint32_t number, uint32_t unordered_from);
/// Runs it now, or records it if the stream is capturing.
void enqueue(Stream& stream, std::function<void()> work);
void enqueue(Stream& stream, Grid grid);
/// Notes a launch where Settings ask for it.
void note_launch(Launch launch);

/// Grids run by this thread so far.
int64_t grids_run();
/// Bytes of device buffers.
int64_t memory_taken();
/// The device buffer that holds an address; null: none does.
struct Place {
  const void* buffer = nullptr;
  int64_t offset = 0;
};
Place place_of(const void* address);

void wait_for_predecessor();
void block_barrier();
/// Of `threads` threads, whichever.
void named_barrier(int index, int threads);
/// All lanes of the warp meet; the last one to come calls combine(arguments of the 32 lanes).
void warp_meeting(const char* operation, void* argument, void (*combine)(void* const*));
int lane_index();
unsigned char* shared_bytes();
/// By other means than an instrumented access.
void note_read(const void* address, int64_t bytes);
/// By all lanes of a warp, of sums as multiply_async has them. `a`, `b`: the operands' rows in shared memory
/// and bytes of reduction before the 32 that are multiplied.
struct ProductOperand {
  const unsigned char* rows;
  int from;
};
void issue_product(float* sums, int columns, const ProductOperand& a, const ProductOperand& b, bool adds,
                   float (*to_float)(uint16_t));
void commit_products();
void wait_products(int pending);
void issue_copy(void* shared, const void* global, size_t bytes, bool valid);
void commit_copies();
void wait_copies(int pending);

template <class T>
struct Shuffle {
  T value, result;
  int source;
};
template <class T>
T shuffle(const char* operation, T value, int source) {
  Shuffle<T> mine{value, value, source};
  warp_meeting(operation, &mine, [](void* const* lanes) {
    for (int i = 0; i < 32; ++i) {
      auto* lane = static_cast<Shuffle<T>*>(lanes[i]);
      lane->result = static_cast<Shuffle<T>*>(lanes[lane->source])->value;
    }
  });
  return mine.result;
}

struct MatrixLoad {
  const unsigned char* row;
  uint32_t words[4];
};
struct MultiplyAdd {
  float* sums;
  const uint32_t* a;
  uint32_t b[2];
};
template <Precision P>
void combine_multiply_add(void* const* lanes);

}  // namespace emulation

inline constexpr unsigned kWholeWarp = 0xffffffffu;
inline constexpr bool kHasTensorCores = true;

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(Half value) { return f16_to_f32(value.bits); }
inline float to_float(BFloat16 value) { return bf16_to_f32(value.bits); }

template <class T>
T from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
template <>
inline Half from_float<Half>(float value) {
  return {f32_to_f16(value)};
}
template <>
inline BFloat16 from_float<BFloat16>(float value) {
  return {f32_to_bf16(value)};
}

template <class T>
uint32_t max_of_pairs(uint32_t a, uint32_t b) {
  constexpr uint32_t kNan = 0x7fff;
  uint32_t pair = 0;
  for (int shift : {0, 16}) {
    T x{static_cast<uint16_t>(a >> shift)}, y{static_cast<uint16_t>(b >> shift)};
    float p = to_float(x), q = to_float(y);
    bool takes_x = p > q || (p == q && (x.bits & 0x8000) == 0);  // 0 is more than -0
    pair |= (p != p || q != q ? kNan : takes_x ? x.bits : y.bits) << shift;
  }
  return pair;
}

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulation::shared_bytes());
}

inline void sync_threads_of(int index, int threads) { emulation::named_barrier(index, threads); }
inline void copy_async(void* shared, const void* global, bool valid) {
  emulation::issue_copy(shared, global, 16, valid);
}
inline void copy_word_async(void* shared, const void* global) {
  emulation::issue_copy(shared, global, 4, true);
}
inline void commit_copies() { emulation::commit_copies(); }
template <int kPending>
void wait_copies() {
  emulation::wait_copies(kPending);
}

inline void load_matrices(uint32_t (&words)[4], const void* row) {
  emulation::note_read(row, 16);
  emulation::MatrixLoad mine{static_cast<const unsigned char*>(row), {}};
  emulation::warp_meeting("load_matrices", &mine, [](void* const* lanes) {
    for (int i = 0; i < 32; ++i) {
      for (int m = 0; m < 4; ++m) {
        const unsigned char* source = static_cast<emulation::MatrixLoad*>(lanes[8 * m + i / 4])->row;
        std::memcpy(&static_cast<emulation::MatrixLoad*>(lanes[i])->words[m], source + 4 * (i % 4), 4);
      }
    }
  });
  std::memcpy(words, mine.words, sizeof mine.words);
}

class SharedOperand {
 public:
  explicit SharedOperand(const void* rows) : operand_{static_cast<const unsigned char*>(rows), 0} {}
  SharedOperand from(int bytes) const {
    SharedOperand rest = *this;
    rest.operand_.from += bytes;
    return rest;
  }
  const emulation::ProductOperand& operand() const { return operand_; }

 private:
  emulation::ProductOperand operand_;
};

inline constexpr bool kHasWarpgroupProducts = true;
inline void publish_to_products() {}
inline void begin_products() {}
inline void commit_products() { emulation::commit_products(); }
template <int kPending>
void wait_products() {
  emulation::wait_products(kPending);
}
template <Precision P, int kColumns>
void multiply_async(float (&sums)[kColumns / 2], const SharedOperand& a, const SharedOperand& b, bool adds) {
  emulation::issue_product(sums, kColumns, a.operand(), b.operand(), adds,
                           P == Precision::fp16 ? f16_to_f32 : bf16_to_f32);
}

/// Lane i has two values of row i / 4 of an 8 x 8 matrix, and gets two of column i / 4.
inline uint32_t transpose_matrix(uint32_t word) {
  struct Pair {
    uint32_t given, got;
  } mine{word, 0};
  emulation::warp_meeting("transpose_matrix", &mine, [](void* const* lanes) {
    for (int i = 0; i < 32; ++i) {
      uint32_t got = 0;
      for (int e = 0; e < 2; ++e) {
        int row = i % 4 * 2 + e, column = i / 4;
        uint32_t given = static_cast<Pair*>(lanes[row * 4 + column / 2])->given;
        got |= (given >> column % 2 * 16 & 0xffffu) << e * 16;
      }
      static_cast<Pair*>(lanes[i])->got = got;
    }
  });
  return mine.got;
}

/// To nearest, ties away from zero; NaN and infinity stay.
inline void round_to_tf32(uint32_t& word) {
  if ((word & 0x7f800000u) == 0x7f800000u) return;
  word = (word + 0x1000u) & 0xffffe000u;
}

template <Precision P>
void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulation::MultiplyAdd mine{sums, a, {b0, b1}};
  emulation::warp_meeting("multiply_add", &mine, emulation::combine_multiply_add<P>);
}

inline void wait_for_predecessor() { emulation::wait_for_predecessor(); }
inline void let_successor_start() {}

unsigned long long load_volatile(const unsigned long long* from);
inline int32_t load_here(const int32_t* from) { return *from; }
/// NaN is read instead.
template <class T>
const T* discarded_unless(bool used, const T* from) {
  static constexpr uint4 kNan{~0u, ~0u, ~0u, ~0u};
  return used ? from : reinterpret_cast<const T*>(&kNan);
}
void store_volatile(unsigned long long* to, unsigned long long value);

template <class... Parameters, class... Arguments>
void launch(Stream& stream, void (*kernel)(Parameters...), const LaunchShape& shape,
            const Arguments&... arguments) {
  if (emulation::settings().launches != nullptr) {
    emulation::Launch launch{{}, stream.handle(), reinterpret_cast<const void*>(kernel), shape};
    launch.overlaps = stream.follows_kernel();
    auto add = [&](const auto& argument) {
      if (launch.name.empty()) launch.name = typeid(argument).name();
      const auto* bytes = reinterpret_cast<const unsigned char*>(&argument);
      launch.arguments.insert(launch.arguments.end(), bytes, bytes + sizeof argument);
    };
    (add(arguments), ...);
    emulation::note_launch(std::move(launch));
  }
  emulation::enqueue(
      stream, emulation::Grid{{static_cast<unsigned>(shape.blocks), static_cast<unsigned>(shape.rows), 1},
                              shape.threads,
                              shape.shared_bytes,
                              [=] { kernel(arguments...); }});
}

}  // namespace lasnet::cuda

#define threadIdx (lasnet::cuda::emulation::position.thread)
#define blockIdx (lasnet::cuda::emulation::position.block)
#define blockDim (lasnet::cuda::emulation::position.block_size)
#define gridDim (lasnet::cuda::emulation::position.grid_size)

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline void __syncthreads() { lasnet::cuda::emulation::block_barrier(); }

inline unsigned __ballot_sync(unsigned, int predicate) {
  struct Vote {
    int predicate;
    unsigned result;
  } mine{predicate, 0};
  lasnet::cuda::emulation::warp_meeting("ballot", &mine, [](void* const* lanes) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i)
      votes |= static_cast<unsigned>(static_cast<Vote*>(lanes[i])->predicate != 0) << i;
    for (int i = 0; i < 32; ++i) static_cast<Vote*>(lanes[i])->result = votes;
  });
  return mine.result;
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  return lasnet::cuda::emulation::shuffle("shuffle", value, lasnet::cuda::emulation::lane_index() ^ distance);
}

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return lasnet::cuda::emulation::shuffle("shuffle", value, lane);
}

/// Lanes without such a neighbour keep their own.
template <class T>
T __shfl_up_sync(unsigned, T value, int distance) {
  int lane = lasnet::cuda::emulation::lane_index();
  return lasnet::cuda::emulation::shuffle("shuffle", value, lane < distance ? lane : lane - distance);
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

/// One more than the place of the lowest bit set; 0: none is.
inline int __ffs(int bits) { return __builtin_ffs(bits); }

unsigned long long atomicAdd(unsigned long long* address, unsigned long long value);
unsigned long long atomicMin(unsigned long long* address, unsigned long long value);
