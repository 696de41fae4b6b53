// PNG through libpng's simplified interface.
#include <png.h>

#include <cstring>

#include "core/fail.h"
#include "core/file.h"
#include "image/codec.h"

namespace lasnet {
namespace {

/// Frees what libpng attached, also when an Error passes.
struct PngImage : png_image {
  PngImage() : png_image{} { version = PNG_IMAGE_VERSION; }
  PngImage(const PngImage&) = delete;
  ~PngImage() { png_image_free(this); }
};

uint32_t big_endian(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/// libpng is content once it has the pixels; a file cut after them is refused here too. Chunks are a length,
/// a name, that many bytes and a checksum, up to IEND.
void check_complete(const EncodedImage& encoded) {
  constexpr uint64_t kSignature = 8, kChunk = 12;
  for (uint64_t at = kSignature; at + kChunk <= encoded.size;) {
    if (std::memcmp(encoded.bytes + at + 4, "IEND", 4) == 0) return;
    at += kChunk + big_endian(encoded.bytes + at);
  }
  fail("{}: not a readable PNG: truncated", encoded.origin);
}

/// RGBA over white. Photographs are blended as they are stored (not in linear light), as viewers do.
Image over_white(const std::vector<uint8_t>& rgba, int width, int height) {
  Image image{width, height, std::vector<uint8_t>(rgba.size() / 4 * 3)};
  const uint8_t* from = rgba.data();
  for (uint8_t* to = image.rgb.data(); to != image.rgb.data() + image.rgb.size(); from += 4, to += 3) {
    int alpha = from[3];
    for (int c = 0; c < 3; ++c)
      to[c] = static_cast<uint8_t>((from[c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
  return image;
}

}  // namespace

Image decode_png(const EncodedImage& encoded) {
  PngImage png;
  auto check = [&](int ok) {
    if (ok == 0) fail("{}: not a readable PNG: {}", encoded.origin, png.message);
  };
  check(png_image_begin_read_from_memory(&png, encoded.bytes, encoded.size));
  encoded.check_size(png.width, png.height);
  check_complete(encoded);
  png.flags |=
      PNG_IMAGE_FLAG_16BIT_sRGB;  // else 16-bit files without a gamma would be taken for linear light
  bool alpha = (png.format & PNG_FORMAT_FLAG_ALPHA) != 0;
  png.format = alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
  std::vector<uint8_t> pixels(static_cast<size_t>(png.width) * png.height * (alpha ? 4 : 3));
  int width = static_cast<int>(png.width), height = static_cast<int>(png.height);
  check(png_image_finish_read(&png, nullptr, pixels.data(), 0, nullptr));
  if (alpha) return over_white(pixels, width, height);
  return {width, height, std::move(pixels)};
}

std::vector<uint8_t> encode_png(const Image& image) {
  if (image.width < 1 || image.height < 1 ||
      image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3) {
    fail("png: an image of {} x {} with {} bytes", image.width, image.height, image.rgb.size());
  }
  PngImage png;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::vector<uint8_t> bytes(size);
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0) {
    fail("png: cannot be encoded: {}", png.message);
  }
  bytes.resize(size);
  return bytes;
}

void save_png(const Image& image, const std::string& path) {
  std::vector<uint8_t> bytes = encode_png(image);
  write_file_atomically(path, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
}

}  // namespace lasnet
