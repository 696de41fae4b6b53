#include "train/heap.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace lasnet {

#ifdef __GLIBC__

namespace {

// glibc's documented defaults.
constexpr int kDefaultMaxMaps = 65536;
constexpr int kDefaultThreshold = 128 << 10;
constexpr int kNever = -1;

}  // namespace

KeepFreedMemory::KeepFreedMemory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, kNever);
}

KeepFreedMemory::~KeepFreedMemory() {
  mallopt(M_MMAP_MAX, kDefaultMaxMaps);
  mallopt(M_TRIM_THRESHOLD, kDefaultThreshold);
  malloc_trim(0);
}

#else

KeepFreedMemory::KeepFreedMemory() = default;
KeepFreedMemory::~KeepFreedMemory() = default;

#endif

}  // namespace lasnet
