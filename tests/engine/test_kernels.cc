// Every operator of every instruction set against plain loops, over shapes with tails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/tiling.h"
#include "backends/reference/kernels.h"
#include "base/random.h"
#include "mask/tap_offsets.h"
#include "support/param_name.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using test::random_tensor;

int64_t pitch_of(int64_t channels) { return (channels + 15) / 16 * 16; }

/// NHWC tensor -> bordered map.
AlignedBuffer to_map(const Tensor& x) {
  MapSize size{x.shape[1], x.shape[2]};
  int64_t channels = x.shape[3], pitch = pitch_of(channels);
  AlignedBuffer map(bordered_pixels(size, x.shape[0]) * pitch);
  const float* in = x.data.data();
  for (int64_t n = 0; n < x.shape[0]; ++n) {
    for (int64_t y = 0; y < size.height; ++y) {
      for (int64_t c = 0; c < size.width; ++c, in += channels) {
        std::copy_n(in, channels, map.data() + bordered_index(size, n, y, c) * pitch);
      }
    }
  }
  return map;
}

/// Bound on the rounding of a sum of k products: each of k additions rounds a partial sum of magnitude about
/// sqrt(k); the worst order statistics stay within a small multiple.
double tolerance(int64_t k) { return 8 * static_cast<double>(k) * 0x1p-24 + 1e-6; }

struct ConvCase {
  int kernel, stride, in, out;
  MapSize size;
  int64_t images;
  double rate;  ///< share of output pixels computed
  int groups = 1;
};

class Kernels : public testing::TestWithParam<Isa> {
 protected:
  const CpuKernels& kernels() const { return cpu_kernels(GetParam()); }
};

const ConvCase kConvCases[] = {
    {1, 1, 64, 64, {5, 7}, 1, 1.0},
    {1, 1, 300, 8, {7, 7}, 2, 0.5},
    {1, 2, 24, 40, {9, 11}, 1, 1.0},
    {3, 1, 16, 16, {6, 5}, 1, 1.0},
    {3, 1, 24, 72, {8, 8}, 1, 0.4},
    {3, 2, 32, 136, {13, 9}, 2, 1.0},
    {3, 2, 48, 48, {12, 16}, 1, 0.3},
    {3, 1, 112, 100, {4, 4}, 1, 0.1},
    {1, 1, 8, 1, {1, 1}, 1, 1.0},
    {3, 1, 128, 256, {7, 7}, 3, 0.6},
    {1, 1, 520, 200, {14, 14}, 1, 0.5},
    {3, 1, 64, 64, {40, 40}, 1, 0.9},
    // Groups of RegNetY (8, 16, 24 wide), ResNeXt (4), depthwise, and unequal in and out per group.
    {3, 1, 104, 104, {7, 6}, 2, 0.6, 13},
    {3, 2, 144, 144, {9, 8}, 1, 1.0, 9},
    {3, 1, 120, 120, {6, 6}, 1, 0.5, 5},
    {3, 1, 128, 128, {5, 5}, 1, 1.0, 32},
    {3, 2, 24, 24, {7, 9}, 1, 1.0, 24},
    {1, 1, 48, 96, {6, 5}, 1, 0.7, 3},
    {3, 1, 784, 784, {4, 4}, 1, 1.0, 49},
};

void check_conv(const ConvCase& c, Epilogue epilogue, const CpuKernels& kernels) {
  Random random(c.in * 131 + c.out);
  Tensor x = random_tensor({c.images, c.size.height, c.size.width, c.in}, random);
  Tensor weight = random_tensor({c.out, c.in / c.groups, c.kernel, c.kernel}, random);
  std::vector<float> bias = random_tensor({c.out}, random).data;
  Tensor expected = reference::conv2d(x, weight, bias, c.stride, c.groups);
  MapSize output{expected.shape[1], expected.shape[2]};

  PixelList pixels;
  pixels.reserve(c.images * output.pixels(), c.images);
  std::vector<uint8_t> computed;
  for (int64_t n = 0; n < c.images; ++n) {
    for (int64_t y = 0; y < output.height; ++y) {
      std::vector<uint8_t> row(output.width);
      for (uint8_t& flag : row) flag = random.uniform() < c.rate;
      for (int64_t col = 0; col < output.width; ++col) {
        if (row[col] == 0) continue;
        pixels.append({bordered_index(c.size, n, y * c.stride, col * c.stride), 1,
                       bordered_index(output, n, y, col), 1});
      }
      computed.insert(computed.end(), row.begin(), row.end());
    }
  }
  bool merge_rows = c.kernel > 1 && c.groups == 1 && pitch_of(c.in) == c.in;
  PackedConv packed = pack_conv({weight, bias, c.groups, merge_rows}, kernels);
  std::vector<int64_t> taps = tap_offsets(c.kernel, c.size.width + 2, pitch_of(c.in), merge_rows);
  AlignedBuffer in = to_map(x), scratch(conv_scratch_size(kernels.block_width));
  Tensor before = random_tensor({c.images, output.height, output.width, c.out}, random);
  AlignedBuffer out = to_map(before);
  ConvCall call{&packed,    in.data(),       pitch_of(c.in), taps.data(),
                out.data(), pitch_of(c.out), pixels.pairs(), epilogue};
  // In uneven tasks of pixels and channel blocks, as threads would.
  int64_t step = std::min<int64_t>(kMaxTaskPixels, 37);
  for (int64_t begin = 0; begin < pixels.count(); begin += step) {
    int middle = packed.channel_blocks() / 2;
    for (auto [first, last] : {std::pair{0, middle}, std::pair{middle, packed.channel_blocks()}}) {
      kernels.conv(call, {begin, std::min(begin + step, pixels.count()), first, last}, scratch.data());
    }
  }
  double worst = 0, scale = std::sqrt(static_cast<double>(packed.reduction()));
  for (int64_t p = 0; p < expected.size() / c.out; ++p) {
    int64_t n = p / output.pixels(), y = p % output.pixels() / output.width, col = p % output.width;
    const float* got = out.data() + bordered_index(output, n, y, col) * pitch_of(c.out);
    for (int o = 0; o < c.out; ++o) {
      float want = before.data[p * c.out + o];
      if (computed[p]) {
        want = expected.data[p * c.out + o] + (epilogue == Epilogue::bias_add_relu ? want : 0.0f);
        if (epilogue != Epilogue::bias) want = std::max(want, 0.0f);
        worst = std::max(worst, static_cast<double>(std::abs(got[o] - want)));
      } else {
        ASSERT_EQ(got[o], want) << "a pixel that is not in the list was written";
      }
    }
  }
  EXPECT_LE(worst, tolerance(packed.reduction()) * scale)
      << "kernel " << c.kernel << " stride " << c.stride << " " << c.in << " -> " << c.out;
}

TEST_P(Kernels, ConvolutionOverLists) {
  for (const ConvCase& c : kConvCases) {
    for (Epilogue epilogue : {Epilogue::bias, Epilogue::bias_relu, Epilogue::bias_add_relu}) {
      check_conv(c, epilogue, kernels());
    }
  }
}

TEST_P(Kernels, GroupedConvolutionMultipliesFewZeros) {
  Random random(7);
  for (auto [width, channels] : {std::pair{8, 104}, std::pair{16, 320}, std::pair{24, 336}}) {
    Tensor weight = random_tensor({channels, width, 3, 3}, random);
    std::vector<float> bias(channels);
    PackedConv packed = pack_conv({weight, bias, channels / width}, kernels());
    // A vector of output channels reads the groups it touches, and never more.
    EXPECT_LE(packed.reduction(), 9 * width * (kernels().vector_width / width + 2)) << width;
    EXPECT_LE(packed.weights.size(), static_cast<size_t>(2 * weight.size() + 9 * 48 * 64)) << width;
  }
}

TEST_P(Kernels, MeanAndScaleOfListedPixels) {
  Random random(8);
  for (int channels : {8, 48, 104, 440}) {
    int width = kernels().vector_width, padded = (channels + width - 1) / width * width;
    Tensor x = random_tensor({1, 6, 7, channels}, random), factors = random_tensor({padded}, random);
    AlignedBuffer map = to_map(x), mean(padded);
    std::vector<int32_t> pixels;
    ByteTensor mask({1, 6, 7});
    for (int64_t p = 0; p < 42; p += 5) {
      pixels.push_back(static_cast<int32_t>(bordered_index({6, 7}, 0, p / 7, p % 7)));
      mask.data[p] = 1;
    }
    auto count = static_cast<int64_t>(pixels.size());
    int middle = padded / 2 / width * width;
    for (auto [begin, end] : {std::pair{0, middle}, std::pair{middle, padded}}) {
      kernels().mean({map.data(), pitch_of(channels), pixels.data(), count, mean.data()}, begin, end);
    }
    kernels().scale({map.data(), pitch_of(channels), pixels.data(), count, padded, factors.data.data()});
    std::vector<double> sums(channels);
    for (int64_t p = 0; p < 42; ++p) {
      const float* got = map.data() + bordered_index({6, 7}, 0, p / 7, p % 7) * pitch_of(channels);
      for (int c = 0; c < channels; ++c) {
        float value = x.data[p * channels + c];
        if (mask.data[p]) sums[c] += value;
        ASSERT_EQ(got[c], mask.data[p] ? value * factors.data[c] : value);
      }
    }
    for (int c = 0; c < channels; ++c)
      EXPECT_NEAR(mean.data()[c], sums[c] / static_cast<double>(count), 1e-6);
  }
}

TEST_P(Kernels, Masker) {
  Random random(5);
  for (int stride : {1, 2}) {
    for (int granularity : {1, 2, 3, 4, 9}) {
      for (int channels : {8, 24, 64}) {
        Tensor x = random_tensor({2, 11, 14, channels}, random);
        PatchGrid grid{{(11 + stride - 1) / stride, 14 / stride}, granularity};
        Tensor weight = random_tensor({2, channels, 1, 1}, random), bias = random_tensor({2}, random);
        Tensor expected = reference::masker_differences(x, grid, stride, weight, bias);
        AlignedBuffer map = to_map(x), difference(pitch_of(channels));
        for (int c = 0; c < channels; ++c) difference.data()[c] = weight.data[c] - weight.data[channels + c];
        Tensor got(expected.shape);
        int width = kernels().vector_width;
        int64_t pitch = pitch_of(channels);
        MaskerCall call{.sums = {map.data() + bordered_index({11, 14}, 0, 0, 0) * pitch, pitch, 16 * pitch,
                                 bordered_pixels({11, 14}, 1) * pitch, 1},
                        .input = {11, 14},
                        .grid = grid,
                        .stride = stride,
                        .channels = (channels + width - 1) / width * width,
                        .weight = difference.data(),
                        .bias = bias.data[0] - bias.data[1],
                        .differences = got.data.data()};
        auto run_masker = [&] {
          for (int64_t n = 0; n < 2; ++n) {
            for (int64_t row = 0; row < grid.rows(); ++row) kernels().masker(call, n, row);
          }
          for (int64_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got.data[i], expected.data[i], 1e-4);
        };
        run_masker();
        // The same over sums of cells that divide the patches' windows.
        for (int side = 1; side <= granularity * stride; ++side) {
          if (granularity * stride % side != 0) continue;
          PatchGrid cells{{11, 14}, side};
          AlignedBuffer sums(2 * cells.patches() * pitch);
          for (int64_t p = 0; p < 2 * cells.patches(); ++p) {
            int64_t cell = p % cells.patches();
            PatchSumCall sum{map.data(),
                             pitch,
                             {11, 14},
                             p / cells.patches(),
                             patch_pixels(cells, cell / cells.cols(), cell % cells.cols()),
                             sums.data() + p * pitch};
            int middle = call.channels / 2 / width * width;
            kernels().patch_sum(sum, 0, middle);
            kernels().patch_sum(sum, middle, call.channels);
          }
          call.sums = {sums.data(), pitch, cells.cols() * pitch, cells.patches() * pitch, side};
          std::fill(got.data.begin(), got.data.end(), NAN);
          run_masker();
        }
      }
    }
  }
}

/// Two convolutions summed in the registers: all pixels have the first, some also the second.
TEST_P(Kernels, SumOfTwoConvolutions) {
  struct Case {
    int in, out, extra_in, extra_kernel;
    MapSize size;
    double share;
  };
  for (const Case& c : {Case{64, 64, 64, 1, {7, 9}, 0.4}, Case{24, 72, 16, 3, {6, 5}, 0.7},
                        Case{300, 40, 520, 1, {8, 8}, 0.0}, Case{520, 136, 300, 3, {5, 7}, 1.0}}) {
    Random random(c.in + c.out);
    Tensor x = random_tensor({1, c.size.height, c.size.width, c.in}, random);
    Tensor h = random_tensor({1, c.size.height, c.size.width, c.extra_in}, random);
    Tensor weight = random_tensor({c.out, c.in, 1, 1}, random);
    Tensor extra_weight = random_tensor({c.out, c.extra_in, c.extra_kernel, c.extra_kernel}, random);
    std::vector<float> bias = random_tensor({c.out}, random).data,
                       extra_bias = random_tensor({c.out}, random).data;
    Tensor first = reference::conv2d(x, weight, bias, 1, 1);
    Tensor second = reference::conv2d(h, extra_weight, extra_bias, 1, 1);

    std::vector<int32_t> order;  // those with both come first
    for (int64_t p = 0; p < c.size.pixels(); ++p) order.push_back(static_cast<int32_t>(p));
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    auto extra = static_cast<int64_t>(c.share * static_cast<double>(c.size.pixels()));
    std::vector<int32_t> pixels;
    for (int32_t p : order) {
      pixels.push_back(static_cast<int32_t>(bordered_index(c.size, 0, p / c.size.width, p % c.size.width)));
    }
    bool merge_rows = c.extra_kernel > 1 && pitch_of(c.extra_in) == c.extra_in;
    PackedConv packed = pack_conv_sum({weight, bias}, {extra_weight, extra_bias, 1, merge_rows}, kernels());
    AlignedBuffer in = to_map(x), extra_map = to_map(h), scratch(conv_scratch_size(kernels().block_width));
    AlignedBuffer out(bordered_pixels(c.size, 1) * pitch_of(c.out));
    std::vector<int64_t> taps = tap_offsets(1, c.size.width + 2, pitch_of(c.in), false);
    std::vector<int64_t> extra_taps =
        tap_offsets(c.extra_kernel, c.size.width + 2, pitch_of(c.extra_in), merge_rows);
    ConvCall call{.conv = &packed,
                  .in = in.data(),
                  .in_pitch = pitch_of(c.in),
                  .tap_offsets = taps.data(),
                  .out = out.data(),
                  .out_pitch = pitch_of(c.out),
                  .pixels = {pixels.data(), pixels.data(), c.size.pixels()},
                  .epilogue = Epilogue::bias_relu,
                  .extra = {extra_map.data(), pitch_of(c.extra_in), extra_taps.data(), pixels.data(), extra}};
    for (int64_t begin = 0; begin < c.size.pixels(); begin += 13) {
      kernels().conv(call, {begin, std::min(begin + 13, c.size.pixels()), 0, packed.channel_blocks()},
                     scratch.data());
    }
    double bound = tolerance(packed.reduction()) * std::sqrt(static_cast<double>(packed.reduction()));
    for (int64_t i = 0; i < c.size.pixels(); ++i) {
      for (int o = 0; o < c.out; ++o) {
        float want =
            first.data[order[i] * c.out + o] + (i < extra ? second.data[order[i] * c.out + o] : 0.0f);
        EXPECT_NEAR(out.data()[pixels[i] * pitch_of(c.out) + o], std::max(want, 0.0f), bound);
      }
    }
  }
}

TEST_P(Kernels, DotAndAddRelu) {
  Random random(9);
  int width = kernels().vector_width;
  for (int channels : {8, 24, 136}) {
    int padded = (channels + width - 1) / width * width;
    Tensor x = random_tensor({1, 5, 6, channels}, random), weight = random_tensor({padded}, random);
    std::fill(weight.data.begin() + channels, weight.data.end(), 0.0f);
    AlignedBuffer map = to_map(x);
    int64_t size = bordered_pixels({5, 6}, 1);
    std::vector<float> got(size, NAN);
    std::vector<int32_t> pixels;
    for (int64_t p = 0; p < 30; p += 4)
      pixels.push_back(static_cast<int32_t>(bordered_index({5, 6}, 0, p / 6, p % 6)));
    kernels().dot({map.data(), pitch_of(channels), pixels.data(), static_cast<int64_t>(pixels.size()), padded,
                   weight.data.data(), got.data()});
    for (int64_t p = 0; p < 30; ++p) {
      float value = got[bordered_index({5, 6}, 0, p / 6, p % 6)];
      double want = 0;
      for (int c = 0; c < channels; ++c) want += double{x.data[p * channels + c]} * weight.data[c];
      if (p % 4 == 0) {
        EXPECT_NEAR(value, want, tolerance(channels) * std::sqrt(channels));
      } else {
        EXPECT_TRUE(std::isnan(value)) << "a pixel that is not in the list was written";
      }
    }
    AlignedBuffer sum = to_map(x), addend = to_map(random_tensor({1, 5, 6, channels}, random));
    int64_t floats = size * pitch_of(channels) / width * width;
    kernels().add_relu({addend.data(), sum.data(), floats});
    for (int64_t i = 0; i < floats; ++i) {
      ASSERT_EQ(sum.data()[i], std::max(0.0f, addend.data()[i] + map.data()[i]));
    }
  }
}

TEST_P(Kernels, Pools) {
  Random random(6);
  for (MapSize size : {MapSize{16, 16}, MapSize{7, 10}, MapSize{1, 1}}) {
    for (int channels : {8, 40}) {
      Tensor x = random_tensor({2, size.height, size.width, channels}, random);
      reference::relu(x);
      int width = kernels().vector_width, padded = (channels + width - 1) / width * width;
      AlignedBuffer in = to_map(x);
      Tensor expected = reference::max_pool(x);
      MapSize output{expected.shape[1], expected.shape[2]};
      AlignedBuffer out(bordered_pixels(output, 2) * pitch_of(channels));
      AlignedBuffer mean(2 * padded);
      for (int64_t n = 0; n < 2; ++n) {
        for (int64_t row = 0; row < output.height; ++row) {
          kernels().max_pool({in.data(), out.data(), pitch_of(channels), size, output, padded}, n, row);
        }
        std::vector<int32_t> pixels;
        for (int64_t p = 0; p < size.pixels(); ++p) {
          pixels.push_back(static_cast<int32_t>(bordered_index(size, n, p / size.width, p % size.width)));
        }
        kernels().mean(
            {in.data(), pitch_of(channels), pixels.data(), size.pixels(), mean.data() + n * padded}, 0,
            padded);
      }
      Tensor expected_mean = reference::average_pool(x);
      for (int64_t n = 0; n < 2; ++n) {
        for (int64_t p = 0; p < output.pixels(); ++p) {
          int64_t index = bordered_index(output, n, p / output.width, p % output.width);
          for (int c = 0; c < channels; ++c) {
            ASSERT_EQ(out.data()[index * pitch_of(channels) + c],
                      expected.data[(n * output.pixels() + p) * channels + c]);
          }
        }
        for (int c = 0; c < channels; ++c) {
          EXPECT_NEAR(mean.data()[n * padded + c], expected_mean.data[n * channels + c], 1e-5);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Kernels, testing::ValuesIn(available_isas()), test::ParamName());

TEST(Tiling, CoversTheWorkWithinTheScratch) {
  for (int64_t pixels : {1, 5, 24, 49, 196, 784, 3136, 100352}) {
    for (int blocks : {1, 4, 32}) {
      for (int threads : {1, 2, 3, 16}) {
        for (int64_t channels : {3, 64, 2048}) {
          ConvTiling tiling = tile_conv({pixels, channels * 9, channels, blocks, threads});
          EXPECT_GE(tiling.pixels, 1);
          EXPECT_LE(tiling.pixels, kMaxTaskPixels);
          EXPECT_GE(tiling.channel_blocks, 1);
          EXPECT_LE(tiling.channel_blocks, blocks);
        }
      }
    }
  }
}

}  // namespace
}  // namespace lasnet
