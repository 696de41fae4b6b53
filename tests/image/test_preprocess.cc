#include <array>
#include <cmath>
#include <numeric>
#include <regex>

#include "lasnet/image.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::HasSubstr;

Image fixture(const std::string& name) {
  return load_image(std::string(LASNET_TEST_DATA) + "/" + name + ".png");
}

TEST(Resize, EqualsPillow) {
  Image source = fixture("source");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LASNET_TEST_DATA)) {
    std::smatch match;
    std::string name = entry.path().stem().string();
    if (!std::regex_match(name, match, std::regex("resized_([0-9]+)x([0-9]+)"))) continue;
    EXPECT_EQ(resize(source, std::stoi(match[1]), std::stoi(match[2])), fixture(name)) << name;
    ++files;
  }
  EXPECT_EQ(files, 6);
}

TEST(Resize, KeepsFlatColoursAndSizesOfOne) {
  Image flat{5, 3, std::vector<uint8_t>(45, 200)};
  for (auto [width, height] : {std::pair{1, 1}, {50, 2}, {5, 3}, {4, 300}}) {
    Image result = resize(flat, width, height);
    EXPECT_EQ(result,
              (Image{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3, 200)}));
  }
}

TEST(Resize, RefusesEmptyAndAbsurdSizes) {
  Image image{2, 1, std::vector<uint8_t>(6)};
  EXPECT_ERROR(resize({}, 4, 4), HasSubstr("empty"));
  EXPECT_ERROR(resize(image, 0, 4), HasSubstr("to 0 x 4"));
  EXPECT_ERROR(resize(image, 4, -1), HasSubstr("to 4 x -1"));
  EXPECT_ERROR(resize(image, 1 << 20, 1 << 20), HasSubstr("pixels"));
}

/// Every pixel tells where it was: (x, y, 0).
Image coordinates(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.insert(image.rgb.end(), {static_cast<uint8_t>(x), static_cast<uint8_t>(y), 0});
    }
  }
  return image;
}

TEST(Crop, TakesTheRectangle) {
  Image result = crop(coordinates(6, 5), 2, 1, 2, 3);
  EXPECT_EQ(result, (Image{3, 2, {1, 2, 0, 2, 2, 0, 3, 2, 0, 1, 3, 0, 2, 3, 0, 3, 3, 0}}));
  EXPECT_EQ(crop(coordinates(6, 5), 0, 0, 5, 6), coordinates(6, 5));
}

TEST(Crop, RefusesToLeaveTheImage) {
  Image image = coordinates(6, 5);
  const std::array<int, 4> rectangles[] = {{-1, 0, 2, 2}, {0, -1, 2, 2}, {4, 0, 2, 2},        {0, 5, 2, 2},
                                           {0, 0, 0, 2},  {0, 0, 2, 7},  {INT32_MAX, 0, 2, 2}};
  for (const auto& r : rectangles) {  // top, left, height, width
    EXPECT_ERROR(crop(image, r[0], r[1], r[2], r[3]), HasSubstr("leave the image of 6 x 5"));
  }
}

TEST(ResizeAndCrop, RoundsAsTorchvision) {
  struct Case {
    int width, height, resize, expected_width, expected_height;
  };
  // int(size * longer / shorter), as torchvision's Resize(size) computes it.
  for (Case c : {Case{61, 47, 20, 25, 20},
                 {47, 61, 20, 20, 25},
                 {47, 47, 20, 20, 20},
                 {100, 30, 32, 106, 32},
                 {10, 3, 9, 30, 9}}) {
    Preprocessing preprocessing;
    preprocessing.resize = c.resize;
    preprocessing.crop = 0;
    Image result = resize_and_crop(coordinates(c.width, c.height), preprocessing);
    EXPECT_EQ(std::pair(result.width, result.height), std::pair(c.expected_width, c.expected_height));
  }
}

TEST(ResizeAndCrop, CentresWithHalvesToEven) {
  struct Case {
    int width, height, crop, left, top;
  };
  // Resizing to the shorter side it has changes nothing, so the coordinates stay readable.
  for (Case c : {Case{15, 10, 10, 2, 0},  // 2.5 -> 2
                 Case{10, 13, 10, 0, 2},  // 1.5 -> 2
                 Case{14, 11, 8, 3, 2},   // 3 and 1.5 -> 2
                 Case{9, 9, 9, 0, 0}}) {
    Preprocessing preprocessing;
    preprocessing.resize = std::min(c.width, c.height);
    preprocessing.crop = c.crop;
    Image result = resize_and_crop(coordinates(c.width, c.height), preprocessing);
    EXPECT_EQ(result.width, c.crop);
    EXPECT_EQ(result.height, c.crop);
    EXPECT_EQ(result.rgb[0], c.left);
    EXPECT_EQ(result.rgb[1], c.top);
  }
}

TEST(ResizeAndCrop, RefusesImpossibleSettings) {
  Preprocessing crop_too_large, no_resize, extreme;
  crop_too_large.crop = 257;
  no_resize.resize = 0;
  Image image = coordinates(300, 200);
  EXPECT_ERROR(resize_and_crop(image, crop_too_large), HasSubstr("resize 256 and crop 257"));
  EXPECT_ERROR(resize_and_crop(image, no_resize), HasSubstr("resize 0"));
  EXPECT_ERROR(resize_and_crop({}, {}), HasSubstr("empty"));
  Image line{100'000, 1, std::vector<uint8_t>(300'000)};
  EXPECT_ERROR(resize_and_crop(line, extreme), HasSubstr("would have 256 x 25600000"));
  Preprocessing enlarged;
  enlarged.resize = enlarged.crop = 30'000;
  EXPECT_ERROR(
      resize_and_crop(coordinates(200, 200), enlarged),
      HasSubstr("an image of 200 x 200 pixels, its shorter side resized to 30000, would have 30000 x 30000"));
}

TEST(ToInput, NormalisesPlanes) {
  Preprocessing preprocessing;
  Image image{2, 1, {0, 51, 255, 102, 204, 0}};
  Tensor input = to_input(image, preprocessing);
  EXPECT_EQ(input.shape, (Shape{1, 3, 1, 2}));
  const uint8_t planes[] = {0, 102, 51, 204, 255, 0};
  for (int i = 0; i < 6; ++i) {
    double expected = (planes[i] / 255.0 - preprocessing.mean[i / 2]) / preprocessing.std[i / 2];
    EXPECT_NEAR(input.data[i], expected, 1e-6);
  }
  preprocessing.mean = {0.5f};
  EXPECT_ERROR(to_input(image, preprocessing), HasSubstr("expected 3 means"));
}

TEST(CheckBatchMemory, RefusesMoreThanThereIs) {
  const MapSize size{8192, 4096};
  check_batch_memory(1, {32, 48});
  EXPECT_ERROR(check_batch_memory(100000, size), HasSubstr("100000 images of 8192 x 4096 px needs"));
  EXPECT_THROW(check_batch_memory(-1, size), Error);
}

TEST(Stack, JoinsEqualShapesOnly) {
  Tensor a({1, 3, 1, 2}, 1.0f), b({1, 3, 1, 2}, 2.0f);
  Tensor both = stack({a, b});
  EXPECT_EQ(both.shape, (Shape{2, 3, 1, 2}));
  EXPECT_EQ(std::accumulate(both.data.begin(), both.data.begin() + 6, 0.0f), 6.0f);
  EXPECT_EQ(std::accumulate(both.data.begin() + 6, both.data.end(), 0.0f), 12.0f);
  EXPECT_ERROR(stack({}), HasSubstr("no inputs"));
  EXPECT_ERROR(stack({a, Tensor({1, 3, 2, 1})}), HasSubstr("[1, 3, 2, 1] beside [1, 3, 1, 2]"));
  EXPECT_ERROR(stack({Tensor({2, 3, 1, 1})}), HasSubstr("expected all [1, 3, H, W]"));
}

}  // namespace
}  // namespace lasnet::test
