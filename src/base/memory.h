// Whether there is memory for something, asked before it is taken.
#pragma once

#include <cstdint>
#include <string>

namespace lasnet {

/// Bytes that this process can still take. That is what the system says programs can have without swapping.
/// It is no more than the control group (container) and the process's own limits (ulimit -v, -d) leave. The
/// largest int64 where nothing is said.
int64_t available_memory_bytes();

/// Throws Error naming `what` if `bytes` are more than is available. `advice` says what needs less.
void require_memory(int64_t bytes, const std::string& what, const std::string& advice);

}  // namespace lasnet
