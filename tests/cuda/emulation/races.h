// Races between threads of the emulated device: accesses to the same bytes, one of them a write, that nothing
// orders. Of two threads of a block only barriers do, not warp operations; of a grid's blocks nothing does;
// of grids their order in a stream, but not before wait_for_predecessor, and meetings of streams.
//
// Kernels are compiled with GCC's instrumentation for the thread sanitizer, whose functions are defined here
// and know what is a thread: the sanitizer itself would see one. Every access is held against the last write
// of the same word of 4 bytes and against two reads since, whatever order the fibers run in. A copy is under
// way from where it is issued to where it is waited for. What is polled (load_volatile) and atomic operations
// take no part.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lasnet::cuda::emulation {

/// What a block's warps know of each other: how many barriers each has passed, as a vector clock.
class WarpClocks {
 public:
  void start() { known_ = {}; }
  /// Of a set of warps, a bit each, every one has come to the same barrier.
  void meet(uint32_t warps);
  uint32_t time_of(int warp) const { return known_[warp][warp]; }
  /// Whether what `other` did at `time` has ended, as far as a warp can know.
  bool has_seen(int warp, int other, uint32_t time) const { return known_[warp][other] > time; }

 private:
  static constexpr int kWarps = 32;
  std::array<std::array<uint32_t, kWarps>, kWarps> known_ = {};
};

/// Who accessed which bytes of a word, and when.
struct Access {
  uint32_t grid = 0;  ///< its number; 0: nobody
  uint32_t block = 0;
  uint32_t time = 0;  ///< of the warp
  uint16_t thread = 0;
  uint8_t bytes = 0;       ///< of the word, a bit each
  bool under_way = false;  ///< a copy that has not been waited for

  bool is_of_block(const Access& other) const { return grid == other.grid && block == other.block; }
};

/// Accesses to a word that later ones are held against.
struct WordHistory {
  Access write, reads[2];
};

/// Where the running thread is, and what it may access without being looked at.
struct RaceContext {
  uint32_t grid = 0, block = 0;
  uint32_t unordered_from = 0;  ///< grids from here on are not known to have ended; 0: those before have
  uint16_t thread = 0;
  const WarpClocks* clocks = nullptr;
  std::span<const unsigned char> shared, stacks;
  WordHistory* shared_words = nullptr;
};

/// Of this thread of the host. Null contexts are not looked at.
class RaceDetector {
 public:
  /// Of a grid in a graph: between which meetings of streams it lies, and in which stream.
  struct Place {
    int segment = 0;
    const void* stream = nullptr;
  };
  /// Numbers grids in the order in which they will run. Returns the first one's number.
  uint32_t number(std::vector<Place> grids);

  void enter(const RaceContext* context) { context_ = context; }
  void read(const void* address, int64_t bytes);
  void write(const void* address, int64_t bytes) { write(address, bytes, false); }
  void begin_copy(const void* shared, const void* global, int64_t bytes);
  void end_copy(const void* shared, const void* global, int64_t bytes);
  /// What was found since the last time.
  std::optional<std::string> take_race() { return std::exchange(race_, std::nullopt); }

 private:
  static constexpr int kPageWords = 1024;
  using Page = std::array<WordHistory, kPageWords>;

  void write(const void* address, int64_t bytes, bool under_way);
  /// Calls visit(history, access) for each word, with this thread's access to it.
  template <class Visit>
  void for_each_word(const void* address, int64_t bytes, const Visit& visit);
  WordHistory& device_word(uintptr_t word);
  bool is_ordered(const Access& before, const Access& now) const;
  bool is_ordered_grid(uint32_t before) const;
  void report(const Access& before, const Access& now, const char* did, const char* does,
              const void* address);

  const RaceContext* context_ = nullptr;
  std::optional<std::string> race_;
  uint32_t first_number_ = 1;
  std::vector<Place> places_;  ///< of grids from first_number_ on
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  uintptr_t last_index_ = 0;
  Page* last_page_ = nullptr;
};

RaceDetector& races();

}  // namespace lasnet::cuda::emulation
