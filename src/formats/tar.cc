#include "formats/tar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "base/fail.h"
#include "base/math.h"
#include "base/numbers.h"
#include "formats/printable.h"

namespace lasnet {
namespace {

constexpr uint64_t kBlock = 512;
/// Of names and of pax's records, which are held in memory.
constexpr uint64_t kMaxTextBytes = 64 << 10;
/// What is read at a time: small members lie in one piece with the headers that follow.
constexpr uint64_t kWindowBytes = 4 << 10;

using Block = std::array<uint8_t, kBlock>;

struct Field {
  size_t offset, size;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 5}, kPrefix{345, 155};
constexpr size_t kType = 156;

std::span<const uint8_t> field(const Block& block, Field where) {
  return std::span(block).subspan(where.offset, where.size);
}

/// Up to the first zero.
std::string text(std::span<const uint8_t> bytes) { return {bytes.begin(), std::ranges::find(bytes, 0)}; }

/// Octal digits between blanks and zeros, or GNU's binary number. Nothing if it is neither.
std::optional<uint64_t> number(std::span<const uint8_t> bytes) {
  if ((bytes[0] & 0x80) != 0) {
    uint64_t value = bytes[0] & 0x7f;
    for (const uint8_t byte : bytes.subspan(1)) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | byte;
    }
    return value;
  }
  const std::string padded = text(bytes);
  uint64_t value = 0;
  for (size_t i = std::min(padded.find_first_not_of(' '), padded.size()); i < padded.size(); ++i) {
    const char digit = padded[i];
    if (digit == ' ') break;
    if (digit < '0' || digit > '7') return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(digit - '0');
  }
  return value;
}

/// The sum of a header's bytes, its own checksum as blanks.
uint64_t checksum(const Block& block) {
  const auto own = field(block, kChecksum);
  return std::accumulate(block.begin(), block.end(), uint64_t{0}) -
         std::accumulate(own.begin(), own.end(), uint64_t{0}) + uint64_t{' '} * kChecksum.size;
}

bool is_zero(const Block& block) {
  return std::ranges::all_of(block, [](uint8_t byte) { return byte == 0; });
}

}  // namespace

struct TarReader::Header {
  bool is_end = false;
  char type = 0;
  std::string name;
  uint64_t offset = 0, size = 0;  ///< of what follows it

  uint64_t end() const { return offset + round_up(size, kBlock); }
};

std::optional<TarMember> TarReader::next() {
  std::optional<std::string> name;
  std::optional<uint64_t> size;
  for (;;) {
    if (at_ == source_.size() && !name && !size) return std::nullopt;
    Header header = header_at(at_);
    if (header.is_end) {
      at_ = source_.size();
      return std::nullopt;
    }
    const bool describes_next = std::strchr("LKxg", header.type) != nullptr && header.type != 0;
    if (size && !describes_next) header.size = *size;
    if (header.size > source_.size() - header.offset)
      refuse(at_,
             fmt::format("{} has {} bytes, and the archive ends after {}: it is cut off or damaged",
                         printable(name.value_or(header.name)), header.size, source_.size() - header.offset));
    switch (header.type) {
      case 'L':
        name = text_of(header, "a long name");
        break;
      case 'x':
        read_pax(header, name, size);
        break;
      case 'K':
      case 'g':
        break;
      default:
        at_ = std::min(header.end(), source_.size());
        if (header.type == '0' || header.type == 0 || header.type == '7') {
          return TarMember{.name = name.value_or(header.name), .offset = header.offset, .size = header.size};
        }
        name.reset();
        size.reset();
        continue;
    }
    at_ = std::min(header.end(), source_.size());
  }
}

std::span<const uint8_t> TarReader::bytes_at(uint64_t offset, uint64_t count) {
  const bool inside = offset >= window_begin_ && offset + count <= window_begin_ + window_.size();
  if (!inside) {
    const uint64_t left = source_.size() - std::min(offset, source_.size());
    window_ = source_.read(offset, std::max(std::min(kWindowBytes, left), count));
    window_begin_ = offset;
  }
  return std::span(window_).subspan(offset - window_begin_, count);
}

TarReader::Header TarReader::header_at(uint64_t offset) {
  if (source_.size() - offset < kBlock) refuse(offset, "the archive is cut off: no whole header is left");
  Block block;
  std::ranges::copy(bytes_at(offset, kBlock), block.begin());
  if (is_zero(block)) return {.is_end = true, .name = {}};
  if (number(field(block, kChecksum)) != checksum(block))
    refuse(offset, "expected the header of a member, whose checksum fits");
  const auto size = number(field(block, kSize));
  if (!size) refuse(offset, "the size of a member is no number");
  Header header{.is_end = false,
                .type = static_cast<char>(block[kType]),
                .name = text(field(block, kName)),
                .offset = offset + kBlock,
                .size = *size};
  const bool is_posix = text(field(block, kMagic)) == "ustar" && block[kMagic.offset + kMagic.size] == 0;
  const std::string prefix = is_posix ? text(field(block, kPrefix)) : "";
  if (!prefix.empty()) header.name = prefix + "/" + header.name;
  return header;
}

std::string TarReader::text_of(const Header& header, const char* what) {
  if (header.size > kMaxTextBytes)
    refuse(at_, fmt::format("{} of {} bytes, expected at most {}", what, header.size, kMaxTextBytes));
  return text(bytes_at(header.offset, header.size));
}

/// Records "<their length> key=value\n".
void TarReader::read_pax(const Header& header, std::optional<std::string>& name,
                         std::optional<uint64_t>& size) {
  if (header.size > kMaxTextBytes)
    refuse(at_, fmt::format("pax records of {} bytes, expected at most {}", header.size, kMaxTextBytes));
  const auto bytes = bytes_at(header.offset, header.size);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!rest.empty()) {
    const size_t space = rest.find(' ');
    const auto length = parse_number<size_t>(rest.substr(0, space));
    const bool fits = space != rest.npos && length && *length > space + 1 && *length <= rest.size() &&
                      rest[*length - 1] == '\n';
    if (!fits) refuse(at_, "a pax record is malformed");
    const std::string_view record = rest.substr(space + 1, *length - space - 2);
    rest.remove_prefix(*length);
    const size_t equals = record.find('=');
    if (equals == record.npos) refuse(at_, "a pax record has no '='");
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") name = value.substr(0, value.find('\0'));
    if (key != "size") continue;
    size = parse_number<uint64_t>(value);
    if (!size) refuse(at_, fmt::format("the size {} in a pax record is no number", printable(value)));
  }
}

void TarReader::refuse(uint64_t offset, const std::string& why) const {
  fail("{}: not a readable tar archive, at byte {}: {}", source_.origin(), offset, why);
}

}  // namespace lasnet
