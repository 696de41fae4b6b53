// What is neither a convolution nor a mask, on the emulated device against plain loops: pooling, stem,
// classifier, squeeze-and-excitation, the unfused gather and addition, the search for values that are not
// finite.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/cuda/kernels/pack.h"
#include "backends/reference/kernels.h"
#include "kernel_operands.h"
#include "mask/tap_offsets.h"

namespace lasnet::cuda {
namespace {

TEST(CudaPools, AgreeWithTheReference) {
  Random random(6);
  for (Precision precision : kPrecisions) {
    for (MapSize size : {MapSize{16, 16}, MapSize{7, 10}, MapSize{1, 1}}) {
      for (int channels : {8, 40}) {
        Tensor x = random_tensor({2, size.height, size.width, channels}, random);
        reference::relu(x);
        Map in(x, precision);
        Tensor expected = reference::max_pool(in.tensor());
        Map out(Tensor(expected.shape), precision);
        Stream stream;
        max_pool(stream, precision, {in.device(), out.device(), 2});
        EXPECT_EQ(out.tensor(), expected);
        out.expect_zero_border();

        List list;
        for (int64_t n = 0; n < 2; ++n) {
          list.begin.push_back(static_cast<int32_t>(list.out.size()));
          for (int64_t p = 0; p < size.pixels(); ++p) {
            list.out.push_back(static_cast<int32_t>(bordered_index(size, n, p / size.width, p % size.width)));
          }
        }
        list.begin.push_back(static_cast<int32_t>(list.out.size()));
        std::vector<float> got(2 * in.pitch);
        mean(stream, precision, {in.device(), list.device(), 2, got.data()});
        Tensor mean_expected = reference::average_pool(in.tensor());
        for (int c = 0; c < 2 * channels; ++c) {
          EXPECT_NEAR(got[c / channels * in.pitch + c % channels], mean_expected.data[c], 1e-5);
        }
      }
    }
  }
}

TEST(CudaFeatures, AreMapsWithoutBordersAndPadding) {
  Random random(13);
  for (Precision precision : kPrecisions) {
    for (MapSize size : {MapSize{16, 16}, MapSize{7, 10}, MapSize{1, 1}}) {
      for (int channels : {8, 44}) {
        Map map(random_tensor({2, size.height, size.width, channels}, random), precision);
        const Tensor pixels = map.tensor(), planes = reference::nhwc_to_nchw(pixels);
        std::vector<float> got(static_cast<size_t>(pixels.size()));
        Stream stream;
        copy_feature(stream, precision, {map.device(), got.data(), 2, 1, channels});
        EXPECT_EQ(got, pixels.data);
        copy_feature(stream, precision, {map.device(), got.data(), 2, size.pixels(), 1});
        EXPECT_EQ(got, planes.data);
      }
    }
  }
}

TEST(CudaStem, ImagesBecomeBorderedMaps) {
  Random random(7);
  Tensor x = random_tensor({2, 3, 9, 11}, random);
  constexpr int kRowPixels = 18;
  for (Precision precision : kPrecisions) {
    for (int stride : {1, 2}) {
      int pitch = image_pitch(precision, 3, stride), bytes = element_bytes(precision);
      EXPECT_EQ(pitch * bytes, bytes == 2 && stride == 2 ? 8 : 16);
      DeviceBuffer out(2 * 15 * kRowPixels * pitch * bytes, "a test");
      Stream stream;
      image_to_map(stream, precision, {x.data.data(), out.data(), 2, 3, 9, 11, 3, kRowPixels, pitch});
      for (int64_t n = 0; n < 2; ++n) {
        for (int64_t y = -3; y < 12; ++y) {
          for (int64_t col = -3; col < kRowPixels - 3; ++col) {
            for (int c = 0; c < pitch; ++c) {
              bool inside = y >= 0 && y < 9 && col >= 0 && col < 11 && c < 3;
              float want = inside ? x.data[((n * 3 + c) * 9 + y) * 11 + col] : 0.0f;
              int64_t pixel = (n * 15 + y + 3) * kRowPixels + col + 3;
              float got = element(static_cast<uint8_t*>(out.data()) + (pixel * pitch + c) * bytes, precision);
              ASSERT_NEAR(got, want, std::abs(want) * rounding(precision));
            }
          }
        }
      }
    }
  }
}

TEST(CudaHead, IsALinearLayerWhateverTheBatch) {
  Random random(12);
  const int features = 44, pitch = padded_channels(features), classes = 21;
  Tensor x = random_tensor({71, pitch}, random), weight = random_tensor({classes, pitch}, random);
  Tensor bias = random_tensor({classes}, random);
  std::vector<float> alone;
  for (int images : {1, 8, 19, 71}) {
    std::vector<float> logits(images * 24, -7.0f);
    Stream stream;
    head(stream,
         {x.data.data(), weight.data.data(), bias.data.data(), logits.data(), images, classes, pitch, 24});
    for (int n = 0; n < images; ++n) {
      for (int o = 0; o < classes; ++o) {
        double want = bias.data[o];
        for (int c = 0; c < pitch; ++c) want += double{x.data[n * pitch + c]} * weight.data[o * pitch + c];
        EXPECT_NEAR(logits[n * 24 + o], want, 1e-5);
      }
      for (int o = classes; o < 24; ++o) EXPECT_EQ(logits[n * 24 + o], -7.0f);
    }
    if (alone.empty()) alone = logits;
    EXPECT_TRUE(std::equal(alone.begin(), alone.begin() + 24, logits.begin()));
  }
}

TEST(CudaSqueezeExcite, AgreesWithTheReference) {
  Random random(8);
  const int channels = 104, squeezed = 12;
  Tensor w1 = random_tensor({squeezed, channels, 1, 1}, random), b1 = random_tensor({squeezed}, random);
  Tensor w2 = random_tensor({channels, squeezed, 1, 1}, random), b2 = random_tensor({channels}, random);
  for (Precision precision : kPrecisions) {
    Map z(random_tensor({3, 6, 7, channels}, random), precision);
    Tensor before = z.tensor();
    ByteTensor mask({3, 6, 7});
    List list;
    for (int64_t p = 0; p < 3 * 42; ++p) {
      if (p % 42 == 0) list.begin.push_back(static_cast<int32_t>(list.out.size()));
      if (p / 42 == 1 || p % 3 != 0) continue;  // nothing of the second image
      mask.data[p] = 1;
      list.out.push_back(static_cast<int32_t>(bordered_index({6, 7}, p / 42, p % 42 / 7, p % 7)));
    }
    list.begin.push_back(static_cast<int32_t>(list.out.size()));
    std::vector<float> pooled(3 * z.pitch), scale(3 * z.pitch);
    Tensor expected = reference::squeeze_excite(before, mask, {w1, b1, w2, b2});
    Stream stream;
    mean(stream, precision, {z.device(), list.device(), 3, pooled.data()});
    excite(stream, {pooled.data(), w1.data.data(), b1.data.data(), w2.data.data(), b2.data.data(),
                    scale.data(), 3, channels, squeezed, z.pitch});
    scale_pixels(stream, precision, {z.device(), list.device(), 3, scale.data()});
    Tensor got = z.tensor();
    for (int64_t i = 0; i < got.size(); ++i) {
      float want = mask.data[i / channels] != 0 ? expected.data[i] : before.data[i];
      ASSERT_NEAR(got.data[i], want, std::abs(want) * 2 * rounding(precision) + 1e-5);
    }
  }
}

TEST(CudaUnfused, GatheredPatchesHoldTheWindows) {
  Random random(9);
  for (Precision precision : kPrecisions) {
    for (auto [granularity, stride] : {std::pair{1, 1}, {4, 1}, {3, 2}}) {
      ListGeometry g = list_geometry(2, {13, 10}, stride, stride, granularity);
      Map map(random_tensor({2, 13, 10, 16}, random), precision);
      std::vector<uint8_t> patches(2 * g.patches());
      for (uint8_t& patch : patches) patch = random.uniform() < 0.5;
      int side = halo_side(g.granularity, g.dilation_stride);
      DeviceBuffer buffer(int64_t{2} * g.patches() * side * side * map.pitch * element_bytes(precision),
                          "a test");
      Lists lists(g, patches);
      lists.add(ListKind::active);
      Stream stream;
      build_lists(stream, lists.call);
      gather_patches(stream, precision, {g, map.device(), patches.data(), buffer.data()});
      std::vector<int32_t> in(lists.lists[0].in.size());
      gathered_pixels(stream, g, lists.lists[0].device(), in.data());
      for (int64_t p = 0; p < lists.lists[0].begin.back(); ++p) {
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) {
            int64_t from = lists.lists[0].in[p] + dy * (g.middle_width + 2) + dx, to = in[p] + dy * side + dx;
            for (int c = 0; c < 16; ++c) {
              float got = element(
                  static_cast<uint8_t*>(buffer.data()) + (to * map.pitch + c) * element_bytes(precision),
                  precision);
              ASSERT_EQ(got, map.at(from, c));
            }
          }
        }
      }
    }
  }
}

TEST(CudaUnfused, AddsOverTheWholeMap) {
  Random random(10);
  for (Precision precision : kPrecisions) {
    Map y(random_tensor({2, 5, 4, 24}, random), precision),
        body(random_tensor({2, 5, 4, 24}, random), precision);
    Tensor before = y.tensor(), added = body.tensor();
    Stream stream;
    add_relu(stream, precision, {y.device(), body.buffer.data(), 2});
    Tensor got = y.tensor();
    for (int64_t i = 0; i < got.size(); ++i) {
      float want = std::max(before.data[i] + added.data[i], 0.0f);
      ASSERT_NEAR(got.data[i], want, want * rounding(precision));
    }
    y.expect_zero_border();
  }
}

TEST(CudaFinite, FindsTheFirstBadValue) {
  Random random(11);
  for (Precision precision : kPrecisions) {
    Tensor x = random_tensor({1, 4, 5, 8}, random);
    x.data[(2 * 5 + 1) * 8 + 3] = INFINITY;
    x.data[(2 * 5 + 1) * 8 + 5] = NAN;
    x.data[0] = NAN;  // not listed
    Map map(x, precision);
    std::vector<int32_t> pixels;
    for (int64_t p = 1; p < 20; ++p)
      pixels.push_back(static_cast<int32_t>(bordered_index({4, 5}, 0, p / 5, p % 5)));
    pixels[4] = ~pixels[4];
    int32_t count = 19;
    unsigned long long first = ~0ull;
    Stream stream;
    find_not_finite(stream, precision, 19, {map.buffer.data(), map.pitch, 8, pixels.data(), &count, &first});
    EXPECT_EQ(first, 2u * (static_cast<unsigned long long>(bordered_index({4, 5}, 0, 2, 1)) * 8 + 3));
  }
}

}  // namespace
}  // namespace lasnet::cuda
