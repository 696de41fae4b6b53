// How well what a network computed separates object from background.
#pragma once

#include <cstdint>
#include <vector>

namespace lasnet::cli {

/// How well the number of blocks that computed a pixel detects object pixels: the area under the ROC curve.
/// It is the probability that a random object pixel was computed by more blocks than a random background
/// pixel. Ties count half.
class ObjectAuc {
 public:
  /// `blocks`: dynamic blocks, so that a pixel's count is 0 ... blocks.
  explicit ObjectAuc(int blocks);

  /// One image. density: share of the dynamic blocks that computed each pixel; object: 0 or 1 per pixel.
  void add(const std::vector<float>& density, const std::vector<uint8_t>& object);

  /// Over the pixels of all images together; NaN without object or without background pixels.
  double pooled() const;
  /// Mean of the images' own values; NaN as above.
  double mean_per_image() const;

 private:
  struct Histogram {
    std::vector<int64_t> object, background;  ///< pixels by count

    double auc() const;
  };

  Histogram pooled_;
  std::vector<double> images_;
};

}  // namespace lasnet::cli
