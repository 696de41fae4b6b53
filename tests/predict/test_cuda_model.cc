// The model of the CUDA kernels: a convolution and other kernels by hand, what must hold for every network,
// and what schedules do.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "backends/cuda/prices.h"
#include "support/expect_error.h"
#include "support/network.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;

HardwareProfile h100() { return load_hardware("cuda-h100"); }

CudaContext context(int64_t batch, Precision precision = Precision::fp16) {
  return {.hardware = cuda_of(h100()), .batch = batch, .precision = precision};
}

double seconds_of(const std::vector<OperatorLatency>& operators) {
  return std::accumulate(operators.begin(), operators.end(), 0.0,
                         [](double sum, const OperatorLatency& latency) { return sum + latency.seconds; });
}

std::vector<std::string> names_of(const std::vector<OperatorLatency>& operators) {
  std::vector<std::string> names;
  for (const OperatorLatency& latency : operators) names.push_back(latency.name);
  return names;
}

/// Block 1 of a network of stage-1 bottlenecks, on its usual map.
struct IdentityBlock {
  ModelSpec spec = network("resnet50", "4-4-2-1");
  NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const BlockSpec& block = spec.blocks[1];
  const BlockGeometry& map = geometry.blocks[1];

  std::vector<OperatorLatency> run(const CudaContext& of, const BlockActivity& activity,
                                   const BlockSchedule& plan) const {
    return cuda_dynamic_block(block, map, of, activity, plan);
  }
};

TEST(CudaModel, AStaticConvolutionCostsWhatItsTileIsExpectedTo) {
  const IdentityBlock of;
  for (const Precision precision : {Precision::fp32, Precision::fp16}) {
    for (const int64_t batch : {1, 128}) {
      const CudaContext with = context(batch, precision);
      const int bytes = precision == Precision::fp32 ? 4 : 2;
      CudaConvWork work{.pixels = 56.0 * 56.0 * static_cast<double>(batch),
                        .channels = 64,
                        .reduction_bytes = int64_t{9} * 64 * bytes,
                        .precision = precision,
                        .multiprocessors = 132};
      work.order = accumulation_order(work, work.pixels);
      const CudaTile tile = choose_cuda_tile(work);
      const OperatorLatency conv2 = cuda_static_block(of.block, of.map, with)[1];
      EXPECT_EQ(conv2.name, "conv2");
      EXPECT_DOUBLE_EQ(conv2.seconds, expected_seconds(tile, work, with.hardware.tiles));
      EXPECT_THAT(conv2.tile, HasSubstr(lasnet::to_string(tile.shape)));
      const int height = adapted_to(tile, work).pixels;  // does not always divide the map's pixels
      EXPECT_DOUBLE_EQ(conv2.utilisation, work.pixels / (std::ceil(work.pixels / height) * height));
    }
  }
}

TEST(CudaModel, TilesAreChosenByTheProfilesCosts) {
  const IdentityBlock of;
  for (const CudaTileShape cheap : {CudaTileShape::tall, CudaTileShape::medium, CudaTileShape::small}) {
    CudaContext with = context(128);
    for (CudaTileCost& cost : with.hardware.tiles.half) cost.step_ns *= 100;
    with.hardware.tiles.half[static_cast<size_t>(cheap)].step_ns /= 1000;
    EXPECT_THAT(cuda_static_block(of.block, of.map, with)[1].tile,
                HasSubstr(fmt::format("({})", lasnet::to_string(cheap))));
  }
}

TEST(CudaModel, OtherKernelsTakeTheLongestOfWhatTheyDoAtOnce) {
  CudaHardware hardware;
  hardware.seconds_per.fill(1);
  hardware.seconds_per[static_cast<size_t>(CudaUnit::kernel)] = 10;
  EXPECT_DOUBLE_EQ(kernel_seconds(stream_counts(3e6, 2e6, false), hardware), 13);
  EXPECT_DOUBLE_EQ(kernel_seconds(stream_counts(3e6, 2e6, true), hardware), 14);
  // 2 images of 8 x 8 pixels x 256 channels, half: 64 KiB; 4 x 4 patches: 4 rows each, one read of a warp.
  const CudaCounts masker = masker_counts(2, {8, 8}, 256, 4, Precision::fp16);
  EXPECT_DOUBLE_EQ(masker[CudaUnit::masker], 65536e-6);
  EXPECT_DOUBLE_EQ(masker[CudaUnit::masker_row], 2 * 4 * 4e-3);
  EXPECT_DOUBLE_EQ(masker[CudaUnit::masker_step], 4);
  EXPECT_DOUBLE_EQ(kernel_seconds(masker, hardware), 10 + 1 + 4);
  // Larger patches: eight warps take the rows, eight pixels at once.
  EXPECT_DOUBLE_EQ(masker_counts(1, {16, 16}, 256, 16, Precision::fp16)[CudaUnit::masker_step], 4);
  // Chunks of 64 units of 32 pixels, which wait for those before them where there are several.
  const CudaCounts lists = list_counts(2, {{56, 56}, {28, 28}});
  EXPECT_DOUBLE_EQ(lists[CudaUnit::list_chunk], 2 * (2 + 1) * 1e-3);
  EXPECT_DOUBLE_EQ(lists[CudaUnit::list_pixel], 2.048);
  EXPECT_DOUBLE_EQ(lists[CudaUnit::list_look_back], 1);
  EXPECT_DOUBLE_EQ(list_counts(1, {{7, 7}})[CudaUnit::list_look_back], 0);
  EXPECT_DOUBLE_EQ(kernel_seconds(list_counts(1, {{7, 7}}), hardware), 10 + 1 + 7 * 0.032 + 0.001);
  // 64 outputs and 64 inputs at a time; more images than run at once take another round.
  EXPECT_DOUBLE_EQ(excite_counts(1, 256, 64, 132)[CudaUnit::excite_step], 4 + 4);
  EXPECT_DOUBLE_EQ(excite_counts(4 * 132 + 1, 256, 64, 132)[CudaUnit::excite_step], 2 * (4 + 4));
}

TEST(CudaModel, MapsBeyondTheCacheTakeLongerToRead) {
  CudaHardware hardware;
  hardware.l2_mb = 20, hardware.memory_factor = 3;
  hardware.seconds_per[static_cast<size_t>(CudaUnit::stream)] = 1;
  const auto seconds = [&](double megabytes) {
    return kernel_seconds(stream_counts(1e6, megabytes * 1e6, false), hardware);
  };
  EXPECT_DOUBLE_EQ(seconds(1), 1);
  EXPECT_DOUBLE_EQ(seconds(20), 1);
  EXPECT_DOUBLE_EQ(seconds(30), 2);
  EXPECT_DOUBLE_EQ(seconds(40), 3);
  EXPECT_DOUBLE_EQ(seconds(400), 3);
  // What is not spent on reading maps does not change.
  hardware.seconds_per.fill(0);
  hardware.seconds_per[static_cast<size_t>(CudaUnit::masker_row)] = 1;
  const CudaCounts small = masker_counts(1, {56, 56}, 256, 4, Precision::fp16),
                   large = masker_counts(128, {56, 56}, 256, 4, Precision::fp16);
  EXPECT_DOUBLE_EQ(kernel_seconds(large, hardware), 128 * kernel_seconds(small, hardware));
}

TEST(CudaModel, MeansWaitForGroupsOfPixelsInRoundsOfBlocks) {
  // 392 pixels: 49 of each of eight warps, eight at once.
  const auto waits = [](double images, double pixels, int pitch) {
    return mean_counts(images, images * pixels, pitch, Precision::fp16, 132)[CudaUnit::mean_step];
  };
  EXPECT_DOUBLE_EQ(waits(1, 392, 256), 7);
  EXPECT_DOUBLE_EQ(waits(1, 8 * 2, 256), 1);  // fewer than a group
  // 64 blocks an image, eight on each of 132 multiprocessors at a time: 16 images fit, 128 take 8 rounds.
  EXPECT_DOUBLE_EQ(waits(16, 49, 2048), 1);
  EXPECT_DOUBLE_EQ(waits(128, 49, 2048), 8);
  const CudaCounts mean = mean_counts(2, 98, 2048, Precision::fp16, 132);
  EXPECT_DOUBLE_EQ(mean[CudaUnit::stream], 98 * 2048 * 2e-6);
  EXPECT_DOUBLE_EQ(mean.footprint_mb, 98 * 2048 * 2e-6);
  EXPECT_EQ(mean[CudaUnit::wait], 0) << "its first reads are among those counted";
}

TEST(CudaModel, EveryScheduleIsPriced) {
  const IdentityBlock of;
  const CudaContext with = context(8);
  const BlockActivity activity = independent_activity(of.map, 8, 0.5);
  const BlockSchedule plain{.masker = MaskerSchedule::separate};
  EXPECT_THAT(names_of(of.run(with, activity, plain)),
              testing::ElementsAre("masker", "lists", "conv1", "conv2", "conv3"));
  BlockSchedule beside = plain, copied = plain, scattered = plain;
  beside.masker = MaskerSchedule::with_conv1;
  copied.gather = GatherSchedule::copied;
  scattered.scatter = ScatterSchedule::separate;
  EXPECT_THAT(names_of(of.run(with, activity, beside)),
              testing::ElementsAre("masker_conv1", "conv2", "conv3"));
  EXPECT_THAT(names_of(of.run(with, activity, copied)),
              testing::ElementsAre("masker", "lists", "conv1", "gather", "conv2", "conv3"));
  EXPECT_THAT(
      names_of(of.run(with, activity, scattered)),
      testing::ElementsAre("masker", "lists", "conv1", "conv2", "scatter_fill", "conv3", "scatter_add"));
  const double seconds = seconds_of(of.run(with, activity, plain));
  EXPECT_GT(seconds_of(of.run(with, activity, copied)), seconds);
  EXPECT_GT(seconds_of(of.run(with, activity, scattered)), seconds);
  for (const OperatorLatency& latency : of.run(with, activity, scattered)) EXPECT_GT(latency.seconds, 0);
}

TEST(CudaModel, MaskersOfOneMapReadWhatTheBlockBeforeChanged) {
  // 64 patches of 4 x 4 pixels x 256 channels, half; ten maskers take the warps' turns of sixteen.
  const CudaCounts group = masker_group_counts(4, 64, 10, {56, 56}, 256, 4, Precision::fp16);
  EXPECT_DOUBLE_EQ(group[CudaUnit::masker], 64 * 16 * 256 * 2e-6);
  EXPECT_DOUBLE_EQ(group[CudaUnit::masker_product], 64 * 16 * 8e-3);
  // A larger patch is eight warps' shares, each with sums of its own.
  EXPECT_DOUBLE_EQ(masker_group_counts(4, 64, 8, {56, 56}, 256, 7, Precision::fp16)[CudaUnit::masker_product],
                   64 * 8 * 8 * 8e-3);
  const ModelSpec spec = network("resnet101", "4-4-2-1");
  const auto maskers_of = [&](const char* schedule) {
    const NetworkLatency network = predict_latency(
        spec, h100(), {.batch = 128, .rate = 0.4, .schedule = parse_schedule_constraint(schedule)});
    std::vector<double> seconds;
    for (const BlockLatency& block : network.blocks) seconds.push_back(block.operators[0].seconds);
    return seconds;
  };
  const std::vector<double> apart = maskers_of("masker=separate"),
                            together = maskers_of("masker=incremental");
  EXPECT_EQ(together[0], apart[0]);  // alone on its map
  EXPECT_GE(together[8], apart[8]);  // the first of stage 3 that decides for the rest
  EXPECT_LT(together[9], 0.6 * apart[9]);
  EXPECT_LT(std::accumulate(together.begin(), together.end(), 0.0),
            0.6 * std::accumulate(apart.begin(), apart.end(), 0.0));
  const NetworkSchedule chosen = choose_schedule(spec, h100(), {.batch = 128, .rate = 0.4});
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSchedule usual = feasible_cuda_schedule(spec.blocks[b], usual_cuda_schedule(Precision::fp32));
    EXPECT_EQ(chosen.blocks[b].masker, usual.masker) << spec.blocks[b].name;
  }
}

TEST(CudaModel, ADenseFirstConvolutionHidesTheShorterOfTheTwoWhereItLeavesRoom) {
  const IdentityBlock of;
  for (const int64_t batch : {1, 128}) {
    const CudaContext with = context(batch);
    const BlockActivity activity = independent_activity(of.map, batch, 0.5);
    const std::vector<OperatorLatency> apart = of.run(with, activity, {.masker = MaskerSchedule::separate});
    const double dense = cuda_static_block(of.block, of.map, with)[0].seconds;
    const double masking = apart[0].seconds + apart[1].seconds;
    const double together = batch == 1 ? std::max(dense, masking) : dense + masking;
    EXPECT_DOUBLE_EQ(of.run(with, activity, {.masker = MaskerSchedule::with_conv1})[0].seconds,
                     together + with.hardware.cost(CudaUnit::branch));
  }
}

TEST(CudaModel, AnEmptyListCostsALaunchAndAFullMaskTheStaticBlockAndItsMasking) {
  const IdentityBlock of;
  const CudaContext with = context(16);
  const BlockSchedule plan{.masker = MaskerSchedule::separate};
  const std::vector<OperatorLatency> empty = of.run(with, independent_activity(of.map, 16, 0), plan);
  for (size_t i = 2; i < empty.size(); ++i)
    EXPECT_DOUBLE_EQ(empty[i].seconds, with.hardware.cost(CudaUnit::kernel)) << empty[i].name;
  const std::vector<OperatorLatency> full = of.run(with, independent_activity(of.map, 16, 1), plan);
  EXPECT_GE(seconds_of(full), seconds_of(cuda_static_block(of.block, of.map, with)) + full[0].seconds +
                                  full[1].seconds - 1e-12);
}

TEST(CudaModel, NetworksTakeLongerWithMoreImagesAndHalfTheBytesLess) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf"}) {
    const ModelSpec spec = network(name, "4-4-2-1");
    double before = 0;
    for (const int64_t batch : {1, 4, 16, 64, 256}) {
      const NetworkLatency single = predict_latency(spec, h100(), {.batch = batch, .rate = 0.5});
      const NetworkLatency half =
          predict_latency(spec, h100(), {.batch = batch, .precision = Precision::fp16, .rate = 0.5});
      EXPECT_GE(single.dynamic_s, before) << name << " " << batch;
      EXPECT_LT(half.dynamic_s, single.dynamic_s) << name << " " << batch;
      EXPECT_LT(half.static_s, single.static_s) << name << " " << batch;
      before = single.dynamic_s;
    }
  }
}

TEST(CudaModel, SqueezeExciteThatPoolsDenselySavesNothingBeforeIt) {
  ArchConfig arch;
  arch.name = "regnet_y_400mf";
  arch.granularity = {4, 4, 2, 1};
  const LatencyQuery query{.batch = 64, .rate = 0.3};
  const double active = predict_latency(make_spec(arch), h100(), query).dynamic_s;
  arch.se_pool = SePool::dense;
  EXPECT_GT(predict_latency(make_spec(arch), h100(), query).dynamic_s, active);
}

TEST(CudaModel, SchedulesAreWhatTheEngineRuns) {
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  for (const char* text :
       {"masker=incremental", "traversal=row_bands", "gather=copied", "scatter=separate"}) {
    const NetworkSchedule plan =
        choose_schedule(spec, h100(), {.batch = 8, .rate = 0.5, .schedule = parse_schedule_constraint(text)});
    for (size_t b = 0; b < plan.blocks.size(); ++b)
      EXPECT_EQ(plan.blocks[b], feasible_cuda_schedule(spec.blocks[b], plan.blocks[b])) << text;
  }
  EXPECT_ERROR(predict_latency(spec, h100(), {.model = LatencyModelKind::paper}),
               HasSubstr("published GPUs"));
  EXPECT_ERROR(predict_latency(spec, h100(), {.precision = Precision::bf16}), HasSubstr("bf16"));
}

/// What an H200 measured of a ResNet-101 (docs/prediction.md has the table).
struct MeasuredNetwork {
  Precision precision;
  int64_t batch;
  const char* granularity;
  double rate;
  const char* schedule;
  double static_ms, dynamic_ms;
  double bound;  ///< of the relative errors of both times and of the speed-up
};

TEST(CudaModel, TheShippedProfileIsAsNearToMeasuredNetworksAsTheDocumentationSays) {
  for (const MeasuredNetwork& of :
       {MeasuredNetwork{Precision::fp32, 128, "4-4-2-1", 0.384, "masker=incremental", 46.60, 28.36, 0.05},
        MeasuredNetwork{Precision::fp32, 128, "8-4-7-1", 0.436, "masker=incremental", 46.62, 28.22, 0.05},
        MeasuredNetwork{Precision::fp32, 32, "4-4-2-1", 0.384, "masker=incremental", 16.47, 8.84, 0.26},
        MeasuredNetwork{Precision::fp16, 128, "4-4-2-1", 0.384, "masker=separate", 7.03, 5.10, 0.05},
        MeasuredNetwork{Precision::fp16, 128, "4-4-2-1", 0.384, "masker=incremental", 7.04, 5.00, 0.10},
        MeasuredNetwork{Precision::fp16, 128, "8-4-7-1", 0.436, "masker=incremental", 7.03, 4.89, 0.05},
        MeasuredNetwork{Precision::fp16, 32, "4-4-2-1", 0.384, "masker=separate", 2.84, 2.34, 0.12},
        MeasuredNetwork{Precision::fp16, 1, "4-4-2-1", 0.384, "masker=with_conv1", 0.583, 0.595, 0.13}}) {
    const NetworkLatency predicted = predict_latency(network("resnet101", of.granularity), h100(),
                                                     {.batch = of.batch,
                                                      .precision = of.precision,
                                                      .rate = of.rate,
                                                      .schedule = parse_schedule_constraint(of.schedule)});
    const std::string name =
        fmt::format("{} batch {} {} {}", to_string(of.precision), of.batch, of.granularity, of.schedule);
    EXPECT_NEAR(1e3 * predicted.static_s / of.static_ms, 1, of.bound) << name;
    EXPECT_NEAR(1e3 * predicted.dynamic_s / of.dynamic_ms, 1, of.bound) << name;
    EXPECT_NEAR(predicted.speedup() * of.dynamic_ms / of.static_ms, 1, of.bound) << name;
  }
}

TEST(CudaModel, GranularitiesAreSearchedLikeOnOtherHardware) {
  ArchConfig arch;
  arch.name = "resnet50";
  const GranularitySearch search =
      search_granularity(arch, h100(), {.batch = 32, .precision = Precision::fp16, .rate = 0.5}, {});
  EXPECT_EQ(search.granularity.size(), 4U);
  EXPECT_GT(search.latency.dynamic_s, 0);
}

}  // namespace
}  // namespace lasnet::test
