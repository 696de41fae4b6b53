// Random resized crop and horizontal flip, as torchvision's RandomResizedCrop and RandomHorizontalFlip.
#pragma once

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

/// Shrinks larger sources to a shorter side of 2 * size when they are read. Crops of down to a quarter of
/// the area then keep the resolution of the network's input. Memory and resampling time stay bounded.
Image shrink_for_training(const Image& image, int size);

}  // namespace lasnet
