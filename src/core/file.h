// Whole-file reading and atomic writing.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace lasnet {

/// Reads a regular file of at most `limit` bytes. Throws Error naming the path and the reason.
std::vector<uint8_t> read_file(const std::string& path, uint64_t limit = UINT64_MAX);

/// Calls `write` on a stream to a temporary file beside `path`, checks, flushes to disk, renames. On any
/// failure (an exception from `write`, a full disk) the temporary file is removed, `path` is untouched, and
/// Error is thrown.
void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& write);

}  // namespace lasnet
