// The device's index, tile and packing logic on the host, against the CPU's definitions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/plan.h"
#include "backends/cuda/prices.h"
#include "base/float_formats.h"
#include "base/random.h"
#include "mask/active_lists.h"
#include "mask/expected_dilation.h"
#include "support/random_model.h"

namespace lasnet::cuda {
namespace {

struct Case {
  const char* architecture;
  MapSize image;
  const char* granularity;
};

ListGeometry geometry_of(const BlockSpec& block, const BlockGeometry& g, int images) {
  auto narrow = [](int64_t v) { return static_cast<int>(v); };
  return {images,
          narrow(g.input.height),
          narrow(g.input.width),
          narrow(g.middle.height),
          narrow(g.middle.width),
          narrow(g.output.height),
          narrow(g.output.width),
          block.stride,
          g.dilation_stride,
          g.grid.granularity,
          narrow(g.grid.rows()),
          narrow(g.grid.cols())};
}

/// What the mask says of a pixel of a list's map.
bool is_masked_in(const ListGeometry& g, ListKind kind, const uint8_t* patches, int y, int x) {
  PatchSpan rows = row_span(g, kind, y, y), columns = column_span(g, kind, x);
  bool active = false;
  for (int row = rows.first; row <= rows.last; ++row) {
    for (int column = columns.first; column <= columns.last; ++column)
      active |= patches[row * g.patch_cols + column] != 0;
  }
  return active;
}

/// Pairs of a list as the device's functions define them, in its order.
std::vector<std::pair<int, int>> pairs_of(const ListGeometry& g, ListKind kind,
                                          const std::vector<uint8_t>& patches, bool inactive = false) {
  std::vector<std::pair<int, int>> pairs;
  for (int n = 0; n < g.images; ++n) {
    for (int y = 0; y < domain_height(g, kind); ++y) {
      for (int x = 0; x < domain_width(g, kind); ++x) {
        if (is_masked_in(g, kind, patches.data() + n * g.patches(), y, x) == inactive) continue;
        PixelPair pair = pixel_pair(g, kind, n, y, x);
        pairs.emplace_back(pair.in, pair.out);
      }
    }
  }
  return pairs;
}

std::vector<std::pair<int, int>> pairs_of(const PixelList& list) {
  std::vector<std::pair<int, int>> pairs;
  for (int64_t i = 0; i < list.count(); ++i) pairs.emplace_back(list.pairs().in[i], list.pairs().out[i]);
  return pairs;
}

std::vector<std::pair<int, int>> sorted_pairs(const PixelPairs& list) {
  std::vector<std::pair<int, int>> pairs;
  for (int64_t i = 0; i < list.count; ++i) pairs.emplace_back(list.in[i], list.out[i]);
  std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return pairs;
}

TEST(CudaLists, AreTheCpusForEveryBlockAndMask) {
  const Case cases[] = {{"resnet18", {97, 131}, "3-5-2-9"},
                        {"resnet50", {64, 96}, "4-4-2-1"},
                        {"resnet50", {49, 67}, "8-1-7-2"}};
  for (const Case& c : cases) {
    ArchConfig arch;
    arch.name = c.architecture;
    arch.granularity = parse_granularity(c.granularity);
    ModelSpec spec = make_spec(arch);
    NetworkGeometry geometry = network_geometry(spec, c.image);
    Random random(1);
    for (size_t b = 0; b < spec.blocks.size(); ++b) {
      const BlockSpec& block = spec.blocks[b];
      ListGeometry g = geometry_of(block, geometry.blocks[b], 2);
      ActiveListBuilder builder(geometry.blocks[b],
                                {.stride = block.stride, .projected = true, .by_row = true}, 2);
      for (double rate : {0.0, 0.1, 0.5, 1.0}) {
        std::vector<uint8_t> patches(2 * g.patches());
        for (uint8_t& patch : patches) patch = random.uniform() < rate;
        ActiveLists lists;
        builder.build(patches, lists);
        EXPECT_EQ(pairs_of(g, ListKind::dilated, patches), pairs_of(lists.dilated));
        EXPECT_EQ(pairs_of(g, ListKind::active, patches), sorted_pairs(lists.active.pairs()));
        EXPECT_EQ(pairs_of(g, ListKind::result, patches), pairs_of(lists.active_by_row));
        // The CPU lists the projection's pixels patch by patch: active ones, then the others.
        PixelPairs all = lists.projected.all();
        int64_t active = lists.projected.count();
        EXPECT_EQ(pairs_of(g, ListKind::projected, patches), sorted_pairs(all.range(0, active)));
        EXPECT_EQ(pairs_of(g, ListKind::projected, patches, true),
                  sorted_pairs(all.range(active, all.count)));
      }
      for (int row = 0; row < g.patch_rows; ++row) {
        Window window = masker_window(g, row, 0);
        PixelRect rect =
            patch_window(geometry.blocks[b].grid, row, 0, block.stride, geometry.blocks[b].input);
        EXPECT_EQ((PixelRect{window.top, window.left, window.bottom, window.right}), rect);
      }
    }
  }
}

CudaConvWork work_of(double pixels, int in, int out, int kernel, Precision precision) {
  return {.pixels = pixels,
          .channels = out,
          .reduction_bytes = int64_t{in} * kernel * kernel * element_bytes(precision),
          .precision = precision,
          .multiprocessors = 132};
}

TEST(CudaLists, DivisorsAreExact) {
  constexpr int kMax = std::numeric_limits<int>::max();
  for (int d :
       {1, 2, 3, 4, 5, 7, 8, 56, 57, 63, 224, 641, 1000, 4097, 32768, 65537, 1 << 30, kMax - 1, kMax}) {
    const Divisor divisor = d;
    EXPECT_EQ(divisor, d);
    for (int64_t multiple : {int64_t{0}, int64_t{d}, int64_t{2} * d, int64_t{kMax / 2} / d * d,
                             int64_t{kMax} / d * d, int64_t{kMax}}) {
      for (int64_t n = std::max<int64_t>(multiple - 2, 0); n <= std::min<int64_t>(multiple + 2, kMax); ++n)
        ASSERT_EQ(static_cast<int>(n) / divisor, n / d) << n << " / " << d;
    }
  }
  for (int d = 1; d < 300; ++d) {
    const Divisor divisor = d;
    for (int n = 0; n < 1 << 16; n += 3) ASSERT_EQ(n / divisor, n / d);
  }
}

TEST(CudaLists, SpansOfRowsAreThoseOfEachOfThem) {
  for (auto [stride, granularity] : {std::pair{1, 1}, {1, 3}, {2, 1}, {2, 2}, {3, 1}, {3, 4}, {5, 2}}) {
    ListGeometry g;
    g.output_height = 11, g.middle_height = 11 * stride;
    g.dilation_stride = stride, g.granularity = granularity;
    for (int first = 0; first < g.middle_height; ++first) {
      for (int last = first; last < g.middle_height; ++last) {
        PatchSpan all = row_span(g, ListKind::dilated, first, last), together{1 << 30, -1};
        for (int y = first; y <= last; ++y) {
          PatchSpan own = row_span(g, ListKind::dilated, y, y);
          EXPECT_LE(own.last - own.first, 2);
          if (own.is_empty()) continue;
          together = {std::min(together.first, own.first), std::max(together.last, own.last)};
        }
        ASSERT_EQ(all.is_empty(), together.is_empty());
        if (all.is_empty()) continue;
        ASSERT_EQ(std::pair(all.first, all.last), std::pair(together.first, together.last));
      }
    }
  }
}

TEST(CudaTiles, GoToTheSizeOfTheWork) {
  // A large layer takes large tiles, that its channels fill; a small one takes tiles enough to go round.
  EXPECT_EQ(choose_cuda_tile(work_of(128 * 784, 128, 128, 3, Precision::fp16)).shape, CudaTileShape::wide);
  EXPECT_NE(choose_cuda_tile(work_of(128 * 3136, 64, 64, 3, Precision::fp16)).shape, CudaTileShape::wide);
  EXPECT_EQ(choose_cuda_tile(work_of(49, 512, 512, 3, Precision::fp32)).shape, CudaTileShape::small);
  CudaConvWork grouped = work_of(128 * 784, 128, 128, 3, Precision::fp16);
  grouped.grouped = true;
  EXPECT_EQ(choose_cuda_tile(grouped).shape, CudaTileShape::small);
  for (CudaTileShape shape :
       {CudaTileShape::fitted, CudaTileShape::wide, CudaTileShape::tall, CudaTileShape::medium,
        CudaTileShape::small, CudaTileShape::split, CudaTileShape::hopper, CudaTileShape::hopper_wide}) {
    for (Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16}) {
      if (!has_cuda_tile(shape, precision)) continue;
      CudaTile tile = cuda_tile(shape, precision);
      EXPECT_EQ(tile.shape, shape);
      EXPECT_EQ(tile.channels % kSlice, 0);
      EXPECT_LE(tile.channels,
                (order_of(tile.shape) == AccumulationOrder::warpgroup ? 2 : 1) * kSlice * kSliceMultiple);
      // More work takes longer, and never less than nothing.
      double few = expected_seconds(tile, work_of(100, 256, 256, 1, precision));
      EXPECT_GT(few, 0);
      EXPECT_GT(expected_seconds(tile, work_of(1e6, 256, 256, 1, precision)), few);
      EXPECT_GT(expected_seconds(tile, work_of(100, 256, 256, 3, precision)), few);
    }
  }
}

TEST(CudaTiles, FittedOnesAreAsHighAsIsDoneFirst) {
  // 132 multiprocessors, four columns: 48 pixels make 844 tiles, 7 each in pairs (8 x 6.7), 40 make 1012, 8
  // each.
  EXPECT_EQ(fitted_height(kFittedFp32, 10128, 4, 132), 40);
  // 2092 of 48 pixels: 16 each; 2512 of 40: 20 each.
  EXPECT_EQ(fitted_height(kFittedFp32, 25088, 4, 132), 48);
  EXPECT_EQ(fitted_height(kFittedFp32, 49, 8, 132), 32);  // one turn whatever the height
  EXPECT_EQ(fitted_height(kFittedFp32, 0, 8, 132), 48);   // nothing to do
  // Two columns: 152 tiles of 128 pixels are two each, and so are 242 of 80.
  EXPECT_EQ(fitted_height(kFittedTensor, 9609, 2, 132), 80);
  EXPECT_EQ(fitted_height(kFittedTensor, 128 * 132, 2, 132), 128);  // two each, full
  EXPECT_EQ(fitted_height(kFittedTensor, 49, 4, 132), 64);
  EXPECT_EQ(fitted_height(kFittedTensor, 0, 4, 132), 128);
}

TEST(CudaTiles, SplitTheReductionOfSmallLayersOfTensorCores) {
  CudaConvWork work = work_of(0, 512, 512, 3, Precision::fp16);
  EXPECT_EQ(accumulation_order(work, 49), AccumulationOrder::split_k);
  EXPECT_NE(accumulation_order(work, 128 * 49), AccumulationOrder::split_k);
  work.precision = Precision::fp32;
  EXPECT_EQ(accumulation_order(work, 49), AccumulationOrder::sequential);
}

TEST(CudaTiles, SuitWhatMasksLeaveNotTheExpectedNumberAlone) {
  // 12544 pixels are 5.9 tiles of 64 x 64 for each multiprocessor: full rounds of six. A mask leaves more or
  // fewer, of which rounds are less full.
  CudaConvWork work = work_of(12544, 256, 256, 3, Precision::fp32);
  EXPECT_EQ(choose_cuda_tile(work).shape, CudaTileShape::medium);
  work.most_pixels = 25088;
  EXPECT_EQ(choose_cuda_tile(work).shape, CudaTileShape::fitted);
  work.most_pixels = work.pixels, work.pixels *= 2;  // as many as there can be, in every case
  EXPECT_EQ(choose_cuda_tile(work).shape, CudaTileShape::medium);
}

TEST(CudaTiles, HopperOnesAreTakenWhereTheyAreFasterAndRun) {
  CudaConvWork work = work_of(128 * 196, 256, 256, 3, Precision::fp16);
  EXPECT_NE(accumulation_order(work, work.pixels), AccumulationOrder::warpgroup)
      << "weights are not packed for them";
  work.for_warpgroups = true;
  EXPECT_EQ(accumulation_order(work, work.pixels), AccumulationOrder::warpgroup);
  work.order = AccumulationOrder::warpgroup;
  EXPECT_EQ(choose_cuda_tile(work).shape, CudaTileShape::hopper_wide);
  EXPECT_EQ(adapted_to(choose_cuda_tile(work), work).pixels, 96);  // two rounds, as few as of 160
  work.channels = 384;                                             // not whole tiles of 256
  EXPECT_EQ(choose_cuda_tile(work).shape, CudaTileShape::hopper);
}

TEST(CudaTiles, HopperOnesSuitWideLayersOfWholeSteps) {
  auto suits = [](int in, int out, int kernel, int groups, Precision precision) {
    const ConvSpec conv{.name = {},
                        .norm_name = {},
                        .in_channels = in,
                        .out_channels = out,
                        .kernel = kernel,
                        .groups = groups};
    CudaTarget target{.precision = precision};
    const bool fits = cuda_conv_work(conv, false, target).for_warpgroups;
    target.tiles = usable_tile_costs(target.tiles, false);
    EXPECT_FALSE(cuda_conv_work(conv, false, target).for_warpgroups) << "the device does not run them";
    return fits;
  };
  EXPECT_TRUE(suits(64, 256, 1, 1, Precision::fp16));
  EXPECT_TRUE(suits(184, 184, 3, 1, Precision::bf16));  // 368 of 384 bytes
  EXPECT_FALSE(suits(256, 256, 3, 1, Precision::tf32));
  EXPECT_FALSE(suits(256, 256, 3, 4, Precision::fp16));
  EXPECT_FALSE(suits(256, 64, 1, 1, Precision::fp16));
  EXPECT_FALSE(suits(72, 256, 1, 1, Precision::fp16));  // 144 of 256 bytes
  EXPECT_FALSE(suits(3, 128, 7, 1, Precision::fp16));
}

std::vector<CudaMaskerShare> roles_of(const ModelSpec& spec, const NetworkSchedule& plan) {
  return cuda_masker_shares(spec, network_geometry(spec, {224, 224}), plan);
}

ModelSpec spec_of(const char* name, const char* granularity) {
  ArchConfig arch;
  arch.name = name;
  arch.granularity = parse_granularity(granularity);
  return make_spec(arch);
}

TEST(CudaPlans, FirstConvolutionsOfSmallBatchesHideTheMasker) {
  const ModelSpec spec = spec_of("resnet50", "4-4-2-1");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  auto masker = [&](const BlockSpec& of, int64_t images, Precision precision) {
    return usual_cuda_schedule(of, geometry.blocks[9], images, {precision, 132}).masker;
  };
  const BlockSpec& block = spec.blocks[9];  // 14 x 14
  EXPECT_EQ(masker(block, 1, Precision::fp16), MaskerSchedule::with_conv1);
  EXPECT_EQ(masker(block, 128, Precision::fp16), MaskerSchedule::separate) << "leaves no room";
  BlockSpec still = block;
  still.granularity = 0;
  EXPECT_NE(masker(still, 1, Precision::fp16), MaskerSchedule::with_conv1) << "has no masker";
}

TEST(CudaPlans, SecondConvolutionsOfSmallBatchesHideWhatTheFirstDoesNot) {
  const ModelSpec spec = spec_of("resnet50", "4-4-2-1");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const BlockSpec& block = spec.blocks[9];  // 14 x 14
  const BlockSchedule beside{.masker = MaskerSchedule::with_conv1};
  auto convs = [&](const BlockSpec& of, const BlockSchedule& plan, Precision precision, int64_t images) {
    return convs_beside_masker(of, geometry.blocks[9], images, plan, {precision, 132});
  };
  EXPECT_EQ(convs(block, beside, Precision::fp16, 1), 2);
  EXPECT_EQ(convs(block, beside, Precision::fp32, 1), 1);    // the first alone takes long enough
  EXPECT_EQ(convs(block, beside, Precision::fp16, 128), 1);  // no room
  EXPECT_EQ(convs(block, usual_cuda_schedule(Precision::fp16), Precision::fp16, 1), 0);
  BlockSchedule copied = beside;
  copied.gather = GatherSchedule::copied;
  EXPECT_EQ(convs(block, copied, Precision::fp16, 1), 1);
  const ModelSpec basic = spec_of("resnet18", "4-4-2-1");
  EXPECT_EQ(convs(basic.blocks[5], beside, Precision::fp16, 1), 1);  // its second is the last
}

TEST(CudaPlans, AWholeMapIsListedFromAShareOfItsPatches) {
  EXPECT_EQ(whole_map_patches(0, 9), 1) << "an image without active patches computes nothing";
  EXPECT_EQ(whole_map_patches(0.5, 9), 5);
  EXPECT_EQ(whole_map_patches(1, 9), 9);
  for (double never : {1.01, 2.0, 1e12, std::numeric_limits<double>::infinity()})
    EXPECT_EQ(whole_map_patches(never, 9), 10) << never;
}

TEST(CudaMaskerShares, BlocksOfOneMapDecideTogether) {
  using Roles = std::vector<CudaMaskerShare>;
  const CudaMaskerShare alone{};
  NetworkSchedule pooled;
  pooled.blocks.resize(16);
  // The first block of stage 3 pools 2 * 2 pixels of what stage 2 cuts in 4 x 4, that of stage 2 other
  // windows, and a block with a projection leaves another map.
  ModelSpec spec = spec_of("resnet50", "4-4-2-1");
  EXPECT_EQ(roles_of(spec, pooled), (Roles{alone,
                                           {2, false},
                                           {1, true},  //
                                           alone,
                                           {4, false},
                                           {3, true},
                                           {2, true},  //
                                           {1, true},
                                           {6, false},
                                           {5, true},
                                           {4, true},
                                           {3, true},
                                           {2, true},  //
                                           {1, true},
                                           {2, false},
                                           {1, true}}));
  // A masker with another schedule neither decides for others nor hears of changes.
  NetworkSchedule mixed = pooled;
  mixed.blocks[5].masker = MaskerSchedule::separate;
  EXPECT_EQ(roles_of(spec, mixed)[4], alone);
  EXPECT_EQ(roles_of(spec, mixed)[5], alone);
  EXPECT_EQ(roles_of(spec, mixed)[6], (CudaMaskerShare{2, false}));
  for (Precision two_bytes : {Precision::fp16, Precision::bf16})
    EXPECT_EQ(roles_of(spec, uniform_schedule(spec, usual_cuda_schedule(two_bytes))), Roles(16));
  for (Precision four_bytes : {Precision::fp32, Precision::tf32})
    EXPECT_EQ(roles_of(spec, uniform_schedule(spec, usual_cuda_schedule(four_bytes)))[8],
              (CudaMaskerShare{6, false}));
  spec.blocks[9].granularity = 0;  // static: changes every pixel
  EXPECT_EQ(roles_of(spec, pooled)[8], alone);
  EXPECT_EQ(roles_of(spec, pooled)[10], (CudaMaskerShare{4, false}));
}

TEST(CudaMaskerShares, HaveAtMostAsManyMaskersAsAKernelTakes) {
  ModelSpec spec = spec_of("resnet152", "4-4-2-1");
  std::vector<CudaMaskerShare> roles = roles_of(spec, uniform_schedule(spec));
  // 35 identity blocks of stage 3 and the first block of stage 4.
  EXPECT_EQ(roles[12], (CudaMaskerShare{kMaxMaskers, false}));
  EXPECT_EQ(roles[12 + kMaxMaskers - 1], (CudaMaskerShare{1, true}));
  EXPECT_EQ(roles[12 + kMaxMaskers], (CudaMaskerShare{4, false}));
}

TEST(CudaTiles, ExpectedDilationIsTheMeanOverRandomMasks) {
  for (auto [granularity, stride] : {std::pair{1, 1}, {1, 2}, {2, 1}, {2, 2}, {4, 1}, {4, 2}, {7, 1}}) {
    for (double rate : {0.2, 0.5, 0.8}) {
      BlockGeometry geometry;
      geometry.output = {56, 56};
      geometry.middle = geometry.input = {56 * stride, 56 * stride};
      geometry.dilation_stride = stride;
      geometry.grid = {geometry.output, granularity};
      ActiveListBuilder builder(geometry, {.stride = stride}, 40);
      Random random(3);
      std::vector<uint8_t> patches(40 * geometry.grid.patches());
      for (uint8_t& patch : patches) patch = random.uniform() < rate;
      ActiveLists lists;
      builder.build(patches, lists);
      double got =
          static_cast<double>(lists.dilated.count()) / static_cast<double>(40 * geometry.middle.pixels());
      // Borders see fewer patches; a few patches per image make a noisy mean.
      EXPECT_NEAR(expected_dilated_rate(rate, granularity, stride), got, 0.03)
          << granularity << " " << stride << " " << rate;
    }
  }
  EXPECT_DOUBLE_EQ(expected_dilated_rate(0, 2, 1), 0);
  EXPECT_DOUBLE_EQ(expected_dilated_rate(1, 2, 1), 1);
}

TEST(CudaPack, HoldsEveryWeightOnceAndZerosElsewhere) {
  struct Shape {
    int out, group_in, kernel, groups;
  };
  for (Shape s : {Shape{40, 24, 3, 1}, Shape{64, 64, 1, 1}, Shape{104, 8, 3, 13}, Shape{48, 24, 3, 2},
                  Shape{32, 4, 3, 8}}) {
    for (Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16}) {
      Tensor weight({s.out, s.group_in, s.kernel, s.kernel});
      double sum = 0;
      for (size_t i = 0; i < weight.data.size(); ++i) {
        weight.data[i] = static_cast<float>(1 + i % 97);
        sum += weight.data[i];
      }
      PackedConv packed = pack_conv(weight, std::vector<float>(s.out, 1.0f),
                                    {s.groups, padded_channels(s.group_in * s.groups), false}, precision);
      EXPECT_EQ(packed.slices() % kSliceMultiple, 0);
      double got = 0;
      int bytes = element_bytes(precision);
      for (size_t i = 0; i < packed.weights.size(); i += bytes) {
        uint32_t bits = 0;
        std::memcpy(&bits, &packed.weights[i], bytes);
        // Small integers are exact in every format: their value is the float whose upper bits are stored.
        if (precision == Precision::fp16) {
          int exponent = static_cast<int>(bits >> 10 & 0x1f);
          if (exponent != 0) got += std::ldexp(1 + (bits & 0x3ff) / 1024.0, exponent - 15);
        } else {
          float value;
          bits <<= 8 * (4 - bytes);
          std::memcpy(&value, &bits, 4);
          got += value;
        }
      }
      EXPECT_DOUBLE_EQ(got, sum) << s.out << " " << to_string(precision);
    }
  }
}

TEST(CudaPack, HopperWeightsLieWhereProductsLookForThem) {
  constexpr int kOut = 136, kIn = 72, kTaps = 9, kSteps = 2;
  Tensor weight({kOut, kIn, 3, 3});
  for (size_t i = 0; i < weight.data.size(); ++i) weight.data[i] = static_cast<float>(i % 251);
  std::vector<uint8_t> packed = pack_hopper_weights(weight, Precision::bf16);
  ASSERT_EQ(packed.size(), 256u * kTaps * kSteps * kHopperStepBytes);
  for (int channel = 0; channel < 256; ++channel) {
    for (int tap = 0; tap < kTaps; ++tap) {
      for (int k = 0; k < kSteps * 64; ++k) {
        size_t row =
            (static_cast<size_t>(channel / 64) * kTaps * kSteps + tap * kSteps + k / 64) * 64 + channel % 64;
        size_t at = row * kHopperStepBytes + ((k % 64 / 8) ^ channel % 8) * 16 + k % 8 * 2;
        float expected = channel < kOut && k < kIn ? weight.data[(channel * kIn + k) * kTaps + tap] : 0;
        ASSERT_EQ(packed[at + 1] << 8 | packed[at], f32_to_bf16(expected))
            << channel << " " << tap << " " << k;
      }
    }
  }
}

TEST(CudaPack, ReductionIsAsLongAsTheLatencyModelCounts) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_800mf", "resnext50_32x4d"}) {
    ModelSpec spec = make_spec(test::narrow_arch(name, "static", 1));
    for (const BlockSpec& block : spec.blocks) {
      for (const ConvSpec& conv : block.convs) {
        if (conv.weight_count() > 200000) continue;  // packing takes long, and these are alike
        Tensor weight({conv.out_channels, conv.in_channels / conv.groups, conv.kernel, conv.kernel});
        for (Precision precision : {Precision::fp32, Precision::fp16}) {
          PackedConv packed = pack_conv(weight, std::vector<float>(conv.out_channels),
                                        {conv.groups, padded_channels(conv.in_channels), false}, precision);
          EXPECT_EQ(cuda_conv_work(conv, false, {precision, 1}).reduction_bytes,
                    int64_t{packed.taps} * packed.run * element_bytes(precision))
              << name << " " << conv.name;
        }
      }
    }
  }
}

TEST(CudaLists, ChunksAreWhatTheLatencyModelCounts) {
  for (MapSize map : {MapSize{7, 7}, MapSize{64, 32}, MapSize{65, 32}, MapSize{33, 33}, MapSize{112, 112}}) {
    ListGeometry g;
    g.output_height = static_cast<int>(map.height), g.output_width = static_cast<int>(map.width);
    double counted = list_counts(3, {map})[CudaUnit::list_chunk];
    EXPECT_DOUBLE_EQ(counted * 1000, 3 * chunks_per_image(g, ListKind::active));
  }
}

}  // namespace
}  // namespace lasnet::cuda
