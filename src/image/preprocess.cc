// From a photograph to the network's input, as torchvision's Resize, CenterCrop, ToTensor and Normalize do
// it.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/fail.h"
#include "base/memory.h"
#include "image/pixels.h"

namespace lasnet {
namespace {

/// The longer side when the shorter becomes `target`, rounded down as torchvision does.
int longer_side(int target, int64_t longer, int64_t shorter) {
  double side =
      std::floor(static_cast<double>(target) * static_cast<double>(longer) / static_cast<double>(shorter));
  if (side * target > static_cast<double>(kMaxImagePixels)) {
    fail(
        "preprocessing: an image of {} x {} pixels, its shorter side resized to {}, would have {} x {:.0f}, "
        "expected at most {} in all",
        shorter, longer, target, target, side, kMaxImagePixels);
  }
  return static_cast<int>(side);
}

/// Centre of `size` pixels within `total`; halves round to even, as in Python's round().
int centre_offset(int total, int size) { return static_cast<int>(std::nearbyint((total - size) / 2.0)); }

/// value / 255 normalised, for each of the 256 values.
std::array<float, 256> normalisation_table(float mean, float std) {
  std::array<float, 256> table;
  for (int value = 0; value < 256; ++value) table[value] = (static_cast<float>(value) / 255.0f - mean) / std;
  return table;
}

/// Size after resizing the shorter side.
MapSize resized_size(MapSize image, const Preprocessing& preprocessing) {
  auto [target, size] = std::pair(preprocessing.resize, preprocessing.crop);
  if (target < 1 || size < 0 || size > target) {
    fail("preprocessing: resize {} and crop {}, expected resize >= 1 and 0 <= crop <= resize", target, size);
  }
  if (image.height < 1 || image.width < 1) {
    fail("preprocessing: the image is empty ({} x {} pixels)", image.width, image.height);
  }
  if (image.height > image.width) return {longer_side(target, image.height, image.width), target};
  return {target, longer_side(target, image.width, image.height)};
}

/// Centre crop; all of it when `size` is 0.
Pixels centre(const Pixels& image, int size) {
  if (size == 0) return image;
  return image.window(centre_offset(image.height, size), centre_offset(image.width, size), size, size);
}

/// What the network sees of `image`, as pixels of `image` itself or, if it has another size, of `resized`.
Pixels seen_pixels(const ImageView& image, const Preprocessing& preprocessing, Image& resized) {
  Pixels source = pixels_of(image, "preprocessing");
  MapSize size = resized_size({source.height, source.width}, preprocessing);
  if (size == MapSize{source.height, source.width}) return centre(source, preprocessing.crop);
  resized = resize(image, static_cast<int>(size.width), static_cast<int>(size.height));
  return centre(pixels_of(resized, "preprocessing"), preprocessing.crop);
}

/// Writes the planes [3, H, W].
void normalise(const Pixels& image, const Preprocessing& preprocessing, float* to) {
  if (preprocessing.mean.size() != 3 || preprocessing.std.size() != 3) {
    fail("preprocessing: expected 3 means and standard deviations, got {} and {}", preprocessing.mean.size(),
         preprocessing.std.size());
  }
  for (int c = 0; c < 3; ++c) {
    std::array<float, 256> table = normalisation_table(preprocessing.mean[c], preprocessing.std[c]);
    for (int y = 0; y < image.height; ++y) {
      const uint8_t* from = image.at(y, 0) + image.channels[c];
      for (int x = 0; x < image.width; ++x, from += image.bytes) *to++ = table[*from];
    }
  }
}

}  // namespace

Image resize_and_crop(const ImageView& image, const Preprocessing& preprocessing) {
  Image resized;
  return to_image(seen_pixels(image, preprocessing, resized));
}

Tensor to_input(const ImageView& image, const Preprocessing& preprocessing) {
  Pixels pixels = pixels_of(image, "to_input");
  Tensor input({1, 3, pixels.height, pixels.width});
  normalise(pixels, preprocessing, input.data.data());
  return input;
}

void check_batch_memory(int64_t images, MapSize size) {
  require_memory(element_count({images, 3, size.height, size.width, sizeof(float)}),
                 fmt::format("a batch of {} images of {} x {} px", images, size.height, size.width),
                 "prepare fewer at a time, or smaller ones");
}

MapSize preprocessed_size(MapSize image, const Preprocessing& preprocessing) {
  MapSize resized = resized_size(image, preprocessing);
  return preprocessing.crop == 0 ? resized : MapSize{preprocessing.crop, preprocessing.crop};
}

void preprocess(const ImageView& image, const Preprocessing& preprocessing, std::span<float> input) {
  Image resized;
  Pixels seen = seen_pixels(image, preprocessing, resized);
  int64_t expected = int64_t{3} * seen.height * seen.width;
  if (static_cast<int64_t>(input.size()) != expected) {
    fail("preprocess: room for {} values; expected {}, [3, {}, {}]", input.size(), expected, seen.height,
         seen.width);
  }
  normalise(seen, preprocessing, input.data());
}

Tensor stack(const std::vector<Tensor>& inputs) {
  if (inputs.empty()) fail("stack: no inputs");
  Shape shape = inputs.front().shape;
  for (const Tensor& input : inputs) {
    bool fits = input.shape.size() == 4 && input.shape[0] == 1 && input.shape == shape;
    if (!fits) {
      fail("stack: shape {} beside {}, expected all [1, 3, H, W] of one size", to_string(input.shape),
           to_string(shape));
    }
  }
  shape[0] = static_cast<int64_t>(inputs.size());
  Tensor result(shape);
  float* to = result.data.data();
  for (const Tensor& input : inputs) to = std::copy(input.data.begin(), input.data.end(), to);
  return result;
}

}  // namespace lasnet
