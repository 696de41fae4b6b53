// Changes of images with fixed parameters, byte for byte as torchvision makes them
// (scripts/make_augment_fixtures.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "train/trivial_augment.h"

namespace lasnet {
namespace {

const std::string kData = LASNET_TRAIN_DATA "/augment/";

const std::map<std::string, TrivialOp> kOps = {{"Identity", TrivialOp::identity},
                                               {"ShearX", TrivialOp::shear_x},
                                               {"ShearY", TrivialOp::shear_y},
                                               {"TranslateX", TrivialOp::translate_x},
                                               {"TranslateY", TrivialOp::translate_y},
                                               {"Rotate", TrivialOp::rotate},
                                               {"Brightness", TrivialOp::brightness},
                                               {"Color", TrivialOp::saturation},
                                               {"Contrast", TrivialOp::contrast},
                                               {"Sharpness", TrivialOp::sharpness},
                                               {"Posterize", TrivialOp::posterize},
                                               {"Solarize", TrivialOp::solarize},
                                               {"AutoContrast", TrivialOp::stretch_contrast},
                                               {"Equalize", TrivialOp::equalize}};

TEST(ImageOps, AreTorchvisionsByteForByte) {
  const Image source = load_image(kData + "source.png"), results = load_image(kData + "results.png");
  std::ifstream lines(kData + "results.txt");
  std::string name;
  double magnitude = 0;
  int top = 0;
  for (; lines >> name >> magnitude; top += source.height) {
    Image image = source;
    if (name == "Hue") {
      adjust_hue(image, magnitude);
    } else {
      apply(kOps.at(name), magnitude, image);
    }
    EXPECT_EQ(image, crop(results, top, 0, source.height, source.width)) << name << " " << magnitude;
  }
  EXPECT_EQ(top, results.height);
  EXPECT_EQ(top / source.height, 88);
}

TEST(TrivialAugment, HasTorchvisionsMagnitudes) {
  std::ifstream file(kData + "magnitudes.txt");
  int kinds = 0;
  for (std::string line; std::getline(file, line); ++kinds) {
    std::istringstream words(line);
    std::string name, sign;
    words >> name >> sign;
    const TrivialOp op = kOps.at(name);
    EXPECT_EQ(is_signed(op), sign == "signed") << name;
    int strength = 0;
    for (double magnitude = 0; words >> magnitude; ++strength) {
      EXPECT_NEAR(trivial_magnitude(op, strength), magnitude, 1e-6 * (1 + magnitude)) << name;
      EXPECT_EQ(static_cast<int>(trivial_magnitude(op, strength)), static_cast<int>(magnitude)) << name;
    }
    EXPECT_TRUE(strength == kTrivialStrengths || (strength == 0 && trivial_magnitude(op, 30) == 0)) << name;
  }
  EXPECT_EQ(kinds, kTrivialOps);
}

TEST(TrivialAugment, DependsOnItsSeedAndUsesEveryChange) {
  const Image source = load_image(kData + "source.png");
  std::set<std::vector<uint8_t>> results;
  Random random(1), again(1);
  for (int i = 0; i < 400; ++i) {
    Image image = source, same = source;
    trivially_augment(image, random);
    trivially_augment(same, again);
    EXPECT_EQ(image, same);
    results.insert(image.rgb);
  }
  // Of 3 changes without a magnitude and 11 with 15 to 61 different ones.
  EXPECT_GT(results.size(), 150u);
}

TEST(ImageOps, LeaveTheSmallestImagesWhole) {
  for (const auto& [name, op] : kOps) {
    Image image{.width = 1, .height = 1, .rgb = {1, 2, 3}};
    apply(op, trivial_magnitude(op, 15), image);
    EXPECT_EQ(image.rgb.size(), 3u) << name;
  }
}

}  // namespace
}  // namespace lasnet
