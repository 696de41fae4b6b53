// Random resized crop and horizontal flip, as torchvision's RandomResizedCrop and RandomHorizontalFlip.
#pragma once

#include "core/random.h"
#include "lasnet/image.h"

namespace lasnet {

struct CropBox {
  int top = 0, left = 0, height = 0, width = 0;
};

/// A box of area share uniform in [min_scale, 1] and aspect ratio log-uniform in [3/4, 4/3]; the central box
/// of the nearest legal ratio if ten draws do not fit the image.
CropBox random_crop_box(int height, int width, double min_scale, Random& random);

/// The augmented training view, size x size.
Image augment(const Image& image, int size, double min_scale, bool flip, Random& random);

/// Larger sources are shrunk to a shorter side of 2 * size when they are read: crops keep at least the
/// resolution of the network's input down to a quarter of the area, while memory and resampling time stay
/// bounded.
Image shrink_for_training(const Image& image, int size);

}  // namespace lasnet
