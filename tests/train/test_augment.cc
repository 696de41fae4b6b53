// Random changes of images against torchvision's formulas with fixed parameters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "train/augment.h"
#include "train/image_ops.h"
#include "train/train_data.h"

namespace lasnet {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

/// 3 x 2 pixels.
Image small_image() {
  return {.width = 3,
          .height = 2,
          .rgb = {10, 200, 30, 255, 0, 128, 90, 91, 92, 1, 2, 250, 77, 180, 33, 240, 240, 10}};
}

using Adjust = void (*)(Image&, float);

std::vector<int> adjusted(Adjust adjust, float factor) {
  Image image = small_image();
  adjust(image, factor);
  return {image.rgb.begin(), image.rgb.end()};
}

// The arrays are those of torchvision 0.14.1 with PIL 9.4.0:
//   import numpy, torchvision.transforms.functional as F
//   from PIL import Image
//   image = Image.fromarray(numpy.array([10, 200, ...], dtype=numpy.uint8).reshape(2, 3, 3))
//   print(numpy.asarray(F.adjust_brightness(image, 0.6)).reshape(-1).tolist())
TEST(ColourJitter, BrightnessIsTorchvisions) {
  EXPECT_THAT(adjusted(adjust_brightness, 0.6f),
              ElementsAre(6, 120, 18, 153, 0, 76, 54, 54, 55, 0, 1, 150, 46, 108, 19, 144, 144, 6));
  EXPECT_THAT(adjusted(adjust_brightness, 1.4f),
              ElementsAre(14, 255, 42, 255, 0, 179, 126, 127, 128, 1, 2, 255, 107, 252, 46, 255, 255, 14));
}

TEST(ColourJitter, ContrastIsTorchvisions) {
  EXPECT_THAT(adjusted(adjust_contrast, 0.6f),
              ElementsAre(51, 165, 63, 198, 45, 122, 99, 100, 100, 46, 46, 195, 91, 153, 65, 189, 189, 51));
  EXPECT_THAT(adjusted(adjust_contrast, 1.4f),
              ElementsAre(0, 234, 0, 255, 0, 133, 80, 81, 83, 0, 0, 255, 62, 206, 0, 255, 255, 0));
}

TEST(ColourJitter, SaturationIsTorchvisions) {
  EXPECT_THAT(adjusted(adjust_saturation, 0.6f),
              ElementsAre(55, 169, 67, 189, 36, 113, 90, 91, 91, 12, 13, 162, 99, 160, 72, 229, 229, 91));
  EXPECT_THAT(adjusted(adjust_saturation, 1.4f),
              ElementsAre(0, 230, 0, 255, 0, 142, 89, 91, 92, 0, 0, 255, 55, 199, 0, 250, 250, 0));
}

TEST(ColourJitter, OfStrengthZeroChangesNothingAndDependsOnItsSeed) {
  Image same = small_image();
  Random none(1);
  jitter_colours(same, 0, 0, none);
  EXPECT_THAT(same.rgb, ElementsAreArray(small_image().rgb));
  Image a = small_image(), b = small_image(), c = small_image();
  Random first(1), again(1), other(2);
  jitter_colours(a, 0.5, 0, first);
  jitter_colours(b, 0.5, 0, again);
  jitter_colours(c, 0.5, 0, other);
  EXPECT_THAT(a.rgb, ElementsAreArray(b.rgb));
  EXPECT_NE(a.rgb, c.rgb);
}

TEST(RandomErasing, BoxesHaveTorchvisionsAreasAndRatios) {
  Random random(3);
  double least = 1, most = 0;
  for (int i = 0; i < 500; ++i) {
    const auto box = random_erasing_box(100, 200, random);
    ASSERT_TRUE(box);
    EXPECT_GE(box->top, 0);
    EXPECT_GE(box->left, 0);
    EXPECT_LE(box->top + box->height, 100);
    EXPECT_LE(box->left + box->width, 200);
    const double area = box->height * box->width / 20000.0, ratio = double(box->height) / box->width;
    least = std::min(least, area);
    most = std::max(most, area);
    EXPECT_GT(ratio, 0.28);
    EXPECT_LT(ratio, 3.6);
  }
  EXPECT_NEAR(least, 0.02, 0.01);
  EXPECT_NEAR(most, 0.33, 0.02);
}

TEST(Mixing, CutmixBoxesAreTorchvisions) {
  // r = 0.5 * sqrt(1 - 0.7) = 0.274: half sides int(0.274 * 8) = 2 and int(0.274 * 10) = 2.
  const Mixing inside = cutmix_at(0.7, 5, 3, 8, 10);
  EXPECT_EQ(inside.box->top, 3);
  EXPECT_EQ(inside.box->left, 1);
  EXPECT_EQ(inside.box->height, 4);
  EXPECT_EQ(inside.box->width, 4);
  EXPECT_DOUBLE_EQ(inside.weight, 1 - 16.0 / 80);
  const Mixing corner = cutmix_at(0.7, 0, 9, 8, 10);
  EXPECT_EQ(corner.box->height, 2);
  EXPECT_EQ(corner.box->width, 3);
  EXPECT_DOUBLE_EQ(corner.weight, 1 - 6.0 / 80);
}

TEST(Mixing, WeightsAreOfABetaDistribution) {
  for (const double alpha : {0.2, 1.0, 4.0}) {
    Random random(5);
    double sum = 0, squares = 0;
    constexpr int kDraws = 20000;
    for (int i = 0; i < kDraws; ++i) {
      const double draw = random_beta(alpha, random);
      ASSERT_GE(draw, 0);
      ASSERT_LE(draw, 1);
      sum += draw;
      squares += (draw - 0.5) * (draw - 0.5);
    }
    EXPECT_NEAR(sum / kDraws, 0.5, 0.02);
    EXPECT_NEAR(squares / kDraws, 1 / (4 * (2 * alpha + 1)), 0.01) << alpha;
  }
}

TEST(Mixing, EachImageIsMixedWithTheOneBefore) {
  Batch batch;
  batch.images = torch::arange(3, torch::kFloat32).view({3, 1, 1, 1}).expand({3, 3, 4, 4}).contiguous();
  batch.labels = torch::tensor({7, 8, 9}, torch::kInt64);
  const Batch blended = mixed(batch, {.weight = 0.75, .box = {}});
  EXPECT_EQ(blended.size(), 2);
  EXPECT_FLOAT_EQ(blended.images[0][0][0][0].item<float>(), 0.75f);
  EXPECT_FLOAT_EQ(blended.images[1][2][3][3].item<float>(), 1.75f);
  EXPECT_EQ(blended.labels[0].item<int64_t>(), 8);
  EXPECT_EQ(blended.mixed_labels[0].item<int64_t>(), 7);
  EXPECT_EQ(blended.own_weight, 0.75);
  const Batch cut =
      mixed(batch, {.weight = 0.875, .box = CropBox{.top = 1, .left = 2, .height = 1, .width = 2}});
  EXPECT_EQ(cut.images[1][0][1][2].item<float>(), 1);
  EXPECT_EQ(cut.images[1][0][1][1].item<float>(), 2);
  EXPECT_EQ(cut.images[1].eq(1).sum().item<int64_t>(), 3 * 2);
}

}  // namespace
}  // namespace lasnet
