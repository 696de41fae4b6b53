#include "train/augment.h"

#include <algorithm>
#include <cmath>

namespace lasnet {
namespace {

constexpr double kMinRatio = 3.0 / 4.0;
constexpr double kMaxRatio = 4.0 / 3.0;

void flip_horizontally(Image& image) {
  for (int y = 0; y < image.height; ++y) {
    uint8_t* row = image.rgb.data() + size_t{3} * static_cast<size_t>(y) * static_cast<size_t>(image.width);
    for (int left = 0, right = image.width - 1; left < right; ++left, --right) {
      std::swap_ranges(row + 3 * left, row + 3 * left + 3, row + 3 * right);
    }
  }
}

}  // namespace

CropBox random_crop_box(int height, int width, double min_scale, Random& random) {
  double area = static_cast<double>(height) * width;
  for (int attempt = 0; attempt < 10; ++attempt) {
    double target = area * random.uniform(min_scale, 1.0);
    double ratio = std::exp(random.uniform(std::log(kMinRatio), std::log(kMaxRatio)));
    auto w = static_cast<int>(std::lround(std::sqrt(target * ratio)));
    auto h = static_cast<int>(std::lround(std::sqrt(target / ratio)));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    int top = static_cast<int>(random.below(static_cast<uint64_t>(height - h + 1)));
    int left = static_cast<int>(random.below(static_cast<uint64_t>(width - w + 1)));
    return {.top = top, .left = left, .height = h, .width = w};
  }
  double ratio = std::clamp(static_cast<double>(width) / height, kMinRatio, kMaxRatio);
  int w = std::clamp(static_cast<int>(std::lround(height * ratio)), 1, width);
  int h = std::clamp(static_cast<int>(std::lround(width / ratio)), 1, height);
  return {.top = (height - h) / 2, .left = (width - w) / 2, .height = h, .width = w};
}

Image augment(const Image& image, int size, double min_scale, bool flip, Random& random) {
  CropBox box = random_crop_box(image.height, image.width, min_scale, random);
  Image view = resize(crop(image, box.top, box.left, box.height, box.width), size, size);
  if (flip && random.uniform() < 0.5) flip_horizontally(view);
  return view;
}

Image shrink_for_training(const Image& image, int size) {
  int shorter = std::min(image.width, image.height);
  if (shorter <= 2 * size) return image;
  double scale = 2.0 * size / shorter;
  return resize(image, static_cast<int>(std::lround(image.width * scale)),
                static_cast<int>(std::lround(image.height * scale)));
}

}  // namespace lasnet
