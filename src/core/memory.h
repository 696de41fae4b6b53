// Whether there is memory for something, asked before it is taken.
#pragma once

#include <cstdint>
#include <string>

namespace lasnet {

/// Bytes that this process can still take without swapping: what the system says, within the limits of the
/// process and its container. The largest int64 where nothing says it.
int64_t available_memory_bytes();

/// Throws Error naming `what` if `bytes` are more than is available. `advice` says what needs less.
void require_memory(int64_t bytes, const std::string& what, const std::string& advice);

}  // namespace lasnet
