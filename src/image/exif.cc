#include <cstring>

#include "image/codec.h"

namespace lasnet {
namespace {

constexpr uint16_t kOrientationTag = 0x0112;
constexpr int kShortType = 3, kLongType = 4;

/// Bounded reads of a TIFF structure in its own byte order; 0 beyond the end.
class Tiff {
 public:
  Tiff(const uint8_t* bytes, size_t size)
      : bytes_(bytes), size_(size), big_endian_(size > 0 && bytes[0] == 'M') {}

  uint16_t u16(uint64_t at) const {
    if (at + 2 > size_) return 0;
    int first = bytes_[at], second = bytes_[at + 1];
    return static_cast<uint16_t>(big_endian_ ? first << 8 | second : second << 8 | first);
  }

  uint32_t u32(uint64_t at) const {
    uint32_t first = u16(at), second = u16(at + 2);
    return big_endian_ ? first << 16 | second : second << 16 | first;
  }

 private:
  const uint8_t* bytes_;
  size_t size_;
  bool big_endian_;
};

}  // namespace

int exif_orientation(const uint8_t* bytes, size_t size) {
  if (size >= kExifPrefix.size() && std::memcmp(bytes, kExifPrefix.data(), kExifPrefix.size()) == 0) {
    bytes += kExifPrefix.size();
    size -= kExifPrefix.size();
  }
  Tiff tiff(bytes, size);
  if (tiff.u16(2) != 42) return 1;
  uint64_t directory = tiff.u32(4);
  uint64_t entries = tiff.u16(directory);
  for (uint64_t i = 0; i < entries; ++i) {
    uint64_t entry = directory + 2 + i * 12;
    if (tiff.u16(entry) != kOrientationTag) continue;
    int type = tiff.u16(entry + 2);
    if (type != kShortType && type != kLongType) return 1;
    uint32_t value = type == kShortType ? tiff.u16(entry + 8) : tiff.u32(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image turn_upright(Image image, int orientation) {
  if (orientation <= 1) return image;
  bool transpose = orientation >= 5;
  bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image result = image;
  if (transpose) std::swap(result.width, result.height);
  uint8_t* to = result.rgb.data();
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x, to += 3) {
      int from_x = transpose ? y : x;
      int from_y = transpose ? x : y;
      if (flip_x) from_x = image.width - 1 - from_x;
      if (flip_y) from_y = image.height - 1 - from_y;
      std::memcpy(to, image.rgb.data() + (static_cast<size_t>(from_y) * image.width + from_x) * 3, 3);
    }
  }
  return result;
}

}  // namespace lasnet
