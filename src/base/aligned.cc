#include "base/aligned.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "base/fail.h"
#include "base/math.h"
#include "base/memory.h"

namespace lasnet {
namespace {

constexpr int64_t kVectorAlignment = 64;
constexpr int64_t kHugePage = 2 << 20;
/// Buffers from here on are checked against the memory there is: touching it would not fail, but have the
/// system end the process.
constexpr int64_t kCheckedBytes = 32 << 20;

int64_t alignment_of(int64_t bytes) { return bytes >= kHugePage ? kHugePage : kVectorAlignment; }

/// `bytes` is a multiple of its alignment.
void* new_zeros(int64_t bytes) {
  if (bytes >= kCheckedBytes) require_memory(bytes, "a buffer", "use a smaller batch, input size or network");
  void* memory = std::aligned_alloc(alignment_of(bytes), bytes);
  if (memory == nullptr) fail("cannot allocate {} MiB; use a smaller batch or input size", bytes >> 20);
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);  // fewer TLB misses; only a hint
  std::memset(memory, 0, bytes);
  return memory;
}

}  // namespace

template <typename T>
void AlignedArray<T>::Free::operator()(T* p) const {
  std::free(p);
}

template <typename T>
AlignedArray<T>::AlignedArray(int64_t size) : size_(size) {
  if (size > 0) data_.reset(static_cast<T*>(new_zeros(bytes_of(size))));
}

template <typename T>
AlignedArray<T> AlignedArray<T>::without_memory(int64_t size) {
  AlignedArray array;
  array.size_ = size;
  return array;
}

template <typename T>
int64_t AlignedArray<T>::bytes_of(int64_t size) {
  const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
  return round_up(bytes, alignment_of(bytes));
}

template class AlignedArray<float>;
template class AlignedArray<int32_t>;
template class AlignedArray<uint32_t>;
template class AlignedArray<uint8_t>;

}  // namespace lasnet
