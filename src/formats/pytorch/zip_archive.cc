#include "formats/pytorch/zip_archive.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <string_view>
#include <tuple>

#include "base/fail.h"
#include "formats/printable.h"
#include "formats/pytorch/python_advice.h"

namespace lasnet {
namespace {

static_assert(std::endian::native == std::endian::little, "fields are copied as they are");

// Record sizes and signatures of the format's specification (PKWARE APPNOTE 6.3).
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kZip64EndSignature = 0x06064b50;
constexpr uint32_t kZip64LocatorSignature = 0x07064b50;
constexpr uint64_t kLocalSize = 30;
constexpr uint64_t kEndSize = 22;
constexpr uint64_t kZip64EndSize = 56;
constexpr uint64_t kZip64LocatorSize = 20;
constexpr uint64_t kDescriptorSize = 12;  // without its optional signature
constexpr uint16_t kZip64Extra = 0x0001;
constexpr uint16_t kEncrypted = 0x0001 | 0x0040 | 0x2000;
constexpr uint16_t kSizesFollow = 0x0008;
constexpr uint32_t kIn64Bits = 0xffffffff;  // a field whose value is in the zip64 records
constexpr uint16_t kIn16Bits = 0xffff;      // the same of 16 bits

constexpr uint64_t kMaxDirectory = 32u << 20;
constexpr uint64_t kMaxEntries = 100'000;
constexpr size_t kMaxName = 512;
constexpr size_t kChunk = 1 << 20;

/// Little-endian fields of a record, one after the other.
class Fields {
 public:
  Fields(std::span<const uint8_t> bytes, const std::string& origin, const char* record)
      : bytes_(bytes), origin_(origin), record_(record) {}

  template <typename T>
  T next() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::span<const uint8_t> take(size_t count) {
    if (count > bytes_.size()) fail("{}: broken zip archive: its {} is cut short", origin_, record_);
    auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  void skip(size_t count) { take(count); }
  bool empty() const { return bytes_.empty(); }
  size_t left() const { return bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& origin_;
  const char* record_;
};

/// The values of the zip64 extra field replace, in this order, those of `values` that say so.
void apply_zip64(Fields extra, std::initializer_list<uint64_t*> values, const std::string& origin) {
  while (extra.left() >= 4) {
    auto id = extra.next<uint16_t>();
    auto size = extra.next<uint16_t>();
    Fields field(extra.take(size), origin, "zip64 extra field");
    if (id != kZip64Extra) continue;
    for (uint64_t* value : values) {
      if (*value == kIn64Bits) *value = field.next<uint64_t>();
    }
    return;
  }
}

bool is_safe_path(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return name.find_first_of(std::string_view("\\\0", 2)) == std::string_view::npos;
}

void check_entry(const std::string& name, uint16_t flags, const ZipEntry& entry, const std::string& origin) {
  if (!is_safe_path(name)) {
    fail("{}: refused: its entry '{}' is not a plain relative path", origin, printable(name));
  }
  if ((flags & kEncrypted) != 0) fail("{}: its entry '{}' is encrypted", origin, printable(name));
  if (entry.method == 0 && entry.size != entry.full_size) {
    fail("{}: broken zip archive: entry '{}' is stored, but as {} bytes of {}", origin, printable(name),
         entry.size, entry.full_size);
  }
}

}  // namespace

ZipArchive::ZipArchive(ByteSource source) : source_(std::move(source)) {
  Directory directory = find_directory();
  read_directory(directory);
  check_overlaps(directory.begin);
}

ZipArchive::Directory ZipArchive::find_directory() const {
  uint64_t end = source_.size() < kEndSize ? 0 : source_.size() - kEndSize;
  std::vector<uint8_t> bytes = source_.read(end, std::min(source_.size(), kEndSize));
  Fields fields(bytes, origin(), "end record");
  if (bytes.size() < kEndSize || fields.next<uint32_t>() != kEndSignature) {
    fail("{}: truncated or damaged: it begins like a zip archive, but does not end with its directory",
         origin());
  }
  auto disk = fields.next<uint16_t>(), directory_disk = fields.next<uint16_t>();
  auto here = fields.next<uint16_t>(), total = fields.next<uint16_t>();
  auto size = fields.next<uint32_t>(), begin = fields.next<uint32_t>();
  auto comment = fields.next<uint16_t>();
  if (disk != 0 || directory_disk != 0 || here != total || comment != 0) {
    fail("{}: broken zip archive: its end record speaks of several disks or of a comment", origin());
  }
  Directory directory{begin, size, total};
  if (end >= kZip64LocatorSize) {
    std::vector<uint8_t> signature = source_.read(end - kZip64LocatorSize, uint64_t{4});
    uint32_t value = 0;
    std::memcpy(&value, signature.data(), 4);
    if (value == kZip64LocatorSignature) {
      directory = read_zip64_end(end - kZip64LocatorSize);
      bool agree = (begin == kIn64Bits || begin == directory.begin) &&
                   (size == kIn64Bits || size == directory.size) &&
                   (total == kIn16Bits || total == directory.entries);
      if (!agree) fail("{}: broken zip archive: its two end records differ", origin());
      end = end - kZip64LocatorSize - kZip64EndSize;
    }
  }
  if (directory.begin > end || directory.size != end - directory.begin) {
    fail("{}: broken zip archive: a directory of {} bytes at byte {}, expected to end at byte {}", origin(),
         directory.size, directory.begin, end);
  }
  if (directory.size > kMaxDirectory || directory.entries > kMaxEntries) {
    fail("{}: a directory of {} bytes and {} entries; expected at most {} and {}", origin(), directory.size,
         directory.entries, kMaxDirectory, kMaxEntries);
  }
  return directory;
}

ZipArchive::Directory ZipArchive::read_zip64_end(uint64_t locator) const {
  std::vector<uint8_t> bytes = source_.read(locator, kZip64LocatorSize);
  Fields place(bytes, origin(), "zip64 locator");
  place.skip(8);
  auto offset = place.next<uint64_t>();
  if (locator < kZip64EndSize || offset != locator - kZip64EndSize) {
    fail("{}: broken zip archive: its zip64 end record is said to be at byte {}", origin(), offset);
  }
  bytes = source_.read(offset, kZip64EndSize);
  Fields fields(bytes, origin(), "zip64 end record");
  if (fields.next<uint32_t>() != kZip64EndSignature) {
    fail("{}: broken zip archive: there is no zip64 end record at byte {}", origin(), offset);
  }
  fields.skip(8 + 2 + 2 + 4 + 4);  // its size, versions, disks
  auto here = fields.next<uint64_t>(), total = fields.next<uint64_t>();
  auto size = fields.next<uint64_t>(), begin = fields.next<uint64_t>();
  if (here != total) fail("{}: broken zip archive: its zip64 end record speaks of several disks", origin());
  return {begin, size, total};
}

void ZipArchive::read_directory(const Directory& directory) {
  std::vector<uint8_t> bytes = source_.read(directory.begin, directory.size);
  Fields fields(bytes, origin(), "directory");
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (fields.next<uint32_t>() != kCentralSignature) {
      fail("{}: broken zip archive: entry {} of its directory has no signature", origin(), i);
    }
    fields.skip(4);  // versions
    auto flags = fields.next<uint16_t>(), method = fields.next<uint16_t>();
    fields.skip(4);  // time and date
    auto crc = fields.next<uint32_t>();
    uint64_t stored = fields.next<uint32_t>(), size = fields.next<uint32_t>();
    auto name_size = fields.next<uint16_t>(), extra_size = fields.next<uint16_t>();
    auto comment_size = fields.next<uint16_t>();
    fields.skip(2 + 2 + 4);  // disk, attributes
    uint64_t header = fields.next<uint32_t>();
    auto text = fields.take(name_size);
    std::string name(text.begin(), text.end());
    apply_zip64(Fields(fields.take(extra_size), origin(), "extra field"), {&size, &stored, &header},
                origin());
    fields.skip(comment_size);
    ZipEntry entry{.header = header, .size = stored, .full_size = size, .method = method, .crc = crc};
    check_entry(name, flags, entry, origin());
    read_local_header(name, flags, entry);
    if (!entries_.emplace(name, entry).second) {
      fail("{}: broken zip archive: entry '{}' appears twice", origin(), printable(name));
    }
  }
  if (!fields.empty()) fail("{}: broken zip archive: its directory has surplus bytes", origin());
}

void ZipArchive::read_local_header(const std::string& name, uint16_t flags, ZipEntry& entry) {
  auto disagree = [&] {
    fail("{}: broken zip archive: the local header of entry '{}' differs from the directory", origin(),
         printable(name));
  };
  std::vector<uint8_t> bytes = source_.read(entry.header, kLocalSize);
  Fields fields(bytes, origin(), "local header");
  if (fields.next<uint32_t>() != kLocalSignature) disagree();
  fields.skip(2);  // version
  if (fields.next<uint16_t>() != flags || fields.next<uint16_t>() != entry.method) disagree();
  fields.skip(4);  // time and date
  auto crc = fields.next<uint32_t>();
  uint64_t stored = fields.next<uint32_t>(), size = fields.next<uint32_t>();
  auto name_size = fields.next<uint16_t>(), extra_size = fields.next<uint16_t>();
  std::vector<uint8_t> rest = source_.read(entry.header + kLocalSize, uint64_t{name_size} + extra_size);
  std::span<const uint8_t> all(rest);
  if (!std::ranges::equal(all.first(name_size), name, {}, {}, [](char c) { return static_cast<uint8_t>(c); }))
    disagree();
  apply_zip64(Fields(all.subspan(name_size), origin(), "extra field"), {&size, &stored}, origin());
  bool later = (flags & kSizesFollow) != 0 && crc == 0 && size == 0 && stored == 0;
  if (!later && (crc != entry.crc || size != entry.full_size || stored != entry.size)) disagree();
  entry.begin = entry.header + kLocalSize + rest.size();
  header_bytes_ += kLocalSize + rest.size();  // refused early, so that overlaps cannot cost time
  if (header_bytes_ > source_.size()) fail("{}: broken zip archive: its local headers overlap", origin());
  uint64_t after = (flags & kSizesFollow) != 0 ? kDescriptorSize : 0;
  uint64_t end = source_.size();
  if (after > end - entry.begin || entry.size > end - entry.begin - after) {
    fail("{}: broken zip archive: entry '{}' of {} bytes at byte {} leaves the file of {}", origin(),
         printable(name), entry.size, entry.begin, end);
  }
}

void ZipArchive::check_overlaps(uint64_t directory_begin) const {
  std::vector<std::tuple<uint64_t, uint64_t, const std::string*>> ranges;
  for (const auto& [name, entry] : entries_) {
    ranges.emplace_back(entry.header, entry.begin + entry.size, &name);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto& [begin, end, name] = ranges[i];
    uint64_t next = i + 1 < ranges.size() ? std::get<0>(ranges[i + 1]) : directory_begin;
    if (end > next) {
      fail("{}: broken zip archive: entry '{}' (bytes {} to {}) overlaps what begins at byte {}", origin(),
           printable(*name), begin, end, next);
    }
  }
}

void ZipArchive::require_stored() const {
  for (const auto& [name, entry] : entries_) {
    if (entry.method == 0) continue;
    fail("{}: its entry '{}' is compressed (method {}); torch.save stores entries as they are. {}", origin(),
         printable(name), entry.method, save_checkpoint_again(origin()));
  }
}

const ZipEntry* ZipArchive::find(const std::string& name) const {
  auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

const ZipEntry& ZipArchive::at(const std::string& name) const {
  const ZipEntry* entry = find(name);
  if (entry == nullptr) fail("{}: its entry '{}' is missing", origin(), printable(name));
  return *entry;
}

void ZipArchive::check_crc(const std::string& name, const ZipEntry& entry) {
  if (checked_.contains(name)) return;
  std::vector<uint8_t> buffer(std::min<uint64_t>(entry.size, kChunk));
  uLong crc = crc32(0, nullptr, 0);
  for (uint64_t done = 0; done < entry.size;) {
    auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), entry.size - done));
    source_.read(entry.begin + done, part);
    crc = crc32(crc, part.data(), static_cast<uInt>(part.size()));
    done += part.size();
  }
  if (crc != entry.crc) {
    fail(
        "{}: damaged: the bytes of its entry '{}' have CRC-32 {:08x}, expected {:08x}. Get it again; or was "
        "it "
        "saved after torch.serialization.set_crc32_options(False)? {}",
        origin(), printable(name), crc, entry.crc, save_checkpoint_again(origin()));
  }
  checked_.insert(name);
}

std::vector<uint8_t> ZipArchive::read(const std::string& name, uint64_t begin, uint64_t count) {
  const ZipEntry& entry = at(name);
  if (begin > entry.size || count > entry.size - begin) {
    fail("{}: {} bytes at byte {} of its entry '{}' are needed, which has {}", origin(), count, begin,
         printable(name), entry.size);
  }
  check_crc(name, entry);
  return source_.read(entry.begin + begin, count);
}

std::vector<uint8_t> ZipArchive::read(const std::string& name, uint64_t limit) {
  const ZipEntry& entry = at(name);
  if (entry.size > limit) {
    fail("{}: its entry '{}' has {} bytes, expected at most {}", origin(), printable(name), entry.size,
         limit);
  }
  return read(name, 0, entry.size);
}

}  // namespace lasnet
