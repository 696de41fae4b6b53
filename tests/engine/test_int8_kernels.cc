// Every int8 operator of every instruction set against plain loops, bit for bit, over shapes with tails and
// over the largest values that bytes have.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/int8/executable.h"
#include "backends/cpu/int8/kernels.h"
#include "backends/reference/int8_kernels.h"
#include "base/random.h"
#include "lasnet/mask.h"
#include "mask/tap_offsets.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using namespace reference::int8;

/// `pairs`: of weights, neighbours sum to what kernels of products in 16 bits can just add. `largest` is
/// beyond.
enum class Values { random, largest, random_pairs, largest_pairs };

bool are_largest(Values values) { return values == Values::largest || values == Values::largest_pairs; }

class Int8KernelTables : public testing::TestWithParam<const Int8Kernels*> {
 protected:
  const Int8Kernels& kernels() const { return *GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Tables, Int8KernelTables, testing::ValuesIn(available_int8_kernels()),
                         [](const auto& tables) { return std::string(tables.param->name); });

ByteTensor random_bytes(Shape shape, Values values, Random& random) {
  ByteTensor x(std::move(shape));
  for (uint8_t& byte : x.data)
    byte = are_largest(values) ? 255 : static_cast<uint8_t>(256 * random.uniform());
  return x;
}

/// NHWC tensor -> bordered map.
AlignedArray<uint32_t> to_map(const ByteTensor& x) {
  const MapSize size{x.shape[1], x.shape[2]};
  const int64_t channels = x.shape[3], pitch = word_pitch(channels);
  AlignedArray<uint32_t> map(bordered_pixels(size, x.shape[0]) * pitch);
  for (int64_t p = 0; p < x.size() / channels; ++p) {
    const int64_t at =
        bordered_index(size, p / size.pixels(), p % size.pixels() / size.width, p % size.width);
    std::copy_n(x.data.data() + p * channels, channels, reinterpret_cast<uint8_t*>(map.data() + at * pitch));
  }
  return map;
}

uint8_t byte_at(const AlignedArray<uint32_t>& map, MapSize size, int64_t channels, int64_t pixel, int64_t c) {
  const int64_t at =
      bordered_index(size, pixel / size.pixels(), pixel % size.pixels() / size.width, pixel % size.width);
  return reinterpret_cast<const uint8_t*>(map.data() + at * word_pitch(channels))[c];
}

struct Int8Case {
  int kernel, stride, in, out;
  MapSize size;
  int64_t images;
  double rate;  ///< share of output pixels computed
  int groups = 1;
};

const Int8Case kCases[] = {
    {1, 1, 64, 64, {5, 7}, 1, 1.0},       {1, 1, 300, 8, {7, 7}, 2, 0.5},
    {1, 2, 24, 40, {9, 11}, 1, 1.0},      {3, 1, 16, 16, {6, 5}, 1, 1.0},
    {3, 1, 22, 70, {8, 8}, 1, 0.4},       {3, 2, 32, 136, {13, 9}, 2, 1.0},
    {3, 1, 64, 64, {40, 40}, 1, 0.9},     {1, 1, 8, 1, {1, 1}, 1, 1.0},
    {1, 1, 2048, 100, {3, 3}, 1, 1.0},    {3, 1, 512, 72, {5, 5}, 1, 0.6},  // more than one slice
    {3, 1, 128, 128, {5, 5}, 1, 1.0, 32}, {3, 2, 48, 48, {9, 8}, 1, 1.0, 3},
    {3, 1, 24, 24, {7, 9}, 1, 1.0, 24},   {3, 1, 30, 30, {4, 4}, 1, 0.5, 5},
};

ConvSpec conv_spec(int kernel, int in, int out, int stride = 1, int groups = 1) {
  ConvSpec spec;
  spec.in_channels = in;
  spec.out_channels = out;
  spec.kernel = kernel;
  spec.stride = stride;
  spec.groups = groups;
  return spec;
}

Int8Layer random_layer(const ConvSpec& spec, Values values, Random& random) {
  Int8Layer layer{
      spec,
      Array<int8_t>({spec.out_channels, spec.in_channels / spec.groups, spec.kernel, spec.kernel}),
      {},
      {}};
  // Whole channels of the largest weights, of either sign: sums of pairs in 16 bits saturate beyond their
  // limit.
  const int64_t taps = int64_t{spec.kernel} * spec.kernel;
  const int64_t per_channel = layer.weight.size() / spec.out_channels;
  for (int64_t i = 0; i < layer.weight.size(); ++i) {
    const int sign = i / per_channel % 2 == 0 ? 1 : -1;
    const bool first_of_pair = i % per_channel / taps % 2 == 0, equal = i / per_channel % 4 < 2;
    const auto weight = [&]() -> int64_t {
      switch (values) {
        case Values::largest:
          return sign * 127;
        case Values::largest_pairs:
          return sign * (equal ? 64 : (first_of_pair ? 127 : 1));
        case Values::random_pairs:
          return std::lround(random.uniform(-64, 64));
        default:
          return std::lround(random.uniform(-127, 127));
      }
    };
    layer.weight.data[i] = static_cast<int8_t>(weight());
  }
  const double typical = are_largest(values) ? 255.0 * 127 * static_cast<double>(per_channel)
                                             : 8000.0 * std::sqrt(static_cast<double>(per_channel));
  for (int c = 0; c < spec.out_channels; ++c) {
    layer.multiplier.push_back(static_cast<float>(random.uniform(20, 300) / typical));
    layer.bias.push_back(static_cast<float>(random.uniform(-60, 90)));
  }
  return layer;
}

/// A list of some output pixels, and which they are.
PixelList some_pixels(const Int8Case& c, MapSize output, Random& random, std::vector<uint8_t>& computed) {
  PixelList pixels;
  pixels.reserve(c.images * output.pixels(), c.images);
  for (int64_t p = 0; p < c.images * output.pixels(); ++p) {
    computed.push_back(random.uniform() < c.rate);
    if (computed.back() == 0) continue;
    const int64_t n = p / output.pixels(), y = p % output.pixels() / output.width, x = p % output.width;
    pixels.append(
        {bordered_index(c.size, n, y * c.stride, x * c.stride), 1, bordered_index(output, n, y, x), 1});
  }
  return pixels;
}

/// In uneven tasks of pixels and channel blocks, as threads would.
void run_in_tasks(const Int8ConvCall& call, const Int8Kernels& kernels) {
  constexpr int64_t kStep = 37;
  AlignedArray<int32_t> scratch(conv_scratch_size(kernels.block_width));
  for (int64_t begin = 0; begin < call.pixels.count; begin += kStep) {
    const int middle = call.conv->channel_blocks() / 2;
    for (auto [first, last] : {std::pair{0, middle}, std::pair{middle, call.conv->channel_blocks()}}) {
      if (first < last)
        kernels.conv(call, {begin, std::min(begin + kStep, call.pixels.count), first, last}, scratch.data());
    }
  }
}

void check_conv(const Int8Case& c, Values values, Int8Epilogue epilogue, const Int8Kernels& kernels) {
  SCOPED_TRACE(fmt::format("{} {}x{} stride {}, {} -> {}, {} groups", kernels.name, c.kernel, c.kernel,
                           c.stride, c.in, c.out, c.groups));
  Random random(c.in * 131 + c.out);
  const ConvSpec spec = conv_spec(c.kernel, c.in, c.out, c.stride, c.groups);
  const ByteTensor x = random_bytes({c.images, c.size.height, c.size.width, c.in}, values, random);
  const Int8Layer layer = random_layer(spec, values, random);
  const Sums sums = conv_sums(x, layer);
  const MapSize output{sums.shape[1], sums.shape[2]};
  const ByteTensor before = random_bytes(sums.shape, values, random);

  std::vector<uint8_t> computed;
  const PixelList pixels = some_pixels(c, output, random, computed);
  const bool merge = merges_word_rows(spec, word_pitch(c.in));
  const PackedInt8Conv packed = pack_int8_conv(layer, merge, kernels);
  const std::vector<int64_t> taps = tap_offsets(c.kernel, c.size.width + 2, word_pitch(c.in), merge);
  const AlignedArray<uint32_t> in = to_map(x);
  AlignedArray<uint32_t> out = to_map(before);
  run_in_tasks({.conv = &packed,
                .in = in.data(),
                .in_pitch = word_pitch(c.in),
                .tap_offsets = taps.data(),
                .out = reinterpret_cast<uint8_t*>(out.data()),
                .out_pitch = word_pitch(c.out) * kWordBytes,
                .pixels = pixels.pairs(),
                .epilogue = epilogue},
               kernels);
  for (int64_t i = 0; i < sums.size(); ++i) {
    const int64_t pixel = i / c.out, channel = i % c.out;
    const int32_t identity = epilogue == Int8Epilogue::add_relu ? before.data[i] : 0;
    const int32_t value = scaled(sums.data[i], layer.multiplier[channel], layer.bias[channel]) + identity;
    const uint8_t expected = computed[pixel] != 0 ? to_byte(value) : before.data[i];
    ASSERT_EQ(byte_at(out, output, c.out, pixel, channel), expected)
        << "pixel " << pixel << " channel " << channel;
  }
}

TEST_P(Int8KernelTables, Convolution) {
  for (const Int8Case& c : kCases) {
    for (const Values values :
         {Values::random, Values::largest, Values::random_pairs, Values::largest_pairs}) {
      for (const Int8Epilogue epilogue : {Int8Epilogue::relu, Int8Epilogue::add_relu})
        check_conv(c, values, epilogue, kernels());
    }
  }
}

TEST(PairsOfWeights, FitUpToTheirLimit) {
  Random random(3);
  const auto fit = [&](Values values) {
    return fit_pairs(random_layer(conv_spec(3, 70, 85), values, random));
  };
  EXPECT_TRUE(fit(Values::random_pairs));
  EXPECT_TRUE(fit(Values::largest_pairs));
  EXPECT_FALSE(fit(Values::random));
  EXPECT_FALSE(fit(Values::largest));
}

/// In a group of an odd number of inputs, pairs begin where they do in the map.
TEST(PairsOfWeights, AreThoseOfTheMap) {
  Int8Layer layer{conv_spec(1, 6, 2, 1, 2), Array<int8_t>({2, 3, 1, 1}), {}, {}};
  layer.weight.data = {64, 64, 100, /**/ 100, 64, 64};
  EXPECT_TRUE(fit_pairs(layer));
  layer.weight.data = {64, 65, 0, /**/ 0, 0, 0};
  EXPECT_FALSE(fit_pairs(layer));
  layer.weight.data = {0, 0, 0, /**/ 0, 64, 65};
  EXPECT_FALSE(fit_pairs(layer));
}

TEST_P(Int8KernelTables, SumsThemselves) {
  Random random(5);
  const ConvSpec spec = conv_spec(1, 70, 85);
  const ByteTensor x = random_bytes({1, 1, 3, 70}, Values::random, random);
  const Int8Layer layer = random_layer(spec, Values::random, random);
  const Sums expected = conv_sums(x, layer);
  const PackedInt8Conv packed = pack_int8_conv(layer, false, kernels());
  const AlignedArray<uint32_t> in = to_map(x);
  AlignedArray<int32_t> out(3 * packed.out_channels);
  PixelList pixels;
  pixels.reserve(3, 1);
  pixels.append({bordered_index({1, 3}, 0, 0, 0), 1, 0, 3});
  const int64_t no_offset = 0;
  run_in_tasks({.conv = &packed,
                .in = in.data(),
                .in_pitch = word_pitch(70),
                .tap_offsets = &no_offset,
                .out = reinterpret_cast<uint8_t*>(out.data()),
                .out_pitch = packed.out_channels * 4,
                .pixels = pixels.pairs(),
                .epilogue = Int8Epilogue::sums},
               kernels());
  for (int64_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(out.data()[i / 85 * packed.out_channels + i % 85], expected.data[i]) << i;
}

/// The first pixels of the list also have a second reduction, of another map.
TEST_P(Int8KernelTables, TwoConvolutionsInOneSum) {
  for (const auto& [kernel, values] :
       {std::pair(1, Values::random), std::pair(3, Values::random), std::pair(1, Values::random_pairs),
        std::pair(3, Values::random_pairs)}) {
    Random random(kernel);
    const MapSize size{6, 7};
    const ConvSpec first = conv_spec(1, 40, 72);
    const ConvSpec second = conv_spec(kernel, 64, 72);
    const ByteTensor x = random_bytes({1, 6, 7, 40}, Values::random, random),
                     h = random_bytes({1, 6, 7, 64}, Values::random, random);
    const Int8Layer projection = random_layer(first, values, random);
    Int8Layer last = random_layer(second, values, random);
    last.multiplier = projection.multiplier;
    const Sums of_x = conv_sums(x, projection), of_h = conv_sums(h, last);
    const bool merge = merges_word_rows(second, word_pitch(64));
    const PackedInt8Conv packed = pack_int8_sum(projection, last, merge, kernels());
    PixelList pixels;
    pixels.reserve(size.pixels(), 1);
    for (int64_t y = 0; y < size.height; ++y) {
      const int64_t row = bordered_index(size, 0, y, 0);
      pixels.append({row, 1, row, size.width});
    }
    const AlignedArray<uint32_t> in = to_map(x), extra = to_map(h);
    AlignedArray<uint32_t> out = to_map(ByteTensor({1, 6, 7, 72}));
    const std::vector<int64_t> taps = tap_offsets(kernel, size.width + 2, word_pitch(64), merge);
    const int64_t no_offset = 0, active = 17;
    Int8ConvCall call{.conv = &packed,
                      .in = in.data(),
                      .in_pitch = word_pitch(40),
                      .tap_offsets = &no_offset,
                      .out = reinterpret_cast<uint8_t*>(out.data()),
                      .out_pitch = word_pitch(72) * kWordBytes,
                      .pixels = pixels.pairs(),
                      .epilogue = Int8Epilogue::relu};
    call.extra = {extra.data(), word_pitch(64), taps.data(), pixels.pairs().in, active};
    run_in_tasks(call, kernels());
    for (int64_t i = 0; i < of_x.size(); ++i) {
      const int64_t pixel = i / 72, c = i % 72;
      const int32_t sum = of_x.data[i] + (pixel < active ? of_h.data[i] : 0);
      const float bias = projection.bias[c] + (pixel < active ? last.bias[c] : 0);
      ASSERT_EQ(byte_at(out, size, 72, pixel, c), to_byte(scaled(sum, projection.multiplier[c], bias)))
          << kernels().name << " " << i;
    }
  }
}

TEST_P(Int8KernelTables, MaxPool) {
  for (const MapSize size : {MapSize{7, 9}, MapSize{8, 6}}) {
    Random random(3);
    const ByteTensor x = random_bytes({2, size.height, size.width, 70}, Values::random, random);
    const ByteTensor expected = max_pool(x);
    const MapSize output{expected.shape[1], expected.shape[2]};
    const AlignedArray<uint32_t> in = to_map(x);
    AlignedArray<uint32_t> out = to_map(ByteTensor(expected.shape));
    const ByteMaxPoolCall call{reinterpret_cast<const uint8_t*>(in.data()),
                               reinterpret_cast<uint8_t*>(out.data()), word_pitch(70) * kWordBytes, size,
                               output};
    for (int64_t n = 0; n < 2; ++n) {
      for (int64_t y = 0; y < output.height; ++y) kernels().max_pool(call, n, y);
    }
    for (int64_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(byte_at(out, output, 70, i / 70, i % 70), expected.data[i]);
  }
}

TEST_P(Int8KernelTables, SumsOfWindowsAndDots) {
  Random random(4);
  const MapSize size{9, 8};
  const int channels = static_cast<int>(round_up(200, kernels().vector_width));
  const ByteTensor x = random_bytes({2, 9, 8, 200}, Values::random, random);
  const AlignedArray<uint32_t> map = to_map(x);
  const PixelRect window{2, 1, 9, 8};
  AlignedArray<int32_t> sums(channels), weight(channels);
  for (int c = 0; c < 200; ++c) weight.data()[c] = static_cast<int32_t>(random.uniform(-1e6, 1e6));
  kernels().sum({reinterpret_cast<const uint8_t*>(map.data()), word_pitch(200) * kWordBytes, size, 1, window,
                 sums.data()},
                0, channels);
  int64_t dot = 0;
  for (int64_t c = 0; c < 200; ++c) {
    const int64_t sum = sum_of(x, 1, window, c);
    ASSERT_EQ(sums.data()[c], sum);
    dot += sum * weight.data()[c];
  }
  EXPECT_EQ(kernels().dot(sums.data(), weight.data(), channels), dot);
  const PackedMasker masker =
      pack_masker(std::vector<int32_t>(weight.data(), weight.data() + 200), kernels());
  EXPECT_EQ(kernels().window_dot({reinterpret_cast<const uint8_t*>(map.data()), word_pitch(200) * kWordBytes,
                                  size, 1, window, &masker}),
            dot);
}

/// Far more than int32 holds.
TEST_P(Int8KernelTables, DotsOfTheLargestWindows) {
  Random random(5);
  constexpr int kChannels = 2048;
  const MapSize size{40, 40};
  const ByteTensor x = random_bytes({1, 40, 40, kChannels}, Values::largest, random);
  const AlignedArray<uint32_t> map = to_map(x);
  for (const int32_t weight : {1 << 20, -(1 << 20), 63, 64, -64, 127}) {
    const PackedMasker masker = pack_masker(std::vector<int32_t>(kChannels, weight), kernels());
    EXPECT_EQ(kernels().window_dot({reinterpret_cast<const uint8_t*>(map.data()),
                                    word_pitch(kChannels) * kWordBytes,
                                    size,
                                    0,
                                    {0, 0, 40, 40},
                                    &masker}),
              int64_t{weight} * kChannels * size.pixels() * 255);
  }
}

/// Squeeze-and-Excitation's two kernels, over some pixels alone.
TEST_P(Int8KernelTables, SumsAndScalesListedPixels) {
  Random random(8);
  const MapSize size{6, 5};
  const int channels = static_cast<int>(round_up(90, kernels().vector_width));
  const ByteTensor x = random_bytes({1, 6, 5, 90}, Values::random, random);
  AlignedArray<uint32_t> map = to_map(x);
  auto* bytes = reinterpret_cast<uint8_t*>(map.data());
  std::vector<int32_t> pixels;
  std::vector<uint8_t> listed;
  for (int64_t p = 0; p < size.pixels(); ++p) {
    listed.push_back(random.uniform() < 0.5);
    if (listed.back() != 0)
      pixels.push_back(static_cast<int32_t>(bordered_index(size, 0, p / size.width, p % size.width)));
  }
  AlignedArray<int32_t> sums(channels);
  kernels().list_sum(
      {bytes, word_pitch(90) * kWordBytes, pixels.data(), static_cast<int64_t>(pixels.size()), sums.data()},
      0, channels);
  AlignedBuffer factors(channels);
  for (int c = 0; c < 90; ++c) factors.data()[c] = static_cast<float>(random.uniform(0, 3));
  factors.data()[0] = 0.5f;  // ties
  kernels().scale({bytes, word_pitch(90) * kWordBytes, pixels.data(), static_cast<int64_t>(pixels.size()),
                   channels, factors.data()});
  for (int64_t c = 0; c < 90; ++c) {
    int32_t sum = 0;
    for (int64_t p = 0; p < size.pixels(); ++p) {
      const uint8_t before = x.data[p * 90 + c];
      sum += listed[p] != 0 ? before : 0;
      const uint8_t expected = listed[p] != 0 ? excited_byte(before, factors.data()[c]) : before;
      ASSERT_EQ(byte_at(map, size, 90, p, c), expected) << p << " " << c;
    }
    ASSERT_EQ(sums.data()[c], sum);
  }
}

TEST_P(Int8KernelTables, DotsOfTheLargestSums) {
  const int channels = 2048;
  AlignedArray<int32_t> sums(channels), weight(channels);
  std::fill_n(sums.data(), channels, static_cast<int32_t>(255 * kMaxSummedPixels));
  std::fill_n(weight.data(), channels, -(1 << 21));
  EXPECT_EQ(kernels().dot(sums.data(), weight.data(), channels),
            -(int64_t{channels} << 21) * 255 * kMaxSummedPixels);
}

TEST_P(Int8KernelTables, QuantizesImages) {
  Random random(6);
  constexpr float kInverse = 53.7f, kZero = 114;
  std::vector<float> planes(3 * 45);
  for (float& value : planes) value = static_cast<float>(random.uniform(-3, 3));
  planes[7] = std::numeric_limits<float>::quiet_NaN();
  planes[45] = std::numeric_limits<float>::infinity();
  planes[46] = -std::numeric_limits<float>::infinity();
  planes[47] = 0.5f / kInverse;  // a tie, if the multiply-add is fused or not
  std::vector<uint32_t> row(45);
  kernels().quantize_row(
      {planes.data(), planes.data() + 45, planes.data() + 90, 45, kInverse, kZero, row.data()});
  for (int x = 0; x < 45; ++x) {
    for (int c = 0; c < 3; ++c)
      ASSERT_EQ(row[x] >> (8 * c) & 255, input_byte(planes[c * 45 + x], kInverse, kZero)) << x << " " << c;
    ASSERT_EQ(row[x] >> 24, 0u);
  }
}

}  // namespace
}  // namespace lasnet
