// Encoded images of every kind that the decoders must read, made in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lasnet/image.h"

namespace lasnet::test {

using Bytes = std::vector<uint8_t>;

struct JpegOptions {
  int components = 3;        ///< of the samples given: 1 grey, 3 RGB, 4 CMYK
  bool ycck = false;         ///< store CMYK as YCCK
  bool adobe_marker = true;  ///< with 4 components
  bool progressive = false;
  bool keep_rgb = false;  ///< store RGB without conversion to YCbCr
  bool arithmetic = false;
  int restart_interval = 0;  ///< in blocks of 8 x 8 pixels; 0: none
};

/// Quality 100 without chroma subsampling. samples: [height, width, components].
Bytes encode_jpeg(int width, int height, const Bytes& samples, const JpegOptions& options = {});

/// The same file with an EXIF segment that states this orientation.
Bytes with_orientation(const Bytes& jpeg, int orientation, bool big_endian);

struct PngOptions {
  int colour_type = 2;  ///< PNG_COLOR_TYPE_*
  int bit_depth = 8;
  bool interlaced = false;
  Bytes palette{};        ///< RGB triples
  Bytes palette_alpha{};  ///< one per palette entry
};

/// rows: as PNG stores them (big-endian 16 bit, packed below 8 bit), one after the other.
Bytes encode_png_rows(int width, int height, const Bytes& rows, const PngOptions& options);

}  // namespace lasnet::test
