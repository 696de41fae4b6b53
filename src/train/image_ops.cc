#include "train/image_ops.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lasnet {
namespace {

/// As PIL blends: exact in single precision, and truncated.
uint8_t blend(uint8_t from, uint8_t to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(int{to} - int{from});
  return static_cast<uint8_t>(std::clamp(value, 0.0f, 255.0f));
}

/// PIL's conversion to L.
uint8_t grey(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

uint8_t to_byte(double value) { return static_cast<uint8_t>(std::clamp(value, 0.0, 255.0)); }

struct Hsv {
  uint8_t hue, saturation, value;
};

/// In single and double precision as PIL mixes them.
Hsv to_hsv(const uint8_t* rgb) {
  const uint8_t largest = std::max({rgb[0], rgb[1], rgb[2]}), smallest = std::min({rgb[0], rgb[1], rgb[2]});
  if (largest == smallest) return {0, 0, largest};
  const auto range = static_cast<float>(largest - smallest);
  const auto distance = [&](int channel) { return static_cast<float>(largest - rgb[channel]) / range; };
  const float red = distance(0), green = distance(1), blue = distance(2);
  float sixths = 0;
  if (rgb[0] == largest) {
    sixths = blue - green;
  } else if (rgb[1] == largest) {
    sixths = static_cast<float>(2.0 + red - blue);
  } else {
    sixths = static_cast<float>(4.0 + green - red);
  }
  const auto turn = static_cast<float>(std::fmod(sixths / 6.0 + 1.0, 1.0));
  return {to_byte(turn * 255.0), to_byte(range / static_cast<float>(largest) * 255.0), largest};
}

void to_rgb(const Hsv& hsv, uint8_t* rgb) {
  const uint8_t v = hsv.value;
  std::array<uint8_t, 3> colour = {v, v, v};
  if (hsv.saturation > 0) {
    const auto hue = static_cast<float>(hsv.hue), value = static_cast<float>(v);
    const int sixth = static_cast<int>(std::floor(hue * 6.0 / 255.0));
    const auto rest = static_cast<float>(hue * 6.0 / 255.0 - sixth);
    const auto saturation = static_cast<float>(hsv.saturation / 255.0);
    const uint8_t p = to_byte(std::round(value * (1.0 - saturation)));
    const uint8_t q = to_byte(std::round(value * (1.0 - saturation * rest)));
    const uint8_t t = to_byte(std::round(value * (1.0 - saturation * (1.0 - rest))));
    const std::array<std::array<uint8_t, 3>, 6> colours = {
        {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
    colour = colours[static_cast<size_t>(sixth % 6)];
  }
  std::ranges::copy(colour, rgb);
}

/// PIL's SMOOTH: a 3x3 mean in which the pixel itself counts five times. The border stays.
Image smoothed(const Image& image) {
  constexpr int kWeights = 13, kExtraOfCentre = 4;
  Image result = image;
  const size_t row = size_t{3} * static_cast<size_t>(image.width);
  for (int y = 1; y + 1 < image.height; ++y) {
    for (size_t i = 3; i + 3 < row; ++i) {
      const size_t centre = static_cast<size_t>(y) * row + i;
      int sum = kExtraOfCentre * image.rgb[centre];
      for (const size_t line : {centre - row, centre, centre + row})
        sum += image.rgb[line - 3] + image.rgb[line] + image.rgb[line + 3];
      result.rgb[centre] = static_cast<uint8_t>((2 * sum + kWeights) / (2 * kWeights));
    }
  }
  return result;
}

using ValueTable = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

ValueTable identity_table() {
  ValueTable table;
  for (size_t value = 0; value < 256; ++value) table[value] = static_cast<uint8_t>(value);
  return table;
}

/// Replaces every value of a channel by what table_of(its histogram) says.
template <typename TableOf>
void map_channels(Image& image, const TableOf& table_of) {
  for (size_t channel = 0; channel < 3; ++channel) {
    Histogram histogram{};
    for (size_t i = channel; i < image.rgb.size(); i += 3) ++histogram[image.rgb[i]];
    const ValueTable table = table_of(histogram);
    for (size_t i = channel; i < image.rgb.size(); i += 3) image.rgb[i] = table[image.rgb[i]];
  }
}

ValueTable stretching_table(const Histogram& histogram) {
  const auto is_used = [](int64_t count) { return count > 0; };
  const auto first = std::ranges::find_if(histogram, is_used);
  const auto last = std::find_if(histogram.rbegin(), histogram.rend(), is_used);
  const auto low = static_cast<int>(first - histogram.begin());
  const auto high = static_cast<int>(histogram.rend() - last) - 1;
  ValueTable table = identity_table();
  if (high <= low) return table;
  const double scale = 255.0 / (high - low), offset = -low * scale;
  for (size_t value = 0; value < 256; ++value)
    table[value] = to_byte(static_cast<double>(value) * scale + offset);
  return table;
}

ValueTable equalizing_table(const Histogram& histogram) {
  int64_t pixels = 0, of_last = 0;
  for (const int64_t count : histogram) {
    pixels += count;
    if (count > 0) of_last = count;
  }
  ValueTable table = identity_table();
  const int64_t step = (pixels - of_last) / 255;
  if (step == 0) return table;
  int64_t below = step / 2;
  for (size_t value = 0; value < 256; ++value) {
    table[value] = static_cast<uint8_t>(std::min<int64_t>(below / step, 255));
    below += histogram[value];
  }
  return table;
}

/// PIL's numbers for places, with 16 bits behind the point.
int64_t to_fixed(double value) { return static_cast<int64_t>(std::floor(value * 65536.0 + 0.5)); }

AffineMap about(AffineMap map, double x, double y) {
  map[2] += map[0] * -x + map[1] * -y + x;
  map[5] += map[3] * -x + map[4] * -y + y;
  return map;
}

}  // namespace

void adjust_brightness(Image& image, float factor) {
  for (uint8_t& value : image.rgb) value = blend(0, value, factor);
}

void adjust_contrast(Image& image, float factor) {
  uint64_t sum = 0;
  for (size_t i = 0; i < image.rgb.size(); i += 3) sum += grey(&image.rgb[i]);
  const double pixels = static_cast<double>(image.rgb.size()) / 3;
  const auto mean = static_cast<uint8_t>(static_cast<double>(sum) / pixels + 0.5);
  for (uint8_t& value : image.rgb) value = blend(mean, value, factor);
}

void adjust_saturation(Image& image, float factor) {
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    const uint8_t of_pixel = grey(&image.rgb[i]);
    for (size_t channel = 0; channel < 3; ++channel)
      image.rgb[i + channel] = blend(of_pixel, image.rgb[i + channel], factor);
  }
}

void adjust_sharpness(Image& image, float factor) {
  const Image smooth = smoothed(image);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = blend(smooth.rgb[i], image.rgb[i], factor);
}

void adjust_hue(Image& image, double turn) {
  const auto steps = static_cast<uint8_t>(static_cast<int>(turn * 255));
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    Hsv hsv = to_hsv(&image.rgb[i]);
    hsv.hue = static_cast<uint8_t>(hsv.hue + steps);
    to_rgb(hsv, &image.rgb[i]);
  }
}

void posterize(Image& image, int bits) {
  const auto mask = static_cast<uint8_t>(0xff << (8 - bits));
  for (uint8_t& value : image.rgb) value &= mask;
}

void solarize(Image& image, double threshold) {
  for (uint8_t& value : image.rgb)
    if (value >= threshold) value = static_cast<uint8_t>(255 - value);
}

void stretch_contrast(Image& image) { map_channels(image, stretching_table); }

void equalize(Image& image) { map_channels(image, equalizing_table); }

void transform(Image& image, const AffineMap& map) {
  const Image source = image;
  const int64_t across_x = to_fixed(map[0]), down_x = to_fixed(map[1]);
  const int64_t across_y = to_fixed(map[3]), down_y = to_fixed(map[4]);
  int64_t row_x = to_fixed(map[2] + map[0] * 0.5 + map[1] * 0.5);
  int64_t row_y = to_fixed(map[5] + map[3] * 0.5 + map[4] * 0.5);
  uint8_t* to = image.rgb.data();
  for (int y = 0; y < image.height; ++y, row_x += down_x, row_y += down_y) {
    int64_t at_x = row_x, at_y = row_y;
    for (int x = 0; x < image.width; ++x, to += 3, at_x += across_x, at_y += across_y) {
      const int64_t from_x = at_x >> 16, from_y = at_y >> 16;
      const bool inside = from_x >= 0 && from_x < source.width && from_y >= 0 && from_y < source.height;
      if (inside) {
        std::copy_n(source.rgb.data() + 3 * (from_y * source.width + from_x), 3, to);
      } else {
        std::fill_n(to, 3, uint8_t{0});
      }
    }
  }
}

AffineMap shear_map(double x, double y) { return {1, x, 0, y, 1, 0}; }

AffineMap translation_map(int x, int y) {
  return {1, 0, -static_cast<double>(x), 0, 1, -static_cast<double>(y)};
}

AffineMap rotation_map(double degrees, int height, int width) {
  const double angle = -degrees * std::numbers::pi / 180;
  const double cosine = std::cos(angle), sine = std::sin(angle);
  return about({cosine, sine, 0, -sine, cosine, 0}, width / 2.0, height / 2.0);
}

}  // namespace lasnet
