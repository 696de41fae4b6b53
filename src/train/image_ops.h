// Changes of images with fixed parameters, each with the bytes that torchvision makes of a PIL image.
#pragma once

#include <array>

#include "lasnet/image.h"

namespace lasnet {

// As ImageEnhance of PIL: a factor of 1 changes nothing.
void adjust_brightness(Image& image, float factor);  ///< 0: black
void adjust_contrast(Image& image, float factor);    ///< 0: the mean grey
void adjust_saturation(Image& image, float factor);  ///< 0: grey
void adjust_sharpness(Image& image, float factor);   ///< 0: smoothed
/// Turns the hue by a share of the circle, from -0.5 to 0.5. Unlike the others it rounds even at 0, because
/// PIL has 8 bits for hue and saturation.
void adjust_hue(Image& image, double turn);

/// Keeps that many of the upper bits of each value.
void posterize(Image& image, int bits);
/// Inverts values that are not below the threshold.
void solarize(Image& image, double threshold);
/// Stretches each channel to 0 ... 255.
void stretch_contrast(Image& image);
/// Makes the values of each channel equally frequent.
void equalize(Image& image);

/// From the centre of a pixel of the result to a place of the source: x' = m[0] x + m[1] y + m[2], and y' by
/// the other three.
using AffineMap = std::array<double, 6>;
/// The pixels at these places, nearest; black outside.
void transform(Image& image, const AffineMap& map);
AffineMap shear_map(double x, double y);
AffineMap translation_map(int x, int y);
/// Counter-clockwise about the centre.
AffineMap rotation_map(double degrees, int height, int width);

}  // namespace lasnet
