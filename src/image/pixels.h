// An ImageView checked and spelled out: where each channel of each pixel lies.
#pragma once

#include <array>
#include <cstdint>

#include "lasnet/image.h"

namespace lasnet {

struct Pixels {
  const uint8_t* data = nullptr;
  int width = 0, height = 0;
  int64_t stride = 0;           ///< bytes from row to row
  int bytes = 3;                ///< from pixel to pixel
  std::array<int, 3> channels;  ///< offsets of red, green and blue within a pixel

  const uint8_t* at(int64_t y, int64_t x) const { return data + y * stride + x * bytes; }
  /// Pixels [top, top + h) x [left, left + w), which lie inside.
  Pixels window(int top, int left, int h, int w) const {
    return {at(top, left), w, h, stride, bytes, channels};
  }
};

/// Throws Error, beginning with `what`, on an empty image, a null pointer or rows that overlap.
Pixels pixels_of(const ImageView& image, const char* what);

/// Copies to an image of its own.
Image to_image(const Pixels& pixels);

}  // namespace lasnet
