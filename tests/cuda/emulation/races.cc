#include "races.h"

#include <algorithm>
#include <utility>

namespace lasnet::cuda::emulation {
namespace {

constexpr int kWordBytes = 4;
constexpr uint8_t kWholeWord = 0xf;
/// Of device memory, after which what grids that have ended did is forgotten: 400 MB.
constexpr size_t kMaxPages = 8192;

bool lies_in(std::span<const unsigned char> region, const void* address) {
  return reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(region.data()) < region.size();
}
bool meets(const Access& one, const Access& other) { return (one.bytes & other.bytes) != 0; }
bool covers(const Access& one, const Access& other) { return (other.bytes & ~one.bytes) == 0; }
/// Of one block, between the same barriers.
bool is_at_time_of(const Access& one, const Access& other) {
  return one.is_of_block(other) && one.time == other.time;
}

}  // namespace

void WarpClocks::meet(uint32_t warps) {
  std::array<uint32_t, kWarps> all = {};
  const auto for_each_warp = [&](const auto& visit) {
    for (int warp = 0; warp < kWarps; ++warp) {
      if ((warps >> warp & 1) != 0) visit(warp);
    }
  };
  for_each_warp([&](int warp) {
    ++known_[warp][warp];
    for (int other = 0; other < kWarps; ++other) all[other] = std::max(all[other], known_[warp][other]);
  });
  for_each_warp([&](int warp) { known_[warp] = all; });
}

uint32_t RaceDetector::number(std::vector<Place> grids) {
  if (pages_.size() > kMaxPages) {
    pages_.clear();
    last_page_ = nullptr;
  }
  first_number_ += static_cast<uint32_t>(places_.size());
  places_ = std::move(grids);
  return first_number_;
}

bool RaceDetector::is_ordered_grid(uint32_t before) const {
  const RaceContext& now = *context_;
  if (before > now.grid) return false;  // it has started early
  if (now.unordered_from != 0 && before >= now.unordered_from) return false;
  if (before < first_number_) return true;
  const Place &one = places_[before - first_number_], &other = places_[now.grid - first_number_];
  return one.segment != other.segment || one.stream == other.stream;
}

inline bool RaceDetector::is_ordered(const Access& before, const Access& now) const {
  if (before.is_of_block(now)) {
    if (before.under_way) return false;
    return before.thread == now.thread ||
           context_->clocks->has_seen(now.thread / 32, before.thread / 32, before.time);
  }
  if (before.grid == 0) return true;
  return before.grid != now.grid && is_ordered_grid(before.grid);
}

WordHistory& RaceDetector::device_word(uintptr_t word) {
  const uintptr_t index = word / kPageWords;
  if (last_page_ == nullptr || index != last_index_) {
    std::unique_ptr<Page>& page = pages_[index];
    if (!page) page = std::make_unique<Page>();
    last_page_ = page.get();
    last_index_ = index;
  }
  return (*last_page_)[word % kPageWords];
}

template <class Visit>
inline void RaceDetector::for_each_word(const void* address, int64_t bytes, const Visit& visit) {
  if (lies_in(context_->stacks, address)) return;
  const bool shared = lies_in(context_->shared, address);
  const uintptr_t shared_begin = reinterpret_cast<uintptr_t>(context_->shared.data()) / kWordBytes;
  Access now{.grid = context_->grid,
             .block = context_->block,
             .time = context_->clocks->time_of(context_->thread / 32),
             .thread = context_->thread,
             .bytes = kWholeWord};
  const auto begin = reinterpret_cast<uintptr_t>(address), end = begin + static_cast<uintptr_t>(bytes);
  for (uintptr_t word = begin / kWordBytes; word * kWordBytes < end; ++word) {
    const uintptr_t from = word * kWordBytes, to = from + kWordBytes;
    if (from < begin || to > end) {
      const uintptr_t skipped = from < begin ? begin - from : 0, dropped = to > end ? to - end : 0;
      now.bytes = static_cast<uint8_t>(kWholeWord >> dropped >> skipped << skipped);
    } else {
      now.bytes = kWholeWord;
    }
    visit(shared ? context_->shared_words[word - shared_begin] : device_word(word), now);
  }
}

void RaceDetector::report(const Access& before, const Access& now, const char* did, const char* does,
                          const void* address) {
  if (race_) return;
  std::string where = "device memory";
  if (lies_in(context_->shared, address)) {
    const auto offset = static_cast<const unsigned char*>(address) - context_->shared.data();
    where = "shared memory, byte " + std::to_string(offset);
  }
  std::string who = "thread " + std::to_string(before.thread);
  if (before.grid > now.grid) {
    who = "the next grid, before it waited for this one,";
  } else if (before.grid < now.grid) {
    who = "a grid that may still run";
  } else if (before.block != now.block) {
    who = "block " + std::to_string(before.block);
  } else if (before.under_way) {
    who = "a copy that was not waited for, of " + who + ",";
  }
  race_ = "a race for " + where + ": " + who + " " + did + " what thread " + std::to_string(now.thread) +
          " " + does;
}

void RaceDetector::read(const void* address, int64_t bytes) {
  if (context_ == nullptr) return;
  for_each_word(address, bytes, [&](WordHistory& history, const Access& now) {
    // Two reads at a time are enough: a write since would have raced with them.
    auto& [one, other] = history.reads;
    if (is_at_time_of(one, now) && is_at_time_of(other, now) && covers(one, now) && covers(other, now))
      return;
    if (meets(history.write, now) && !is_ordered(history.write, now)) {
      report(history.write, now, "writes", "reads", address);
    }
    for (Access& read : history.reads) {
      if (is_at_time_of(read, now) && read.thread == now.thread) {
        read.bytes |= now.bytes;
        return;
      }
      // What races with that one races with this one.
      if (is_ordered(read, now)) {
        read = now;
        return;
      }
    }
  });
}

void RaceDetector::write(const void* address, int64_t bytes, bool under_way) {
  if (context_ == nullptr) return;
  for_each_word(address, bytes, [&](WordHistory& history, const Access& now) {
    if (meets(history.write, now) && !is_ordered(history.write, now)) {
      report(history.write, now, "writes", "writes", address);
    }
    for (Access& read : history.reads) {
      if (meets(read, now) && !is_ordered(read, now)) report(read, now, "reads", "writes", address);
      if (covers(now, read)) read = {};
    }
    history.write = now;
    history.write.under_way = under_way;
  });
}

void RaceDetector::begin_copy(const void* shared, const void* global, int64_t bytes) {
  if (global != nullptr) read(global, bytes);
  write(shared, bytes, true);
}

void RaceDetector::end_copy(const void* shared, const void* global, int64_t bytes) {
  if (context_ == nullptr) return;
  if (global != nullptr) read(global, bytes);
  for_each_word(shared, bytes, [](WordHistory& history, const Access& now) { history.write = now; });
}

RaceDetector& races() {
  static thread_local RaceDetector detector;
  return detector;
}

}  // namespace lasnet::cuda::emulation

// What the instrumentation calls.
#define LASNET_ACCESSES(bytes)                                                                        \
  void __tsan_read##bytes(void* address) { lasnet::cuda::emulation::races().read(address, bytes); }   \
  void __tsan_write##bytes(void* address) { lasnet::cuda::emulation::races().write(address, bytes); } \
  void __tsan_unaligned_read##bytes(void* address) {                                                  \
    lasnet::cuda::emulation::races().read(address, bytes);                                            \
  }                                                                                                   \
  void __tsan_unaligned_write##bytes(void* address) {                                                 \
    lasnet::cuda::emulation::races().write(address, bytes);                                           \
  }

extern "C" {
LASNET_ACCESSES(1)
LASNET_ACCESSES(2)
LASNET_ACCESSES(4)
LASNET_ACCESSES(8)
LASNET_ACCESSES(16)
void __tsan_read_range(void* address, size_t bytes) {
  lasnet::cuda::emulation::races().read(address, static_cast<int64_t>(bytes));
}
void __tsan_write_range(void* address, size_t bytes) {
  lasnet::cuda::emulation::races().write(address, static_cast<int64_t>(bytes));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
