#include "encoders.h"

// jpeglib.h uses size_t and FILE without declaring them.
// clang-format off
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>
#include <png.h>
// clang-format on

namespace lasnet::test {

Bytes encode_jpeg(int width, int height, const Bytes& samples, const JpegOptions& options) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &buffer, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = options.components;
  jpeg.in_color_space = options.components == 1   ? JCS_GRAYSCALE
                        : options.components == 3 ? JCS_RGB
                                                  : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  if (options.keep_rgb) jpeg_set_colorspace(&jpeg, JCS_RGB);
  if (options.components == 4) {
    jpeg_set_colorspace(&jpeg, options.ycck ? JCS_YCCK : JCS_CMYK);
    jpeg.write_Adobe_marker = options.adobe_marker ? TRUE : FALSE;
  }
  jpeg_set_quality(&jpeg, 100, TRUE);
  for (int c = 0; c < jpeg.num_components; ++c) {
    jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
  }
  if (options.progressive) jpeg_simple_progression(&jpeg);
  jpeg.arith_code = options.arithmetic ? TRUE : FALSE;
  jpeg.restart_interval = static_cast<unsigned>(options.restart_interval);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<uint8_t*>(samples.data()) + jpeg.next_scanline * width * options.components;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  Bytes bytes(buffer, buffer + size);
  std::free(buffer);
  return bytes;
}

Bytes with_orientation(const Bytes& jpeg, int orientation, bool big_endian) {
  auto number = [&](int value, int size) {
    Bytes bytes;
    for (int i = 0; i < size; ++i) {
      bytes.push_back(static_cast<uint8_t>(value >> 8 * (big_endian ? size - 1 - i : i)));
    }
    return bytes;
  };
  Bytes segment = {'E', 'x', 'i', 'f', 0, 0};
  auto append = [&](const Bytes& bytes) { segment.insert(segment.end(), bytes.begin(), bytes.end()); };
  append(big_endian ? Bytes{'M', 'M'} : Bytes{'I', 'I'});
  append(number(42, 2));
  append(number(8, 4));       // offset of the directory
  append(number(2, 2));       // entries
  append(number(0x0100, 2));  // image width: to be skipped
  append(number(4, 2));
  append(number(1, 4));
  append(number(640, 4));
  append(number(0x0112, 2));  // orientation
  append(number(3, 2));
  append(number(1, 4));
  append(number(orientation, 2));
  append(number(0, 2));
  append(number(0, 4));  // no further directory
  size_t length = segment.size() + 2;
  Bytes marker = {0xff, 0xe1, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  segment.insert(segment.begin(), marker.begin(), marker.end());
  Bytes result = jpeg;
  result.insert(result.begin() + 2, segment.begin(), segment.end());
  return result;
}

Bytes encode_png_rows(int width, int height, const Bytes& rows, const PngOptions& options) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  Bytes bytes;
  auto write = [](png_structp from, png_bytep data, size_t size) {
    auto* to = static_cast<Bytes*>(png_get_io_ptr(from));
    to->insert(to->end(), data, data + size);
  };
  png_set_write_fn(png, &bytes, write, nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
               options.bit_depth, options.colour_type,
               options.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (!options.palette.empty()) {
    png_set_PLTE(png, info, reinterpret_cast<png_const_colorp>(options.palette.data()),
                 static_cast<int>(options.palette.size() / 3));
  }
  if (!options.palette_alpha.empty()) {
    png_set_tRNS(png, info, options.palette_alpha.data(), static_cast<int>(options.palette_alpha.size()),
                 nullptr);
  }
  png_write_info(png, info);
  std::vector<png_bytep> pointers;
  size_t stride = rows.size() / static_cast<size_t>(height);
  for (int y = 0; y < height; ++y) pointers.push_back(const_cast<png_bytep>(rows.data()) + y * stride);
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

}  // namespace lasnet::test
