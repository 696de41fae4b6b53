// Reading files whole or in pieces, and atomic writing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace lasnet {

/// A regular file, or bytes in memory, read piece by piece, so that only what is used is held. A value whose
/// copies share the file.
class ByteSource {
 public:
  /// Throws Error naming the path and the reason.
  static ByteSource open(const std::string& path);
  /// Bytes that the caller keeps; `origin` names them in errors.
  static ByteSource memory(std::span<const uint8_t> bytes, std::string origin);

  uint64_t size() const { return size_; }
  const std::string& origin() const { return origin_; }

  /// Fills `to` from `offset`. Throws Error if that is not inside, or reading fails.
  void read(uint64_t offset, std::span<uint8_t> to) const;
  /// The same into a new buffer, which is allocated only if the bytes are inside.
  std::vector<uint8_t> read(uint64_t offset, uint64_t count) const;

 private:
  using Reader = std::function<void(uint64_t offset, std::span<uint8_t> to)>;

  ByteSource(std::string origin, uint64_t size, Reader reader)
      : origin_(std::move(origin)), size_(size), reader_(std::move(reader)) {}

  void check_inside(uint64_t offset, uint64_t count) const;

  std::string origin_;
  uint64_t size_ = 0;
  Reader reader_;
};

/// Reads a regular file of at most `limit` bytes. Throws Error naming the path and the reason.
std::vector<uint8_t> read_file(const std::string& path, uint64_t limit = UINT64_MAX);

/// Calls `write` on a stream to a temporary file beside `path`, checks, flushes to disk, renames. On any
/// failure (an exception from `write`, a full disk) the temporary file is removed, `path` is untouched, and
/// Error is thrown. Links are followed, also to a file that is not there yet. A file that is replaced keeps
/// its mode; a read-only one, or one that is a mount point, is refused.
void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& write);

/// Removes what write_file_atomically calls for `path` left beside it whose process was killed. Only for
/// whoever alone writes there.
void remove_half_written(const std::string& path);

/// Keeps a folder to this process: until it is destroyed, or the process ends, nobody else gets a lock of
/// the folder. On file systems without locks it keeps nobody out.
class FolderLock {
 public:
  /// Throws Error if somebody else holds it, saying `taken`, or if the folder cannot be opened.
  FolderLock(const std::string& folder, const std::string& taken);
  FolderLock(FolderLock&&) = delete;

 private:
  std::shared_ptr<const void> folder_;  ///< closes it
};

/// Throws the Error that write_file_atomically would, without touching `path`: to be asked before long work.
void check_writable(const std::string& path);

}  // namespace lasnet
