#include <algorithm>
#include <cstring>
#include <new>

#include "core/fail.h"
#include "core/file.h"
#include "image/codec.h"

namespace lasnet {
namespace {

constexpr uint64_t kMaxFileBytes = 1ULL << 30;

}  // namespace

void EncodedImage::check_size(uint64_t width, uint64_t height) const {
  // The formats' 32-bit sizes cannot overflow this product.
  if (width == 0 || height == 0 || width * height > static_cast<uint64_t>(max_pixels)) {
    fail("{}: {} x {} pixels, expected 1 to {} in all", origin, width, height, max_pixels);
  }
}

bool is_jpeg(const EncodedImage& encoded) {
  return encoded.size >= 3 && std::memcmp(encoded.bytes, "\xff\xd8\xff", 3) == 0;
}

bool is_png(const EncodedImage& encoded) {
  return encoded.size >= 8 && std::memcmp(encoded.bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

Image decode(const EncodedImage& encoded) try {
  if (encoded.size == 0) fail("{}: the file is empty, expected a JPEG or PNG image", encoded.origin);
  if (is_jpeg(encoded)) return decode_jpeg(encoded);
  if (is_png(encoded)) return decode_png(encoded);
  fail("{}: neither a JPEG nor a PNG image", encoded.origin);
} catch (const std::bad_alloc&) {
  fail("{}: not enough memory for its pixels", encoded.origin);
}

Image decode_image(const uint8_t* bytes, size_t size, const std::string& origin) {
  return decode({.bytes = bytes, .size = size, .origin = origin});
}

Image load_image(const std::string& path) {
  std::vector<uint8_t> bytes = read_file(path, kMaxFileBytes);
  return decode_image(bytes.data(), bytes.size(), path);
}

}  // namespace lasnet
