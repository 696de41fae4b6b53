// CUDA convolutions on the emulated device against plain loops: all tiles and precisions, shapes with tails,
// both extremes of the copies' timing and both orders of the threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>

#include "backends/cuda/kernels/pack.h"
#include "backends/reference/kernels.h"
#include "kernel_operands.h"
#include "mask/tap_offsets.h"

namespace lasnet::cuda {
namespace {

struct ConvCase {
  int kernel, stride, in, out;
  MapSize size;
  int64_t images;
  double rate;
  int groups = 1;
};

const ConvCase kConvCases[] = {
    {1, 1, 64, 64, {5, 7}, 1, 1.0},      {1, 1, 72, 8, {7, 7}, 2, 0.5},
    {1, 2, 24, 40, {9, 11}, 1, 1.0},     {3, 1, 24, 72, {8, 8}, 1, 0.4},
    {3, 2, 32, 136, {13, 9}, 2, 1.0},    {3, 1, 40, 100, {4, 4}, 1, 0.1},
    {1, 1, 8, 1, {1, 1}, 1, 1.0},        {3, 1, 16, 16, {6, 5}, 1, 0.0},
    {1, 1, 128, 264, {13, 14}, 1, 0.8},  {3, 1, 104, 104, {7, 6}, 2, 0.6, 13},
    {3, 2, 144, 144, {9, 8}, 1, 1.0, 9}, {3, 1, 120, 120, {6, 6}, 1, 0.5, 5},
    {3, 1, 64, 64, {5, 5}, 1, 1.0, 16},  {3, 2, 24, 24, {7, 9}, 1, 1.0, 24},
    {1, 1, 48, 96, {6, 5}, 1, 0.7, 3},
};

List random_list(const ConvCase& c, MapSize output, std::vector<uint8_t>& computed, Random& random) {
  List list;
  for (int64_t n = 0; n < c.images; ++n) {
    list.begin.push_back(static_cast<int32_t>(list.in.size()));
    for (int64_t y = 0; y < output.height; ++y) {
      for (int64_t x = 0; x < output.width; ++x) {
        computed.push_back(random.uniform() < c.rate);
        if (computed.back() == 0) continue;
        list.in.push_back(static_cast<int32_t>(bordered_index(c.size, n, y * c.stride, x * c.stride)));
        list.out.push_back(static_cast<int32_t>(bordered_index(output, n, y, x)));
      }
    }
  }
  list.begin.push_back(static_cast<int32_t>(list.in.size()));
  return list;
}

/// max(0, x) unless the epilogue leaves it out for this pixel.
float finished(float sum, float before, Epilogue epilogue, bool is_inverted) {
  if (epilogue == Epilogue::bias_add_relu) sum += before;
  bool linear = epilogue == Epilogue::bias || (epilogue == Epilogue::projection && is_inverted);
  return linear ? sum : std::max(sum, 0.0f);
}

/// The convolution of a case with one tile, precision and epilogue; returns the output map's bytes.
std::vector<uint8_t> check_conv(const ConvCase& c, Precision precision, CudaTileShape shape,
                                Epilogue epilogue) {
  Random random(c.in * 131 + c.out);
  Map in(random_tensor({c.images, c.size.height, c.size.width, c.in}, random), precision);
  Tensor weight = random_tensor({c.out, c.in / c.groups, c.kernel, c.kernel}, random);
  std::vector<float> bias = random_tensor({c.out}, random).data;
  Tensor expected = reference::conv2d(in.tensor(), weight, bias, c.stride, c.groups);
  MapSize output{expected.shape[1], expected.shape[2]};
  Map out(random_tensor({c.images, output.height, output.width, c.out}, random), precision);
  Tensor before = out.tensor();
  std::vector<uint8_t> computed;
  List list = random_list(c, output, computed, random);
  if (epilogue == Epilogue::projection) {
    for (size_t i = 0; i < list.out.size(); i += 3) list.out[i] = ~list.out[i];
  }
  PackedConv packed = pack_conv(weight, bias, {c.groups, in.pitch, false}, precision);
  const CudaTile tile = cuda_tile(shape, precision);
  if (order_of(tile.shape) == AccumulationOrder::warpgroup)
    packed.weights = pack_hopper_weights(weight, precision);
  ConvCall call;
  call.in = in.buffer.data();
  call.out = out.buffer.data();
  std::vector<uint8_t> aligned(packed.weights.size() + 16);
  void* place = aligned.data();
  size_t space = aligned.size();
  std::align(16, packed.weights.size(), place, space);
  std::memcpy(place, packed.weights.data(), packed.weights.size());
  call.weights = place;
  call.bias = packed.bias.data();
  call.count = &list.begin.back();
  call.in_pitch = in.pitch;
  call.out_pitch = out.pitch;
  call.out_channels = padded_channels(c.out);
  call.taps = packed.taps;
  call.run = packed.run;
  std::vector<int64_t> offsets = tap_offsets(c.kernel, c.size.width + 2, in.pitch, false);
  std::copy(offsets.begin(), offsets.end(), call.tap_offsets);
  call.group_in = packed.group_in;
  call.group_out = packed.group_out;
  call.epilogue = epilogue;
  call.max_pixels = c.images * output.pixels();
  list.in.resize(call.max_pixels, 1 << 30), list.out.resize(call.max_pixels, 1 << 30);
  call.in_pixels = list.in.data(), call.out_pixels = list.out.data();
  Stream stream;
  conv(stream, precision, tile, call);
  out.expect_zero_border();

  int64_t reduction = static_cast<int64_t>(c.kernel) * c.kernel * c.in / c.groups;
  double scale = std::sqrt(static_cast<double>(reduction)) + 2;
  // Weights and stored results are rounded, and float32 sums; TF32 rounds inputs too.
  double bound = (8 * rounding(precision) + 8 * static_cast<double>(reduction) * 0x1p-24) * scale + 1e-6;
  double worst = 0;
  Tensor got = out.tensor();
  size_t entry = 0;
  for (int64_t p = 0; p < expected.size() / c.out; ++p) {
    bool is_inverted = computed[p] != 0 && epilogue == Epilogue::projection && entry % 3 == 0;
    for (int o = 0; o < c.out; ++o) {
      float old = before.data[p * c.out + o], value = got.data[p * c.out + o];
      if (computed[p] == 0) {
        EXPECT_EQ(value, old) << "a pixel that is not in the list was written";
        if (value != old) return {};
        continue;
      }
      double error = std::abs(static_cast<double>(value) -
                              finished(expected.data[p * c.out + o], old, epilogue, is_inverted));
      if (!(error <= worst)) worst = error;
    }
    entry += computed[p];
  }
  EXPECT_LE(worst, bound) << to_string(precision) << " tile " << static_cast<int>(shape) << " kernel "
                          << c.kernel << " stride " << c.stride << " " << c.in << " -> " << c.out
                          << " groups " << c.groups;
  std::vector<uint8_t> bytes(out.buffer.bytes());
  std::memcpy(bytes.data(), out.buffer.data(), bytes.size());
  return bytes;
}

constexpr CudaTileShape kShapes[] = {CudaTileShape::fitted, CudaTileShape::wide,       CudaTileShape::tall,
                                     CudaTileShape::medium, CudaTileShape::small,      CudaTileShape::split,
                                     CudaTileShape::hopper, CudaTileShape::hopper_wide};

class CudaConv : public testing::TestWithParam<Precision> {};
class CudaConvOnHopper : public CudaConv {};

TEST_P(CudaConv, OverListsWithEveryTileGivesTheSameBits) {
  int turn = 0;
  for (const ConvCase& c : kConvCases) {
    for (Epilogue epilogue :
         {Epilogue::bias, Epilogue::bias_relu, Epilogue::bias_add_relu, Epilogue::projection}) {
      WithSettings settings(kSettings[turn++ % std::size(kSettings)]);
      std::vector<uint8_t> small = check_conv(c, GetParam(), CudaTileShape::small, epilogue);
      if (GetParam() != Precision::fp32) check_conv(c, GetParam(), CudaTileShape::split, epilogue);
      if (c.groups > 1) continue;
      EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::medium, epilogue), small);
      EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::fitted, epilogue), small);
      if (GetParam() == Precision::fp32) continue;
      EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::tall, epilogue), small);
      EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::wide, epilogue), small);
    }
  }
}

TEST_P(CudaConv, FittedTilesOfEveryHeightGiveTheSameBits) {
  WithSettings settings({.multiprocessors = 1});
  std::set<int> heights;
  for (MapSize size : {MapSize{5, 6}, {19, 2}, {23, 2}, {6, 10}, {5, 15}, {9, 10}, {10, 12}}) {
    ConvCase c{3, 1, 24, 40, size, 1, 1.0};
    CudaConvWork work{
        .pixels = static_cast<double>(size.height * size.width), .channels = c.out, .precision = GetParam()};
    heights.insert(adapted_to(cuda_tile(CudaTileShape::fitted, GetParam()), work).pixels);
    EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::fitted, Epilogue::bias_add_relu),
              check_conv(c, GetParam(), CudaTileShape::small, Epilogue::bias_add_relu));
  }
  EXPECT_EQ(heights.size(), GetParam() == Precision::fp32 ? 3 : 4);
}

emulation::Settings on_hopper(emulation::Settings settings) {
  settings.hopper = true;
  return settings;
}

/// Whole tiles of 256 channels, or not; reductions that end within a step or fill several; more stages than
/// shared memory holds, and fewer.
TEST_P(CudaConvOnHopper, IsTheSameInBothWidths) {
  int turn = 0;
  for (const ConvCase& c : {ConvCase{1, 1, 64, 256, {5, 7}, 1, 1.0},
                            {1, 1, 72, 136, {7, 7}, 2, 0.5},
                            {3, 1, 24, 256, {8, 9}, 1, 0.4},
                            {3, 2, 128, 128, {13, 9}, 2, 1.0},
                            {1, 2, 320, 512, {9, 11}, 1, 0.9},
                            {3, 1, 16, 100, {6, 5}, 1, 0.0},
                            {1, 1, 8, 1, {1, 1}, 1, 1.0}}) {
    for (Epilogue epilogue :
         {Epilogue::bias, Epilogue::bias_relu, Epilogue::bias_add_relu, Epilogue::projection}) {
      WithSettings settings(on_hopper(kSettings[turn++ % std::size(kSettings)]));
      std::vector<uint8_t> narrow = check_conv(c, GetParam(), CudaTileShape::hopper, epilogue);
      if (c.out % 256 != 0) continue;
      EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::hopper_wide, epilogue), narrow);
    }
  }
}

TEST_P(CudaConvOnHopper, IsTheSameInEveryHeight) {
  WithSettings settings({.hopper = true, .multiprocessors = 1});
  for (CudaTileShape shape : {CudaTileShape::hopper, CudaTileShape::hopper_wide}) {
    std::set<int> heights;
    for (MapSize size : {MapSize{5, 6}, {7, 10}, {9, 10}, {10, 10}, {10, 11}, {9, 14}, {10, 15}, {18, 17}}) {
      ConvCase c{1, 1, 64, 256, size, 1, 1.0};
      CudaConvWork work{.pixels = static_cast<double>(size.height * size.width),
                        .channels = c.out,
                        .precision = GetParam()};
      heights.insert(adapted_to(cuda_tile(shape, GetParam()), work).pixels);
      // By warps sums have their own order.
      EXPECT_EQ(check_conv(c, GetParam(), shape, Epilogue::bias_add_relu),
                check_conv(c, GetParam(), CudaTileShape::small, Epilogue::bias_add_relu));
    }
    EXPECT_EQ(heights.size(), 6) << to_string(shape);
  }
}

TEST_P(CudaConv, DoesNotDependOnTimingOrOrder) {
  for (CudaTileShape shape : kShapes) {
    if (!has_cuda_tile(shape, GetParam())) continue;
    bool is_hopper = order_of(shape) == AccumulationOrder::warpgroup;
    ConvCase c{3, 1, 72, is_hopper ? 256 : 136, {13, 14}, 1, 0.9};
    std::vector<uint8_t> first;
    for (const emulation::Settings& wanted : kSettings) {
      WithSettings settings(is_hopper ? on_hopper(wanted) : wanted);
      std::vector<uint8_t> bytes = check_conv(c, GetParam(), shape, Epilogue::bias_add_relu);
      if (first.empty()) first = bytes;
      EXPECT_EQ(bytes, first);
    }
  }
}

std::string name_of(const testing::TestParamInfo<Precision>& precision) { return to_string(precision.param); }

INSTANTIATE_TEST_SUITE_P(Precisions, CudaConv, testing::ValuesIn(kPrecisions), name_of);
INSTANTIATE_TEST_SUITE_P(Precisions, CudaConvOnHopper, testing::Values(Precision::fp16, Precision::bf16),
                         name_of);

}  // namespace
}  // namespace lasnet::cuda
