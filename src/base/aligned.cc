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

}  // namespace

void AlignedBuffer::Free::operator()(float* p) const { std::free(p); }

AlignedBuffer::AlignedBuffer(int64_t size) : size_(size) {
  if (size == 0) return;
  int64_t bytes = size * static_cast<int64_t>(sizeof(float));
  int64_t alignment = bytes >= kHugePage ? kHugePage : kVectorAlignment;
  bytes = round_up(bytes, alignment);
  if (bytes >= kCheckedBytes) require_memory(bytes, "a buffer", "use a smaller batch, input size or network");
  void* memory = std::aligned_alloc(alignment, bytes);
  if (memory == nullptr) fail("cannot allocate {} MiB; use a smaller batch or input size", bytes >> 20);
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);  // fewer TLB misses; only a hint
  std::memset(memory, 0, bytes);
  data_.reset(static_cast<float*>(memory));
}

AlignedBuffer AlignedBuffer::without_memory(int64_t size) {
  AlignedBuffer buffer;
  buffer.size_ = size;
  return buffer;
}

}  // namespace lasnet
