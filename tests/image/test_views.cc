// Images in memory of the caller: formats, strides, and preprocessing without a copy.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "lasnet/image.h"
#include "support/expect_error.h"
#include "support/param_name.h"

namespace lasnet {

void PrintTo(PixelFormat format, std::ostream* out) {
  *out << std::array{"rgb", "bgr", "rgba", "bgra"}[static_cast<size_t>(format)];
}

namespace test {
namespace {

using ::testing::HasSubstr;

Image noise(int width, int height, uint64_t seed) {
  Random random(seed);
  Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random.uniform() * 256);
  return image;
}

/// An image as a camera might hold it.
struct Frame {
  std::vector<uint8_t> bytes;
  ImageView view;
};

Frame make_frame(const Image& image, PixelFormat format, int padding, bool bottom_up) {
  bool four = format == PixelFormat::rgba || format == PixelFormat::bgra;
  bool blue_first = format == PixelFormat::bgr || format == PixelFormat::bgra;
  int64_t step = four ? 4 : 3, stride = image.width * step + padding;
  Frame frame;
  frame.bytes.assign(static_cast<size_t>(stride) * image.height, 0xEE);
  for (int y = 0; y < image.height; ++y) {
    uint8_t* row = frame.bytes.data() + stride * (bottom_up ? image.height - 1 - y : y);
    for (int x = 0; x < image.width; ++x) {
      const uint8_t* rgb = image.rgb.data() + (static_cast<size_t>(y) * image.width + x) * 3;
      for (int c = 0; c < 3; ++c) row[x * step + (blue_first ? 2 - c : c)] = rgb[c];
    }
  }
  frame.view = {.data = frame.bytes.data() + (bottom_up ? stride * (image.height - 1) : 0),
                .width = image.width,
                .height = image.height,
                .format = format,
                .stride = bottom_up ? -stride : stride};
  if (padding == 0 && !bottom_up) frame.view.stride = 0;
  return frame;
}

class EveryFormat : public testing::TestWithParam<PixelFormat> {};

TEST_P(EveryFormat, MeansTheSameImage) {
  Image image = noise(37, 23, 1);
  Preprocessing preprocessing;
  preprocessing.resize = 20;
  preprocessing.crop = 16;
  for (int padding : {0, 5}) {
    for (bool bottom_up : {false, true}) {
      Frame frame = make_frame(image, GetParam(), padding, bottom_up);
      EXPECT_EQ(crop(frame.view, 0, 0, 23, 37), image);
      EXPECT_EQ(crop(frame.view, 3, 5, 7, 11), crop(image, 3, 5, 7, 11));
      for (auto [width, height] : {std::pair{37, 23}, {12, 23}, {37, 9}, {50, 40}}) {
        EXPECT_EQ(resize(frame.view, width, height), resize(image, width, height));
      }
      EXPECT_EQ(resize_and_crop(frame.view, preprocessing), resize_and_crop(image, preprocessing));
      EXPECT_EQ(to_input(frame.view, preprocessing), to_input(image, preprocessing));
    }
  }
}

TEST_P(EveryFormat, IsPreprocessedIntoTheCallersMemory) {
  for (auto [width, height] : {std::pair{37, 23}, {23, 37}, {20, 20}, {31, 20}, {20, 20}}) {
    Image image = noise(width, height, 2);
    for (int crop : {0, 16, 20}) {
      Preprocessing preprocessing;
      preprocessing.resize = 20;
      preprocessing.crop = crop;
      Tensor expected = to_input(resize_and_crop(image, preprocessing), preprocessing);
      MapSize size = preprocessed_size({height, width}, preprocessing);
      ASSERT_EQ((Shape{1, 3, size.height, size.width}), expected.shape);
      std::vector<float> memory(expected.data.size() + 2, std::numeric_limits<float>::quiet_NaN());
      preprocess(make_frame(image, GetParam(), 3, false).view, preprocessing,
                 std::span(memory).subspan(1, expected.data.size()));
      EXPECT_TRUE(std::equal(expected.data.begin(), expected.data.end(), memory.begin() + 1));
      EXPECT_TRUE(std::isnan(memory.front()) && std::isnan(memory.back()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat,
                         testing::Values(PixelFormat::rgb, PixelFormat::bgr, PixelFormat::rgba,
                                         PixelFormat::bgra),
                         ParamName());

TEST(Views, ThatCannotBeAreRefused) {
  std::array<uint8_t, 30> bytes{};
  std::array<float, 10> floats{};
  Preprocessing preprocessing;
  preprocessing.resize = preprocessing.crop = 2;
  EXPECT_ERROR(resize({.data = nullptr, .width = 2, .height = 2}, 1, 1), HasSubstr("empty"));
  EXPECT_ERROR(to_input({.data = bytes.data(), .width = 0, .height = 2}, preprocessing), HasSubstr("empty"));
  EXPECT_ERROR(resize({.data = bytes.data(), .width = 4, .height = 2, .stride = 11}, 1, 1),
               HasSubstr("a stride of 11 bytes for rows of 4 pixels, which take 12"));
  EXPECT_ERROR(
      resize({.data = bytes.data(), .width = 3, .height = 2, .format = PixelFormat::bgra, .stride = -11}, 1,
             1),
      HasSubstr("which take 12"));
  EXPECT_ERROR(preprocess({.data = bytes.data(), .width = 2, .height = 2}, preprocessing, floats),
               HasSubstr("room for 10 values; expected 12, [3, 2, 2]"));
  EXPECT_ERROR(resize(Image{2, 2, std::vector<uint8_t>(11)}, 1, 1), HasSubstr("11 bytes for 2 x 2 pixels"));
  EXPECT_ERROR(preprocessed_size({0, 5}, preprocessing), HasSubstr("empty"));
}

}  // namespace
}  // namespace test
}  // namespace lasnet
