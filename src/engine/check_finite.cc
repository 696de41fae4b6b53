#include "engine/check_finite.h"

#include <cmath>

#include "base/fail.h"
#include "base/finite.h"
#include "engine/executable.h"

namespace lasnet {
namespace {

struct Place {
  int64_t image = 0, channel = 0, row = 0, column = 0;
};

[[noreturn]] void fail_at(const std::string& layer, float value, Place at) {
  fail(
      "{}: its output is {} at image {}, channel {}, row {}, column {}, while every layer before it was "
      "finite; "
      "look at this layer's weights and at the range of its input",
      layer, std::isnan(value) ? "NaN" : "infinite", at.image, at.channel, at.row, at.column);
}

}  // namespace

void fail_not_finite(const std::string& layer, float value, MapSize map, int64_t index, int64_t channel,
                     int64_t border) {
  if (map.pixels() == 0) fail_at(layer, value, {index, channel, 0, 0});
  int64_t row_pixels = map.width + 2 * border, image_pixels = (map.height + 2 * border) * row_pixels;
  fail_at(layer, value,
          {index / image_pixels, channel, index % image_pixels / row_pixels - border,
           index % row_pixels - border});
}

void RunRequest::inspect(const LayerOutput& output) const {
  if (check_finite) lasnet::check_finite(output);
  if (layers != nullptr) layers->wrote(output);
}

void check_finite(const LayerOutput& output) {
  for (int64_t p = 0; p < output.pixels.count; ++p) {
    int64_t index = output.pixels.out[p];
    const float* values = output.data + index * output.pitch;
    for (int c = 0; c < output.channels; ++c) {
      if (!std::isfinite(values[c]))
        fail_not_finite(output.layer, values[c], output.map, index, c, output.border);
    }
  }
}

void check_finite(const std::string& layer, const Tensor& output) {
  int64_t channels = output.shape.back();
  int64_t height = output.shape.size() == 4 ? output.shape[1] : 1;
  int64_t width = output.shape.size() == 4 ? output.shape[2] : 1;
  for (int64_t i = 0; i < output.size(); ++i) {
    if (std::isfinite(output.data[i])) continue;
    int64_t pixel = i / channels;
    fail_at(layer, output.data[i],
            {pixel / (height * width), i % channels, pixel / width % height, pixel % width});
  }
}

void check_finite_input(const TensorView& input) {
  int64_t width = input.shape[3], height = input.shape[2], channels = input.shape[1];
  if (all_finite(input.data)) return;
  for (int64_t i = 0; i < input.size(); ++i) {
    if (std::isfinite(input.data[i])) continue;
    fail("input: {} at image {}, channel {}, row {}, column {}; expected finite values",
         std::isnan(input.data[i]) ? "NaN" : "infinity", i / (channels * height * width),
         i / (height * width) % channels, i / width % height, i % width);
  }
}

}  // namespace lasnet
