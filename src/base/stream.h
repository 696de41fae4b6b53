// Stores of what will not be read soon.
#pragma once

#include <algorithm>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace lasnet {

/// Copies floats past the caches, which neither read what is overwritten nor lose what they hold.
/// `finish_streaming` must follow on this thread before another one reads them.
inline void stream_floats(const float* from, int64_t count, float* to) {
#if defined(__SSE2__)
  constexpr int64_t kLine = 16, kVector = 4;  // floats
  const auto offset = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) / sizeof(float)) % kLine;
  const int64_t head = std::min(offset == 0 ? 0 : kLine - offset, count);
  const int64_t end = head + (count - head) / kLine * kLine;
  std::copy_n(from, head, to);
  for (int64_t i = head; i < end; i += kVector) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
  std::copy(from + end, from + count, to + end);
#else
  std::copy_n(from, count, to);
#endif
}

/// Lets other threads see what stream_floats has written.
inline void finish_streaming() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace lasnet
