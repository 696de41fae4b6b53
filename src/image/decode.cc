#include <cstring>
#include <new>

#include "base/fail.h"
#include "base/file.h"
#include "image/codec.h"

namespace lasnet {
namespace {

constexpr uint64_t kMaxFileBytes = 1ULL << 30;

}  // namespace

bool EncodedImage::has(std::string_view text, size_t offset) const {
  return offset + text.size() <= size && std::memcmp(bytes + offset, text.data(), text.size()) == 0;
}

void EncodedImage::check_size(uint64_t width, uint64_t height) const {
  // The formats' 32-bit sizes cannot overflow this product.
  if (width == 0 || height == 0) fail("{}: {} x {} pixels, expected at least one", origin, width, height);
  if (width * height > static_cast<uint64_t>(options.max_pixels)) {
    fail(
        "{}: {} x {} pixels; expected at most max_pixels = {} in all, which bounds the memory that an image "
        "takes",
        origin, width, height, options.max_pixels);
  }
}

void EncodedImage::warn(const std::string& damage) const {
  if (options.strict) fail("{}: a damaged image: {}", origin, damage);
  if (options.on_warning) {
    options.on_warning(fmt::format("{}: a damaged image, read as far as it can be: {}", origin, damage));
  }
}

bool is_jpeg(const EncodedImage& encoded) { return encoded.has("\xff\xd8\xff"); }

bool is_png(const EncodedImage& encoded) { return encoded.has("\x89PNG\r\n\x1a\n"); }

bool is_webp(const EncodedImage& encoded) { return encoded.has("RIFF") && encoded.has("WEBP", 8); }

Image decode(const EncodedImage& encoded) try {
  if (encoded.size == 0) fail("{}: the file is empty, expected a JPEG, PNG or WebP image", encoded.origin);
  if (is_jpeg(encoded)) return decode_jpeg(encoded);
  if (is_png(encoded)) return decode_png(encoded);
  if (is_webp(encoded)) return decode_webp(encoded);
  fail("{}: {}", encoded.origin, describe_foreign(encoded));
} catch (const std::bad_alloc&) {
  fail("{}: not enough memory for its pixels", encoded.origin);
}

void blend_over_white(const uint8_t* rgba, size_t pixels, uint8_t* rgb) {
  for (const uint8_t* end = rgba + pixels * 4; rgba != end; rgba += 4, rgb += 3) {
    int alpha = rgba[3];
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<uint8_t>((rgba[c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
}

Image decode_image(const uint8_t* bytes, size_t size, const std::string& origin,
                   const DecodeOptions& options) {
  return decode({.bytes = bytes, .size = size, .origin = origin, .options = options});
}

Image load_image(const std::string& path, const DecodeOptions& options) {
  std::vector<uint8_t> bytes = read_file(path, kMaxFileBytes);
  return decode_image(bytes.data(), bytes.size(), path, options);
}

}  // namespace lasnet
