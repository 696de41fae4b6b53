// From a photograph to the network's input, as torchvision's Resize, CenterCrop, ToTensor and Normalize do
// it.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/fail.h"
#include "lasnet/image.h"

namespace lasnet {
namespace {

/// The longer side when the shorter becomes `target`, rounded down as torchvision does.
int longer_side(int target, int longer, int shorter) {
  double side = std::floor(static_cast<double>(target) * longer / shorter);
  if (side * target > static_cast<double>(kMaxImagePixels)) {
    fail("resize: a side ratio of {}:{} is too extreme for a shorter side of {}", longer, shorter, target);
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

}  // namespace

Image resize_and_crop(const Image& image, const Preprocessing& preprocessing) {
  if (image.width < 1 || image.height < 1) fail("preprocessing: the image is empty");
  auto [target, size] = std::pair(preprocessing.resize, preprocessing.crop);
  if (target < 1 || size < 0 || size > target) {
    fail("preprocessing: resize {} and crop {}, expected resize >= 1 and 0 <= crop <= resize", target, size);
  }
  bool portrait = image.height > image.width;
  int longer = portrait ? longer_side(target, image.height, image.width)
                        : longer_side(target, image.width, image.height);
  Image resized = portrait ? resize(image, target, longer) : resize(image, longer, target);
  if (size == 0) return resized;
  return crop(resized, centre_offset(resized.height, size), centre_offset(resized.width, size), size, size);
}

Tensor to_input(const Image& image, const Preprocessing& preprocessing) {
  if (preprocessing.mean.size() != 3 || preprocessing.std.size() != 3) {
    fail("preprocessing: expected 3 means and standard deviations, got {} and {}", preprocessing.mean.size(),
         preprocessing.std.size());
  }
  Tensor input({1, 3, image.height, image.width});
  size_t pixels = static_cast<size_t>(image.height) * image.width;
  for (int c = 0; c < 3; ++c) {
    std::array<float, 256> table = normalisation_table(preprocessing.mean[c], preprocessing.std[c]);
    float* to = input.data.data() + c * pixels;
    const uint8_t* from = image.rgb.data() + c;
    for (size_t i = 0; i < pixels; ++i) to[i] = table[from[i * 3]];
  }
  return input;
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
