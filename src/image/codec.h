// Decoders and encoder behind load_image and save_png.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lasnet/image.h"

namespace lasnet {

/// An encoded image in memory and what to call it in errors.
struct EncodedImage {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  const std::string& origin;
  int64_t max_pixels = kMaxImagePixels;

  /// Throws Error, before anything is allocated for the pixels, if there would be none or too many.
  void check_size(uint64_t width, uint64_t height) const;
};

bool is_jpeg(const EncodedImage& encoded);
bool is_png(const EncodedImage& encoded);

/// Turned upright if EXIF says how. A file that ends early is an error, not a half-grey picture.
Image decode_jpeg(const EncodedImage& encoded);
Image decode_png(const EncodedImage& encoded);
/// Of whichever format it is.
Image decode(const EncodedImage& encoded);

std::vector<uint8_t> encode_png(const Image& image);

/// EXIF orientation 1 to 8 from an APP1 segment ("Exif\0\0" and a TIFF structure); 1 if absent or malformed.
int exif_orientation(const uint8_t* bytes, size_t size);
/// Undoes an EXIF orientation.
Image turn_upright(Image image, int orientation);

}  // namespace lasnet
