// A strict reader of zip archives of stored (uncompressed) entries, as torch.save writes them, zip64
// included.
//
// Not libzip: its consistency check (ZIP_CHECKCONS of 1.7.3) compares each entry with its local header, but
// lets entries overlap, keeps names like ../../x, and inflates compressed entries. Checkpoints need a tenth
// of the format, so the strict tenth is read here and everything else is refused by name.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"

namespace lasnet {

/// One file of the archive: `size` bytes at `begin`.
struct ZipEntry {
  uint64_t header = 0;  ///< where its local header begins
  uint64_t begin = 0;
  uint64_t size = 0;
  uint64_t full_size = 0;  ///< another than `size` only where the entry is compressed
  uint16_t method = 0;     ///< 0: stored
  uint32_t crc = 0;        ///< of the full bytes
};

class ZipArchive {
 public:
  /// Reads the central directory and every local header. Throws Error unless all of this holds. The
  /// directory ends the file. Every entry is unencrypted, inside the file and apart from all others, and its
  /// two headers agree. Every name is a relative path without ".." that occurs once.
  explicit ZipArchive(ByteSource source);

  const std::string& origin() const { return source_.origin(); }
  const std::map<std::string, ZipEntry>& entries() const { return entries_; }

  /// Throws Error if any entry is compressed; `read` returns bytes as they are.
  void require_stored() const;

  /// Null if there is none of this name.
  const ZipEntry* find(const std::string& name) const;

  /// Bytes [begin, begin + count) of an entry, whose CRC-32 is checked over all of its bytes the first time.
  /// Holds no more than these bytes. Throws Error if they are not inside, or on a wrong CRC.
  std::vector<uint8_t> read(const std::string& name, uint64_t begin, uint64_t count);
  /// The whole entry, which may have at most `limit` bytes.
  std::vector<uint8_t> read(const std::string& name, uint64_t limit);

 private:
  struct Directory {
    uint64_t begin = 0;
    uint64_t size = 0;
    uint64_t entries = 0;
  };

  Directory find_directory() const;
  Directory read_zip64_end(uint64_t end_record) const;
  void read_directory(const Directory& directory);
  void read_local_header(const std::string& name, uint16_t flags, ZipEntry& entry);
  void check_overlaps(uint64_t directory_begin) const;
  const ZipEntry& at(const std::string& name) const;
  void check_crc(const std::string& name, const ZipEntry& entry);

  ByteSource source_;
  std::map<std::string, ZipEntry> entries_;
  uint64_t header_bytes_ = 0;      ///< of all local headers
  std::set<std::string> checked_;  ///< entries whose CRC was found right
};

}  // namespace lasnet
