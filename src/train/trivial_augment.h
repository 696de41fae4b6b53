// TrivialAugment (Müller and Hutter 2021) as torchvision's TrivialAugmentWide has it: one change of an image,
// of random kind and strength.
#pragma once

#include <array>
#include <string_view>

#include "base/random.h"
#include "train/image_ops.h"

namespace lasnet {

enum class TrivialOp {
  identity,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
  rotate,
  brightness,
  saturation,
  contrast,
  sharpness,
  posterize,
  solarize,
  stretch_contrast,
  equalize
};
inline constexpr int kTrivialOps = 14;
inline constexpr int kTrivialStrengths = 31;

/// Of a strength from 0 to 30: a share, pixels, degrees, bits or a threshold. 0 where a change has none.
double trivial_magnitude(TrivialOp op, int strength);
/// Whether the magnitude goes both ways.
bool is_signed(TrivialOp op);
void apply(TrivialOp op, double magnitude, Image& image);

/// One of the changes, each with the same chance, as are strengths and signs.
void trivially_augment(Image& image, Random& random);

}  // namespace lasnet
