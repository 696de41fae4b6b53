#include "image/pixels.h"

#include <cstdlib>
#include <cstring>

#include "base/fail.h"

namespace lasnet {
namespace {

Pixels layout(PixelFormat format) {
  bool blue_first = format == PixelFormat::bgr || format == PixelFormat::bgra;
  bool padded = format == PixelFormat::rgba || format == PixelFormat::bgra;
  Pixels pixels;
  pixels.bytes = padded ? 4 : 3;
  pixels.channels = blue_first ? std::array{2, 1, 0} : std::array{0, 1, 2};
  return pixels;
}

bool is_packed_rgb(const Pixels& pixels) { return pixels.bytes == 3 && pixels.channels[0] == 0; }

}  // namespace

Pixels pixels_of(const ImageView& image, const char* what) {
  if (image.width < 1 || image.height < 1 || image.data == nullptr) fail("{}: the image is empty", what);
  Pixels pixels = layout(image.format);
  int64_t row = int64_t{image.width} * pixels.bytes;
  if (image.stride != 0 && image.height > 1 && std::abs(image.stride) < row) {
    fail("{}: a stride of {} bytes for rows of {} pixels, which take {}", what, image.stride, image.width,
         row);
  }
  pixels.data = image.data;
  pixels.width = image.width;
  pixels.height = image.height;
  pixels.stride = image.stride != 0 ? image.stride : row;
  return pixels;
}

Image::operator ImageView() const {
  if (width < 0 || height < 0 || rgb.size() != size_t{3} * width * height) {
    fail("image: {} bytes for {} x {} pixels; expected 3 per pixel", rgb.size(), width, height);
  }
  return {rgb.data(), width, height};
}

Image to_image(const Pixels& pixels) {
  size_t row = static_cast<size_t>(pixels.width) * 3;
  Image image{pixels.width, pixels.height, std::vector<uint8_t>(row * pixels.height)};
  uint8_t* to = image.rgb.data();
  for (int y = 0; y < pixels.height; ++y) {
    const uint8_t* from = pixels.at(y, 0);
    if (is_packed_rgb(pixels)) {
      std::memcpy(to, from, row);
      to += row;
      continue;
    }
    for (int x = 0; x < pixels.width; ++x, from += pixels.bytes) {
      for (int channel : pixels.channels) *to++ = from[channel];
    }
  }
  return image;
}

}  // namespace lasnet
