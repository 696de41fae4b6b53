// Every CUDA kernel on the emulated device against plain loops: all tiles and precisions, shapes with tails,
// both extremes of the copies' timing and both orders of the threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>

#include "core/random.h"
#include "cuda_emulation.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/look_back.h"
#include "kernels/cuda/pack.h"
#include "kernels/reference/reference.h"
#include "kernels/tap_offsets.h"
#include "mask/active_lists.h"

namespace lasnet::cuda {
namespace {

constexpr Precision kPrecisions[] = {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16};

/// Largest relative rounding error of a stored value.
double rounding(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return 0x1p-24;
    case Precision::tf32:
    case Precision::fp16:
      return 0x1p-11;
    case Precision::bf16:
      return 0x1p-8;
  }
  return 0;
}

/// Restores the emulation's settings.
struct WithSettings {
  explicit WithSettings(emulation::Settings wanted) : saved(emulation::settings()) {
    emulation::settings() = wanted;
  }
  ~WithSettings() { emulation::settings() = saved; }
  emulation::Settings saved;
};

const emulation::Settings kSettings[] = {{.late_copies = true, .descending = false},
                                         {.late_copies = false, .descending = true, .resident_blocks = 3},
                                         {.late_copies = true, .descending = true, .resident_blocks = 2},
                                         {.late_copies = false, .descending = false, .multiprocessors = 1}};

Tensor random_tensor(Shape shape, Random& random) {
  Tensor tensor(std::move(shape));
  for (float& value : tensor.data) value = static_cast<float>(random.normal());
  return tensor;
}

float element(const uint8_t* bytes, Precision precision) {
  if (element_bytes(precision) == 4) {
    float value;
    std::memcpy(&value, bytes, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, bytes, 2);
  return precision == Precision::fp16 ? f16_to_f32(half) : bf16_to_f32(half);
}

/// A bordered map in a precision. TF32 maps hold whole floats.
struct Map {
  MapSize size;
  int64_t images;
  int channels, pitch;
  Precision precision;
  DeviceBuffer buffer;

  Map(const Tensor& x, Precision p)
      : size{x.shape[1], x.shape[2]},
        images(x.shape[0]),
        channels(static_cast<int>(x.shape[3])),
        pitch(padded_channels(channels)),
        precision(p) {
    std::vector<float> values(bordered_pixels(size, images) * pitch);
    for (int64_t i = 0; i < images * size.pixels(); ++i) {
      int64_t index = bordered_index(size, i / size.pixels(), i % size.pixels() / size.width, i % size.width);
      std::copy_n(&x.data[i * channels], channels, &values[index * pitch]);
    }
    std::vector<uint8_t> bytes;
    append_elements(values, p == Precision::tf32 ? Precision::fp32 : p, bytes);
    buffer = DeviceBuffer(static_cast<int64_t>(bytes.size()), "a test");
    buffer.upload(bytes.data(), buffer.bytes());
  }

  DeviceMap device() const {
    return {buffer.data(), pitch, static_cast<int>(size.height), static_cast<int>(size.width), channels};
  }
  float at(int64_t index, int channel) const {
    return element(
        static_cast<uint8_t*>(buffer.data()) + (index * pitch + channel) * element_bytes(precision),
        precision);
  }
  Tensor tensor() const {
    Tensor x({images, size.height, size.width, channels});
    for (int64_t i = 0; i < x.size(); ++i) {
      int64_t p = i / channels, n = p / size.pixels(), y = p % size.pixels() / size.width,
              col = p % size.width;
      x.data[i] = at(bordered_index(size, n, y, col), static_cast<int>(i % channels));
    }
    return x;
  }
  void expect_zero_border() const {
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t y = -1; y <= size.height; ++y) {
        for (int64_t x = -1; x <= size.width; ++x) {
          if (y >= 0 && y < size.height && x >= 0 && x < size.width) continue;
          for (int c = 0; c < pitch; ++c) ASSERT_EQ(at(bordered_index(size, n, y, x), c), 0.0f);
        }
      }
    }
  }
};

/// A list in memory, exactly as long as it is.
struct List {
  std::vector<int32_t> in, out, begin;

  DeviceList device() { return {in.data(), out.data(), begin.data()}; }
};

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
  ConvCall call;
  call.in = in.buffer.data();
  call.out = out.buffer.data();
  call.weights = packed.weights.data();
  std::vector<uint8_t> aligned(packed.weights.size() + 16);
  void* place = aligned.data();
  size_t space = aligned.size();
  std::align(16, packed.weights.size(), place, space);
  std::memcpy(place, packed.weights.data(), packed.weights.size());
  call.weights = place;
  call.bias = packed.bias.data();
  call.in_pixels = list.in.data();
  call.out_pixels = list.out.data();
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
  conv(stream, precision, cuda_tile(shape, precision), call);
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

constexpr CudaTileShape kShapes[] = {CudaTileShape::fitted, CudaTileShape::wide,  CudaTileShape::tall,
                                     CudaTileShape::medium, CudaTileShape::small, CudaTileShape::split};

class CudaConv : public testing::TestWithParam<Precision> {};

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
    heights.insert(fitted_to(cuda_tile(CudaTileShape::fitted, GetParam()), work).pixels);
    EXPECT_EQ(check_conv(c, GetParam(), CudaTileShape::fitted, Epilogue::bias_add_relu),
              check_conv(c, GetParam(), CudaTileShape::small, Epilogue::bias_add_relu));
  }
  EXPECT_EQ(heights.size(), GetParam() == Precision::fp32 ? 3 : 4);
}

TEST_P(CudaConv, DoesNotDependOnTimingOrOrder) {
  for (CudaTileShape shape : kShapes) {
    if (!has_cuda_tile(shape, GetParam())) continue;
    ConvCase c{3, 1, 72, 136, {13, 14}, 1, 0.9};
    std::vector<uint8_t> first;
    for (const emulation::Settings& wanted : kSettings) {
      WithSettings settings(wanted);
      std::vector<uint8_t> bytes = check_conv(c, GetParam(), shape, Epilogue::bias_add_relu);
      if (first.empty()) first = bytes;
      EXPECT_EQ(bytes, first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaConv, testing::ValuesIn(kPrecisions),
                         [](const auto& param) { return to_string(param.param); });

/// Buffers of a ListCall.
struct Lists {
  ListGeometry g;
  std::vector<uint8_t> patches;
  std::vector<List> lists;
  std::vector<std::vector<int32_t>> masked;
  std::vector<std::vector<unsigned long long>> cells;
  std::vector<unsigned long long> launches;
  ListCall call;

  Lists(const ListGeometry& geometry, std::vector<uint8_t> decisions)
      : g(geometry), patches(std::move(decisions)) {
    call.geometry = g;
    call.patches = patches.data();
    lists.resize(kMaxTargets), cells.resize(kMaxTargets), masked.resize(kMaxTargets);
    launches.resize(kMaxTargets);
  }
  void add(ListKind kind, int whole_from = 1 << 30) {
    int i = call.count++;
    int64_t capacity = static_cast<int64_t>(g.images) * domain_height(g, kind) * domain_width(g, kind);
    lists[i].in.assign(capacity, -7), lists[i].out.assign(capacity, -7),
        lists[i].begin.assign(g.images + 1, -7);
    int chunks = g.images * chunks_per_image(g, kind);
    cells[i].assign(chunks, 0), masked[i].assign(chunks, -7);
    call.targets[i] = {
        kind, whole_from, lists[i].device(), {cells[i].data(), &launches[i]}, masked[i].data()};
  }
};

void expect_lists_of_the_cpu(MapSize size, std::initializer_list<int> granularities) {
  Random random(4);
  for (auto [stride, dilation_stride] : {std::pair{1, 1}, {2, 2}, {2, 1}}) {
    for (int granularity : granularities) {
      for (double rate : {0.0, 0.15, 0.5, 1.0}) {
        BlockGeometry b;
        b.input = size;
        b.output = {(size.height + stride - 1) / stride, (size.width + stride - 1) / stride};
        b.middle = dilation_stride == stride ? b.input : b.output;
        b.dilation_stride = dilation_stride;
        b.grid = {b.output, granularity};
        auto n = [](int64_t v) { return static_cast<int>(v); };
        ListGeometry g{3,
                       n(b.input.height),
                       n(b.input.width),
                       n(b.middle.height),
                       n(b.middle.width),
                       n(b.output.height),
                       n(b.output.width),
                       stride,
                       dilation_stride,
                       granularity,
                       n(b.grid.rows()),
                       n(b.grid.cols())};
        std::vector<uint8_t> patches(3 * g.patches());
        for (uint8_t& patch : patches) patch = random.uniform() < rate;
        std::fill_n(patches.begin() + g.patches(), g.patches(), uint8_t{0});
        Lists got(g, patches);
        got.add(ListKind::dilated), got.add(ListKind::active), got.add(ListKind::result),
            got.add(ListKind::projected), got.add(ListKind::patches);
        WithSettings settings(kSettings[granularity % 2]);
        Stream stream;
        build_lists(stream, got.call);
        ActiveLists want;
        ActiveListBuilder builder(b, {.stride = stride, .projected = true, .by_row = true}, 3);
        builder.build(patches, want);
        // Row by row, where the CPU lists M patch by patch.
        auto check = [&](const List& list, const PixelList& cpu) {
          ASSERT_EQ(list.begin.back(), cpu.count());
          std::vector<std::pair<int, int>> wanted;
          for (int64_t i = 0; i < cpu.count(); ++i)
            wanted.emplace_back(cpu.pairs().out[i], cpu.pairs().in[i]);
          std::sort(wanted.begin(), wanted.end());
          for (int64_t image = 0; image < 3; ++image) {
            EXPECT_EQ(list.begin[image + 1] - list.begin[image], cpu.images(image, image + 1).count);
          }
          for (int64_t i = 0; i < cpu.count(); ++i) ASSERT_EQ(std::pair(list.out[i], list.in[i]), wanted[i]);
        };
        check(got.lists[0], want.dilated);
        check(got.lists[1], want.active);
        check(got.lists[2], want.active_by_row);
        std::set<int> active_pixels(want.active.pairs().out, want.active.pairs().out + want.active.count());
        for (int i = 0, at = 0; i < 3 * g.output_height * g.output_width; ++i) {
          int y = i / g.output_width % g.output_height, x = i % g.output_width;
          PixelPair pair = pixel_pair(g, ListKind::projected, i / (g.output_height * g.output_width), y, x);
          ASSERT_EQ(got.lists[3].in[at], pair.in);
          ASSERT_EQ(got.lists[3].out[at++], active_pixels.contains(pair.out) ? ~pair.out : pair.out);
        }
        std::vector<int32_t> active_patches;
        for (size_t p = 0; p < patches.size(); ++p) {
          if (patches[p] != 0) active_patches.push_back(static_cast<int32_t>(p));
        }
        ASSERT_EQ(got.lists[4].begin.back(), static_cast<int>(active_patches.size()));
        EXPECT_TRUE(std::equal(active_patches.begin(), active_patches.end(), got.lists[4].in.begin()));
        int64_t counted = 0;
        for (int32_t chunk : got.masked[0]) counted += chunk;
        EXPECT_EQ(counted, want.dilated.count());
      }
    }
  }
}

TEST(CudaMask, ListsAreTheCpusForEveryMask) {
  expect_lists_of_the_cpu({25, 39}, {1, 2, 3, 4, 40});
  expect_lists_of_the_cpu({5, 2100}, {1, 7});  // rows longer than a chunk
  expect_lists_of_the_cpu({3, 16000}, {1});
  expect_lists_of_the_cpu({1300, 1}, {3});
  expect_lists_of_the_cpu({150, 32}, {1});  // of all numbers of units in a row, one needs the most words
  expect_lists_of_the_cpu({150, 33}, {1});
  expect_lists_of_the_cpu({7, 62 * 32}, {1});
  expect_lists_of_the_cpu({7, 62 * 64}, {1});
}

TEST(CudaMask, ListsDoNotDependOnWhoWaitsForWhom) {
  ListGeometry g{6, 40, 40, 40, 40, 40, 40, 1, 1, 4, 10, 10};  // two chunks per image
  Random random(13);
  std::vector<uint8_t> patches(600);
  for (uint8_t& active : patches) active = random.uniform() < 0.5;
  std::vector<List> expected;
  for (int resident : {1, 2, 5, 36}) {
    for (bool descending : {false, true}) {
      WithSettings settings({.descending = descending, .resident_blocks = resident});
      Lists got(g, patches);
      got.add(ListKind::dilated), got.add(ListKind::active, 60), got.add(ListKind::patches);
      Stream stream;
      for (int repeat = 0; repeat < 2; ++repeat) build_lists(stream, got.call);
      if (expected.empty()) expected = got.lists;
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(got.lists[i].begin, expected[i].begin);
        EXPECT_EQ(got.lists[i].out, expected[i].out);
      }
    }
  }
}

/// What lies before a chunk that holds 1000.
__global__ void look_back(ListProgress progress, int chunk, int chunks, int* before) {
  wait_for_predecessor();
  LookBack look(progress, chunk, chunks);
  look.start();
  int sum = look.before(1000);
  if (threadIdx.x == 0) *before = sum;
}

TEST(CudaLookBack, AddsCountsBackToTheNearestSum) {
  constexpr int kChunks = 700, kChunk = 600;  // more before it than are read at once
  constexpr unsigned kLaunch = 5;
  for (int nearest : {0, 20, 343, 344, 345, 566, 567, 568, 599}) {
    std::vector<unsigned long long> cells(kChunks, published(kUpToHere, kLaunch - 1, -7));
    int expected = 0;
    for (int i = 0; i < kChunk; ++i) {
      expected += i;
      bool knows = i == 0 || i == nearest || (i < nearest && i % 3 == 0);
      cells[i] = knows ? published(kUpToHere, kLaunch, expected) : published(kOwnCount, kLaunch, i);
    }
    unsigned long long launches = kLaunch;
    int before = -1;
    Stream stream;
    launch(stream, look_back, LaunchShape{1, 32}, ListProgress{cells.data(), &launches}, kChunk, kChunks,
           &before);
    EXPECT_EQ(before, expected) << nearest;
    EXPECT_EQ(cells[kChunk], published(kUpToHere, kLaunch, expected + 1000));
    EXPECT_EQ(cells[kChunk + 1], published(kUpToHere, kLaunch - 1, -7));
    EXPECT_EQ(launches, kLaunch) << "later chunks have yet to read it";
    launch(stream, look_back, LaunchShape{1, 32}, ListProgress{cells.data(), &launches}, kChunk, kChunk + 1,
           &before);
    EXPECT_EQ(launches, kLaunch + 1);
  }
}

TEST(CudaLookBack, WaitsForWhatHasNotBeenPublished) {
  for (unsigned long long missing : {published(kUpToHere, 4, 1), published(kNothing, 5, 1)}) {
    std::vector<unsigned long long> cells(300, published(kUpToHere, 5, 1));
    cells[260] = missing;
    unsigned long long launches = 5;
    int before = -1;
    Stream stream;
    EXPECT_THROW(launch(stream, look_back, LaunchShape{1, 32}, ListProgress{cells.data(), &launches}, 299,
                        300, &before),
                 std::runtime_error);
    EXPECT_EQ(before, -1);
  }
}

TEST(CudaMask, ManyChunksAreListedInOrder) {
  constexpr int kImages = 330;  // two chunks each, of which one reads 256 at once
  ListGeometry g{kImages, 33, 33, 33, 33, 33, 33, 1, 1, 11, 3, 3};
  Random random(14);
  std::vector<uint8_t> patches(kImages * 9);
  for (uint8_t& active : patches) active = random.uniform() < 0.5;
  WithSettings settings({.descending = true, .resident_blocks = 50});
  Lists got(g, patches);
  got.add(ListKind::active);
  Stream stream;
  build_lists(stream, got.call);
  int at = 0;
  for (int i = 0; i < kImages * 33 * 33; ++i) {
    int n = i / (33 * 33), y = i / 33 % 33, x = i % 33;
    if (y == 0 && x == 0) {
      ASSERT_EQ(got.lists[0].begin[n], at);
    }
    if (patches[9 * n + y / 11 * 3 + x / 11] == 0) continue;
    ASSERT_EQ(got.lists[0].out[at++], bordered(33, 33, n, y, x));
  }
  EXPECT_EQ(got.lists[0].begin.back(), at);
}

TEST(CudaMask, DenseImagesOfSeveralChunksListEverything) {
  ListGeometry g{2, 70, 40, 70, 40, 70, 40, 1, 1, 5, 14, 8};  // three chunks per image
  std::vector<uint8_t> patches(2 * 112);
  std::fill_n(patches.begin() + 40, 50, uint8_t{1});
  std::fill_n(patches.begin() + 112, 49, uint8_t{1});
  Lists got(g, patches);
  got.add(ListKind::active, 50);
  Stream stream;
  build_lists(stream, got.call);
  EXPECT_EQ(got.lists[0].begin, (std::vector<int32_t>{0, 2800, 2800 + 49 * 25}));
  ASSERT_EQ(got.masked[0].size(), 6u);
  EXPECT_EQ(got.masked[0][0] + got.masked[0][1] + got.masked[0][2], 50 * 25);
  EXPECT_EQ(got.masked[0][3] + got.masked[0][4] + got.masked[0][5], 49 * 25);
  for (int i = 0; i < 2800; ++i) ASSERT_EQ(got.lists[0].in[i], bordered(70, 40, 0, i / 40, i % 40));
}

TEST(CudaMask, DenseImagesListEverything) {
  ListGeometry g{3, 9, 9, 9, 9, 9, 9, 1, 1, 3, 3, 3};
  std::vector<uint8_t> patches(27);
  patches[0] = 1;                                    // one of nine
  std::fill_n(patches.begin() + 18, 7, uint8_t{1});  // seven of nine
  Lists got(g, patches);
  got.add(ListKind::dilated, 6), got.add(ListKind::active, 1);
  Stream stream;
  build_lists(stream, got.call);
  EXPECT_EQ(got.lists[0].begin, (std::vector<int32_t>{0, 16, 16, 16 + 81}));
  EXPECT_EQ(got.lists[1].begin, (std::vector<int32_t>{0, 81, 81, 162}));
  EXPECT_EQ(got.masked[1], (std::vector<int32_t>{9, 0, 63}));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(got.launches[i], 1) << "ready for the second launch";
}

TEST(CudaMask, LaunchesAreToldApartForever) {
  ListGeometry g{2, 40, 40, 40, 40, 40, 40, 1, 1, 4, 10, 10};  // two chunks per image
  Random random(12);
  std::vector<uint8_t> patches(200);
  Lists got(g, patches);
  got.add(ListKind::active);
  Stream stream;
  for (unsigned long long launches :
       {0x0ull, 0x1ull, 0x3fffffffull, 0x40000000ull, 0xffffffffull, 0x100000000ull}) {
    got.launches[0] = launches;
    for (uint8_t& active : got.patches) active = random.uniform() < 0.5;
    build_lists(stream, got.call);
    int64_t listed = 16 * std::count(got.patches.begin(), got.patches.end(), 1);
    EXPECT_EQ(got.lists[0].begin.back(), listed);
    EXPECT_TRUE(std::is_sorted(got.lists[0].out.begin(), got.lists[0].out.begin() + listed));
    EXPECT_EQ(got.launches[0], launches + 1);
  }
}

struct MaskerRun {
  Tensor differences;
  std::vector<uint8_t> patches, forced;
  std::vector<float> weight;
  int32_t force = 0;
  MaskerCall call;

  MaskerRun(const ListGeometry& g, const Map& map, const Tensor& w, const Tensor& bias)
      : differences({g.images, g.patch_rows, g.patch_cols}),
        patches(g.images * g.patches(), 9),
        forced(patches.size(), 0) {
    weight.resize((map.channels + 63) / 32 * 32);
    for (int c = 0; c < map.channels; ++c) weight[c] = w.data[c] - w.data[map.channels + c];
    call = {g,
            map.device(),
            {weight.data(), bias.data[0] - bias.data[1], forced.data(), &force, differences.data.data(),
             patches.data()}};
  }
};

/// Of a map of 2 x 11 x 14 pixels.
ListGeometry masker_geometry(int stride, int granularity) {
  PatchGrid grid{{(11 + stride - 1) / stride, 14 / stride}, granularity};
  auto n = [](int64_t v) { return static_cast<int>(v); };
  return {2,
          11,
          14,
          11,
          14,
          n(grid.map.height),
          n(grid.map.width),
          stride,
          stride,
          granularity,
          n(grid.rows()),
          n(grid.cols())};
}

TEST(CudaMasker, AgreesWithTheReference) {
  Random random(5);
  for (Precision precision : kPrecisions) {
    for (int stride : {1, 2}) {
      for (int granularity : {1, 2, 3, 4, 20}) {
        for (int channels : {8, 24, 136, 600}) {
          Map map(random_tensor({2, 11, 14, channels}, random), precision);
          ListGeometry g = masker_geometry(stride, granularity);
          PatchGrid grid{{g.output_height, g.output_width}, granularity};
          Tensor weight = random_tensor({2, channels, 1, 1}, random), bias = random_tensor({2}, random);
          Tensor expected = reference::masker_differences(map.tensor(), grid, stride, weight, bias);
          MaskerRun run(g, map, weight, bias);
          Stream stream;
          masker(stream, precision, run.call);
          for (int64_t i = 0; i < expected.size(); ++i) {
            ASSERT_NEAR(run.differences.data[i], expected.data[i], 2e-4);
            ASSERT_EQ(run.patches[i], run.differences.data[i] >= 0);
          }
          run.force = 1;
          masker(stream, precision, run.call);
          EXPECT_EQ(run.patches, run.forced);
        }
      }
    }
  }
}

/// Maskers that differ, over one map.
std::vector<MaskerRun> several_maskers(int count, const ListGeometry& g, const Map& map, Random& random) {
  std::vector<MaskerRun> runs;
  for (int m = 0; m < count; ++m) {
    runs.emplace_back(g, map, random_tensor({2, map.channels, 1, 1}, random), random_tensor({2}, random));
  }
  for (MaskerRun& run : runs) {  // where they are now
    run.call.target.forced = run.forced.data(), run.call.target.force = &run.force;
    run.call.target.weight = run.weight.data(), run.call.target.patches = run.patches.data();
    run.call.target.differences = run.differences.data.data();
  }
  return runs;
}

MaskerGroupCall group_of(const std::vector<MaskerRun>& runs) {
  MaskerGroupCall call;
  call.geometry = runs.front().call.geometry;
  call.x = runs.front().call.x;
  for (const MaskerRun& run : runs) call.targets[call.count++] = run.call.target;
  return call;
}

TEST(CudaMaskerGroup, HasTheBitsOfEachMaskerAlone) {
  Random random(15);
  for (Precision precision : {Precision::fp32, Precision::fp16, Precision::bf16}) {
    for (auto [stride, granularity] : {std::pair{1, 1}, {1, 2}, {2, 2}, {1, 3}, {1, 4}, {2, 7}, {1, 20}}) {
      for (int channels : {8, 136, 600, 1032}) {
        for (int count : {2, 9, 20, kMaxMaskers}) {
          if (count > 2 && (channels != 600 || granularity > 3)) continue;
          Map map(random_tensor({2, 11, 14, channels}, random), precision);
          std::vector<MaskerRun> runs =
              several_maskers(count, masker_geometry(stride, granularity), map, random);
          WithSettings settings(kSettings[granularity % 2]);
          Stream stream;
          masker_group(stream, precision, group_of(runs));
          for (MaskerRun& run : runs) {
            Tensor differences = run.differences;
            std::vector<uint8_t> patches = run.patches;
            masker(stream, precision, run.call);
            EXPECT_EQ(differences, run.differences);
            EXPECT_EQ(patches, run.patches);
          }
          for (MaskerRun& run : runs) {  // the opposite, of the first only
            for (size_t p = 0; p < run.forced.size(); ++p) run.forced[p] = run.patches[p] == 0;
          }
          runs.front().force = 1;
          std::vector<uint8_t> others = runs.back().patches;
          masker_group(stream, precision, group_of(runs));
          EXPECT_EQ(runs.front().patches, runs.front().forced);
          EXPECT_EQ(runs.back().patches, others);
        }
      }
    }
  }
}

TEST(CudaMaskerGroup, DecidesAboutListedPatchesOnly) {
  Random random(16);
  for (auto [stride, granularity] : {std::pair{1, 1}, {2, 2}, {1, 4}, {1, 6}}) {
    ListGeometry g = masker_geometry(stride, granularity);
    Map map(random_tensor({2, 11, 14, 40}, random), Precision::fp32);
    std::vector<MaskerRun> runs = several_maskers(3, g, map, random);
    for (double rate : {0.0, 0.2, 0.6, 1.0}) {
      std::vector<int32_t> listed;
      for (int32_t p = 0; p < 2 * g.patches(); ++p) {
        if (random.uniform() < rate) listed.push_back(p);
      }
      const auto count = static_cast<int32_t>(listed.size());
      listed.resize(static_cast<size_t>(2 * g.patches()), -1);
      for (MaskerRun& run : runs) {
        std::fill(run.differences.data.begin(), run.differences.data.end(), -7.0f);
        std::fill(run.patches.begin(), run.patches.end(), uint8_t{9});
      }
      MaskerGroupCall call = group_of(runs);
      call.listed = listed.data(), call.listed_count = &count;
      Stream stream;
      masker_group(stream, Precision::fp32, call);
      for (MaskerRun& run : runs) {
        Tensor differences = run.differences;
        masker(stream, Precision::fp32, run.call);
        for (int32_t p = 0; p < 2 * g.patches(); ++p) {
          bool wanted = std::find(listed.begin(), listed.begin() + count, p) != listed.begin() + count;
          EXPECT_EQ(differences.data[p], wanted ? run.differences.data[p] : -7.0f) << p;
        }
      }
    }
  }
}

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
      MapSize middle{13, 10}, output{(13 + stride - 1) / stride, (10 + stride - 1) / stride};
      PatchGrid grid{output, granularity};
      auto n = [](int64_t v) { return static_cast<int>(v); };
      ListGeometry g{2,
                     13,
                     10,
                     13,
                     10,
                     n(output.height),
                     n(output.width),
                     stride,
                     stride,
                     granularity,
                     n(grid.rows()),
                     n(grid.cols())};
      Map map(random_tensor({2, 13, 10, 16}, random), precision);
      std::vector<uint8_t> patches(2 * g.patches());
      for (uint8_t& patch : patches) patch = random.uniform() < 0.5;
      int side = gather_side(g);
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
            int64_t from = lists.lists[0].in[p] + dy * (middle.width + 2) + dx, to = in[p] + dy * side + dx;
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

// ---- the emulation itself: it must see what it claims to see ----

__global__ void copies_without_wait(const float* in, float* out) {
  wait_for_predecessor();
  auto* shared = shared_memory<float>();
  copy_async(shared + 4 * threadIdx.x, in + 4 * threadIdx.x, true);
  commit_copies();
  out[threadIdx.x] = shared[4 * threadIdx.x];
}
__global__ void reads_without_barrier(float* out) {
  wait_for_predecessor();
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = 1;
  out[threadIdx.x] = shared[63 - threadIdx.x];
}
__global__ void half_a_barrier(float*) {
  wait_for_predecessor();
  if (threadIdx.x < 40) __syncthreads();
}

__global__ void teams_meet_at_the_blocks_barrier(float*) {
  wait_for_predecessor();
  if (threadIdx.x < 32) {
    sync_threads_of(0, 32);
  } else {
    __syncthreads();
  }
}
__global__ void waits_for_the_next_block(unsigned long long* flags) {
  wait_for_predecessor();
  if (blockIdx.x == 0) {
    while (load_volatile(flags + 1) == 0) {
    }
  }
  if (threadIdx.x == 0) store_volatile(flags + blockIdx.x, 1);
}

__global__ void forgets_its_predecessor(float*) {}
__global__ void increments(float* value) {
  wait_for_predecessor();
  if (threadIdx.x == 0) ++*value;
}
__global__ void doubles_what_it_read_early(float* value) {
  float early = *value;
  wait_for_predecessor();
  if (threadIdx.x == 0) *value = 2 * early;
}

TEST(Emulation, ShowsMissingWaitsAndBarriers) {
  alignas(16) float in[256] = {}, out[64];
  Stream stream;
  LaunchShape shape{1, 64, 1024};
  {
    WithSettings settings({.late_copies = true});
    launch(stream, copies_without_wait, shape, static_cast<const float*>(in), static_cast<float*>(out));
    EXPECT_TRUE(std::isnan(out[5]));
  }
  launch(stream, reads_without_barrier, shape, static_cast<float*>(out));
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_THROW(launch(stream, half_a_barrier, shape, static_cast<float*>(out)), std::runtime_error);
  {
    WithSettings settings({.descending = true});  // the block's barrier first
    EXPECT_THROW(launch(stream, teams_meet_at_the_blocks_barrier, shape, static_cast<float*>(out)),
                 std::runtime_error);
  }
  EXPECT_THROW(launch(stream, forgets_its_predecessor, shape, static_cast<float*>(out)), std::runtime_error);
}

TEST(Emulation, RunsAsManyBlocksAtOnceAsItIsTold) {
  unsigned long long flags[2] = {};
  Stream stream;
  EXPECT_THROW(launch(stream, waits_for_the_next_block, LaunchShape{2, 64}, +flags), std::runtime_error);
  WithSettings settings({.resident_blocks = 2});
  launch(stream, waits_for_the_next_block, LaunchShape{2, 64}, +flags);
  EXPECT_EQ(flags[0], 1u);
}

TEST(Emulation, ShowsWhatBranchesTakeFromEachOther) {
  float value = 1;
  Stream stream, branch;
  stream.begin_capture();
  branch.wait_for(stream);
  launch(branch, increments, LaunchShape{}, &value);
  launch(stream, doubles_what_it_read_early, LaunchShape{}, &value);
  stream.wait_for(branch);
  const Graph graph = stream.end_capture();
  std::set<float> results;
  for (int replay = 0; replay < 2; ++replay) {
    value = 1;
    stream.run(graph);
    results.insert(value);
  }
  EXPECT_EQ(results, (std::set<float>{3, 4}));
}

TEST(Emulation, ShowsWhatAKernelOfAGraphReadsTooEarly) {
  float value = 0;
  Stream stream, branch;
  const auto replay = [&](auto second, bool on_branch) {
    value = 0;
    stream.begin_capture();
    launch(stream, increments, LaunchShape{}, &value);
    if (on_branch) branch.wait_for(stream);
    launch(on_branch ? branch : stream, second, LaunchShape{}, &value);
    if (on_branch) stream.wait_for(branch);
    launch(stream, increments, LaunchShape{}, &value);
    stream.run(stream.end_capture());
    return value;
  };
  EXPECT_EQ(replay(increments, false), 3);
  EXPECT_EQ(replay(doubles_what_it_read_early, false), 0 + 1) << "it read what was before the first kernel";
  EXPECT_EQ(replay(doubles_what_it_read_early, true), 2 * 1 + 1) << "a branch starts after what it waits for";
}

}  // namespace
}  // namespace lasnet::cuda
