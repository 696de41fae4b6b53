// Drawing on 8-bit RGB images. Everything is clipped to the image.
#pragma once

#include <string_view>

#include "lasnet/image.h"

namespace lasnet {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
};

/// Linear blend: `share` 0 gives `from`, 1 gives `to`.
Colour mix(Colour from, Colour to, double share);
Colour grey(uint8_t level);
/// Rec. 601 luma, 0 to 255.
double luma(Colour colour);

Image filled_image(int width, int height, Colour colour);
Colour pixel(const Image& image, int x, int y);
void set_pixel(Image& image, int x, int y, Colour colour);
void fill_rect(Image& image, int x, int y, int width, int height, Colour colour);
void paste(Image& image, const Image& source, int x, int y);

/// (x, y): top left corner of the capitals; each font pixel is scale x scale pixels.
void draw_text(Image& image, int x, int y, std::string_view text, Colour colour, int scale);

}  // namespace lasnet
