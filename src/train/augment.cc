#include "train/augment.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "train/image_ops.h"

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

/// A draw of Gamma(shape, 1) (Marsaglia and Tsang 2000).
double random_gamma(double shape, Random& random) {
  if (shape < 1) {
    const double u = random.uniform() + 0x1.0p-54;
    return random_gamma(shape + 1, random) * std::pow(u, 1 / shape);
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root, u = random.uniform() + 0x1.0p-54;
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
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

void jitter_colours(Image& image, double strength, double hue, Random& random) {
  std::vector<std::function<void()>> adjustments;
  for (const auto adjust : {adjust_brightness, adjust_contrast, adjust_saturation}) {
    if (strength <= 0) break;
    adjustments.emplace_back(
        [&, adjust] { adjust(image, static_cast<float>(random.uniform(1 - strength, 1 + strength))); });
  }
  if (hue > 0) adjustments.emplace_back([&] { adjust_hue(image, random.uniform(-hue, hue)); });
  random.shuffle(adjustments);
  for (const auto& adjust : adjustments) adjust();
}

std::optional<CropBox> random_erasing_box(int height, int width, Random& random) {
  constexpr double kLeast = 0.02, kMost = 0.33, kFlattest = 0.3, kSteepest = 3.3;
  const double area = static_cast<double>(height) * width;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double erased = area * random.uniform(kLeast, kMost);
    const double ratio = std::exp(random.uniform(std::log(kFlattest), std::log(kSteepest)));
    const auto h = static_cast<int>(std::lround(std::sqrt(erased * ratio)));
    const auto w = static_cast<int>(std::lround(std::sqrt(erased / ratio)));
    if (h >= height || w >= width) continue;
    const int top = static_cast<int>(random.below(static_cast<uint64_t>(height - h + 1)));
    const int left = static_cast<int>(random.below(static_cast<uint64_t>(width - w + 1)));
    return CropBox{.top = top, .left = left, .height = h, .width = w};
  }
  return std::nullopt;
}

double random_beta(double alpha, Random& random) {
  const double a = random_gamma(alpha, random), b = random_gamma(alpha, random);
  return a + b > 0 ? a / (a + b) : 0.5;
}

Mixing cutmix_at(double weight, int y, int x, int height, int width) {
  const double half = 0.5 * std::sqrt(1 - weight);
  const int half_height = static_cast<int>(half * height), half_width = static_cast<int>(half * width);
  const int top = std::max(y - half_height, 0), bottom = std::min(y + half_height, height);
  const int left = std::max(x - half_width, 0), right = std::min(x + half_width, width);
  const CropBox box{.top = top, .left = left, .height = bottom - top, .width = right - left};
  const double replaced = static_cast<double>(box.height) * box.width;
  return {.weight = 1 - replaced / (static_cast<double>(height) * width), .box = box};
}

Mixing random_mixing(double mixup, double cutmix, int height, int width, Random& random) {
  const bool cuts = cutmix > 0 && (mixup <= 0 || random.uniform() < 0.5);
  const double weight = random_beta(cuts ? cutmix : mixup, random);
  if (!cuts) return {.weight = weight, .box = std::nullopt};
  const auto y = static_cast<int>(random.below(static_cast<uint64_t>(height)));
  const auto x = static_cast<int>(random.below(static_cast<uint64_t>(width)));
  return cutmix_at(weight, y, x, height, width);
}

int training_side(int size) { return 2 * size; }

Image shrink_for_training(const Image& image, int size) {
  const int shorter = std::min(image.width, image.height), side = training_side(size);
  if (shorter <= side) return image;
  const double scale = static_cast<double>(side) / shorter;
  return resize(image, static_cast<int>(std::lround(image.width * scale)),
                static_cast<int>(std::lround(image.height * scale)));
}

}  // namespace lasnet
