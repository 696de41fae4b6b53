// Random changes of training images, by torchvision's formulas: RandomResizedCrop, RandomHorizontalFlip,
// ColorJitter, RandomErasing, and of whole batches mixup and cutmix.
#pragma once

#include <optional>

#include "base/random.h"
#include "lasnet/image.h"

namespace lasnet {

struct CropBox {
  int top = 0, left = 0, height = 0, width = 0;
};

/// A random box. Its share of the area is uniform in [min_scale, 1], its aspect ratio log-uniform in [3/4,
/// 4/3]. If ten draws do not fit the image, it is the central box of the nearest legal ratio.
CropBox random_crop_box(int height, int width, double min_scale, Random& random);

/// The augmented training view, size x size.
Image augment(const Image& image, int size, double min_scale, bool flip, Random& random);

/// Brightness, contrast and saturation by factors uniform in [1 - strength, 1 + strength], and the hue by up
/// to `hue` of the circle either way, in random order. 0 leaves these out.
void jitter_colours(Image& image, double strength, double hue, Random& random);

/// A box to erase, of 2 to 33 % of the area and aspect ratio 0.3 to 3.3; nothing if ten draws do not fit.
std::optional<CropBox> random_erasing_box(int height, int width, Random& random);

/// How the images of a batch are mixed, each with the one before it (the first with the last).
struct Mixing {
  double weight = 1;           ///< of the image itself, in its label too
  std::optional<CropBox> box;  ///< cutmix: where the other image stands instead; else all pixels are mixed
};
/// A draw of Beta(alpha, alpha).
double random_beta(double alpha, Random& random);
/// Of images of so many pixels. With both parameters over 0 it is one of both, with equal chances.
Mixing random_mixing(double mixup, double cutmix, int height, int width, Random& random);
/// The box that replaces a share 1 - weight of the area about (y, x), clipped to the image; `weight` becomes
/// what is left of the image.
Mixing cutmix_at(double weight, int y, int x, int height, int width);

/// The shorter side that larger sources are shrunk to when they are read. Crops of down to a quarter of the
/// area then keep the resolution of the network's input. Memory and resampling time stay bounded.
int training_side(int size);
Image shrink_for_training(const Image& image, int size);

}  // namespace lasnet
