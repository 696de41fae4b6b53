// Tar archives (POSIX ustar and pax, GNU), read member by member. Their bytes are foreign.
#pragma once

#include <optional>
#include <string>

#include "base/file.h"

namespace lasnet {

/// A regular file in an archive.
struct TarMember {
  std::string name;
  uint64_t offset = 0, size = 0;  ///< of its bytes, which are inside the archive
};

class TarReader {
 public:
  explicit TarReader(ByteSource source) : source_(std::move(source)) {}

  /// The next regular file, or nothing at the end. Folders and links are passed over. Throws Error on what is
  /// no archive, and on one that is damaged or cut off.
  std::optional<TarMember> next();

 private:
  struct Header;

  std::span<const uint8_t> bytes_at(uint64_t offset, uint64_t count);
  Header header_at(uint64_t offset);
  std::string text_of(const Header& header, const char* what);
  void read_pax(const Header& header, std::optional<std::string>& name, std::optional<uint64_t>& size);
  [[noreturn]] void refuse(uint64_t offset, const std::string& why) const;

  ByteSource source_;
  uint64_t at_ = 0;  ///< of the next header
  std::vector<uint8_t> window_;
  uint64_t window_begin_ = 0;
};

}  // namespace lasnet
