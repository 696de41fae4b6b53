// The global operator new, replaced by one that counts.
#pragma once

#include <cstdint>

namespace lasnet::test {

/// Calls of operator new in this process so far, on any thread.
int64_t allocations();

}  // namespace lasnet::test
