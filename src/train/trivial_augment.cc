#include "train/trivial_augment.h"

#include <cmath>

namespace lasnet {
namespace {

constexpr double kMaxShear = 0.99, kMaxPixels = 32, kMaxDegrees = 135, kMaxFactor = 0.99;
constexpr double kFewestBitsLess = 6;

}  // namespace

bool is_signed(TrivialOp op) { return op >= TrivialOp::shear_x && op <= TrivialOp::sharpness; }

double trivial_magnitude(TrivialOp op, int strength) {
  const double share = static_cast<double>(strength) / (kTrivialStrengths - 1);
  switch (op) {
    case TrivialOp::shear_x:
    case TrivialOp::shear_y:
      return kMaxShear * share;
    case TrivialOp::translate_x:
    case TrivialOp::translate_y:
      return kMaxPixels * share;
    case TrivialOp::rotate:
      return kMaxDegrees * share;
    case TrivialOp::brightness:
    case TrivialOp::saturation:
    case TrivialOp::contrast:
    case TrivialOp::sharpness:
      return kMaxFactor * share;
    case TrivialOp::posterize:
      return 8 - std::nearbyint(kFewestBitsLess * share);
    case TrivialOp::solarize:
      return 255 - 255 * share;
    case TrivialOp::identity:
    case TrivialOp::stretch_contrast:
    case TrivialOp::equalize:
      break;
  }
  return 0;
}

void apply(TrivialOp op, double magnitude, Image& image) {
  const auto factor = static_cast<float>(1 + magnitude);
  switch (op) {
    case TrivialOp::identity:
      return;
    case TrivialOp::shear_x:
      return transform(image, shear_map(magnitude, 0));
    case TrivialOp::shear_y:
      return transform(image, shear_map(0, magnitude));
    case TrivialOp::translate_x:
      return transform(image, translation_map(static_cast<int>(magnitude), 0));
    case TrivialOp::translate_y:
      return transform(image, translation_map(0, static_cast<int>(magnitude)));
    case TrivialOp::rotate:
      return transform(image, rotation_map(magnitude, image.height, image.width));
    case TrivialOp::brightness:
      return adjust_brightness(image, factor);
    case TrivialOp::saturation:
      return adjust_saturation(image, factor);
    case TrivialOp::contrast:
      return adjust_contrast(image, factor);
    case TrivialOp::sharpness:
      return adjust_sharpness(image, factor);
    case TrivialOp::posterize:
      return posterize(image, static_cast<int>(magnitude));
    case TrivialOp::solarize:
      return solarize(image, magnitude);
    case TrivialOp::stretch_contrast:
      return stretch_contrast(image);
    case TrivialOp::equalize:
      return equalize(image);
  }
}

void trivially_augment(Image& image, Random& random) {
  const auto op = static_cast<TrivialOp>(random.below(kTrivialOps));
  const double magnitude = trivial_magnitude(op, static_cast<int>(random.below(kTrivialStrengths)));
  const bool reverse = random.below(2) == 1;
  apply(op, is_signed(op) && reverse ? -magnitude : magnitude, image);
}

}  // namespace lasnet
