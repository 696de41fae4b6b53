#include "report/canvas.h"

#include <algorithm>
#include <cmath>

#include "report/font.h"

namespace lasnet {
namespace {

uint8_t mix(uint8_t from, uint8_t to, double share) {
  return static_cast<uint8_t>(std::lround(from + (to - from) * share));
}

uint8_t* address(Image& image, int x, int y) {
  return image.rgb.data() + (static_cast<size_t>(y) * image.width + x) * 3;
}

}  // namespace

Colour mix(Colour from, Colour to, double share) {
  return {mix(from.red, to.red, share), mix(from.green, to.green, share), mix(from.blue, to.blue, share)};
}

Colour grey(uint8_t level) { return {level, level, level}; }

double luma(Colour colour) { return 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue; }

Image filled_image(int width, int height, Colour colour) {
  Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
  fill_rect(image, 0, 0, width, height, colour);
  return image;
}

Colour pixel(const Image& image, int x, int y) {
  const uint8_t* at = image.rgb.data() + (static_cast<size_t>(y) * image.width + x) * 3;
  return {at[0], at[1], at[2]};
}

void set_pixel(Image& image, int x, int y, Colour colour) {
  if (x < 0 || y < 0 || x >= image.width || y >= image.height) return;
  uint8_t* at = address(image, x, y);
  at[0] = colour.red;
  at[1] = colour.green;
  at[2] = colour.blue;
}

void fill_rect(Image& image, int x, int y, int width, int height, Colour colour) {
  for (int row = y; row < y + height; ++row) {
    for (int column = x; column < x + width; ++column) set_pixel(image, column, row, colour);
  }
}

void paste(Image& image, const Image& source, int x, int y) {
  for (int row = 0; row < source.height; ++row) {
    for (int column = 0; column < source.width; ++column) {
      set_pixel(image, x + column, y + row, pixel(source, column, row));
    }
  }
}

void draw_text(Image& image, int x, int y, std::string_view text, Colour colour, int scale) {
  for (char c : text) {
    const Glyph& shape = glyph(c);
    for (int row = 0; row < kFontRows; ++row) {
      for (int column = 0; column < shape.width; ++column) {
        if ((shape.rows[row] >> column & 1) == 0) continue;
        fill_rect(image, x + column * scale, y + row * scale, scale, scale, colour);
      }
    }
    x += (shape.width + 1) * scale;
  }
}

}  // namespace lasnet
