// Separable resampling with a triangle filter whose support grows with the reduction (antialiasing), rows
// first, then columns, each rounded to 8 bits: what Pillow's BILINEAR computes, in the same fixed-point
// arithmetic.
#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "image/pixels.h"

namespace lasnet {
namespace {

/// 8-bit values times weights of at most 1 fit 32 bits with 2 to spare for rounding.
constexpr int kPrecision = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecision - 1);

/// Weights of one output position: inputs [first, first + count), the weights from `offset` on.
struct Taps {
  int first = 0;
  int count = 0;
  size_t offset = 0;
};

struct Filter {
  std::vector<Taps> taps;        ///< per output position
  std::vector<int32_t> weights;  ///< of all positions; each position's sum to 2^kPrecision, up to rounding
};

Filter triangle_filter(int in, int out) {
  double scale = static_cast<double>(in) / out;
  double support = std::max(scale, 1.0);
  Filter filter;
  std::vector<double> row;
  for (int x = 0; x < out; ++x) {
    double center = (x + 0.5) * scale;
    int first = std::max(static_cast<int>(center - support + 0.5), 0);
    int last = std::min(static_cast<int>(center + support + 0.5), in);
    row.clear();
    double sum = 0;
    for (int i = first; i < last; ++i) {
      row.push_back(std::max(0.0, 1.0 - std::abs((i - center + 0.5) / support)));
      sum += row.back();
    }
    filter.taps.push_back({first, last - first, filter.weights.size()});
    for (double weight : row) {
      filter.weights.push_back(static_cast<int32_t>(0.5 + weight / sum * (1 << kPrecision)));
    }
  }
  return filter;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

Image resize_rows(const Pixels& image, int width) {
  Filter filter = triangle_filter(image.width, width);
  Image result{width, image.height, std::vector<uint8_t>(static_cast<size_t>(width) * image.height * 3)};
  uint8_t* to = result.rgb.data();
  auto [r, g, b] = image.channels;
  for (int y = 0; y < image.height; ++y) {
    for (const Taps& taps : filter.taps) {
      const uint8_t* from = image.at(y, taps.first);
      const int32_t* weights = filter.weights.data() + taps.offset;
      int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int i = 0; i < taps.count; ++i, from += image.bytes) {
        red += from[r] * weights[i];
        green += from[g] * weights[i];
        blue += from[b] * weights[i];
      }
      *to++ = to_byte(red);
      *to++ = to_byte(green);
      *to++ = to_byte(blue);
    }
  }
  return result;
}

Image resize_columns(const Image& image, int height) {
  Filter filter = triangle_filter(image.height, height);
  size_t stride = static_cast<size_t>(image.width) * 3;
  Image result{image.width, height, std::vector<uint8_t>(stride * height)};
  std::vector<int32_t> sums(stride);
  uint8_t* to = result.rgb.data();
  for (const Taps& taps : filter.taps) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int i = 0; i < taps.count; ++i) {
      const uint8_t* from = image.rgb.data() + (taps.first + i) * stride;
      int32_t weight = filter.weights[taps.offset + i];
      for (size_t j = 0; j < stride; ++j) sums[j] += from[j] * weight;
    }
    for (size_t j = 0; j < stride; ++j) *to++ = to_byte(sums[j]);
  }
  return result;
}

}  // namespace

Image resize(const ImageView& view, int width, int height) {
  Pixels image = pixels_of(view, "resize");
  auto refuse_size = [&](int64_t w, int64_t h) {
    if (w < 1 || h < 1 || w > kMaxImagePixels / h) {
      fail("resize: {} x {} to {} x {} pixels, expected 1 to {} in all", image.width, image.height, width,
           height, kMaxImagePixels);
    }
  };
  refuse_size(width, height);
  refuse_size(width, image.height);
  bool rows = width != image.width, columns = height != image.height;
  if (rows && columns) return resize_columns(resize_rows(image, width), height);
  if (rows) return resize_rows(image, width);
  return columns ? resize_columns(to_image(image), height) : to_image(image);
}

Image crop(const ImageView& view, int top, int left, int height, int width) {
  Pixels image = pixels_of(view, "crop");
  bool inside = top >= 0 && left >= 0 && height >= 1 && width >= 1 && height <= image.height - top &&
                width <= image.width - left;
  if (!inside) {
    fail("crop: rows {} + {} and columns {} + {} leave the image of {} x {} pixels", top, height, left, width,
         image.width, image.height);
  }
  return to_image(image.window(top, left, height, width));
}

}  // namespace lasnet
