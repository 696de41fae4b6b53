// Decoders and encoder behind load_image and save_png.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lasnet/image.h"

namespace lasnet {

/// An encoded image in memory, what to call it in messages, and how to read it.
struct EncodedImage {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  const std::string& origin;
  const DecodeOptions& options;

  /// Whether the bytes from `offset` on begin with `text`.
  bool has(std::string_view text, size_t offset = 0) const;
  /// Throws Error, before anything is allocated for the pixels, if there would be none or too many.
  void check_size(uint64_t width, uint64_t height) const;
  /// Tells of damage that leaves the image readable; throws Error where that is asked for.
  void warn(const std::string& damage) const;
};

bool is_jpeg(const EncodedImage& encoded);
bool is_png(const EncodedImage& encoded);
bool is_webp(const EncodedImage& encoded);

/// Turned upright if EXIF says how. A file that ends early is an error, not a half-grey picture.
Image decode_jpeg(const EncodedImage& encoded);
Image decode_png(const EncodedImage& encoded);
Image decode_webp(const EncodedImage& encoded);
/// Of whichever format it is.
Image decode(const EncodedImage& encoded);

/// What a file is that is no image of these formats, and what to do about it: "a GIF image; convert ...".
std::string describe_foreign(const EncodedImage& encoded);

/// RGBA over white, in the values that are stored (not in linear light), as viewers do. `rgb` may be `rgba`.
void blend_over_white(const uint8_t* rgba, size_t pixels, uint8_t* rgb);

/// What an EXIF block begins with in a JPEG, and sometimes elsewhere.
inline constexpr std::string_view kExifPrefix("Exif\0\0", 6);
/// Orientation 1 to 8 of an EXIF block, a TIFF structure with or without the prefix; 1 if absent or
/// malformed.
int exif_orientation(const uint8_t* bytes, size_t size);
/// Undoes an EXIF orientation.
Image turn_upright(Image image, int orientation);

}  // namespace lasnet
