// The paper's equations: what the published simulator (LeapLabTHU/LAUDNet at b53b980, DyNetSimulator) says of
// blocks of ResNet-50 and RegNetYs, and a case by hand.
#include <gmock/gmock.h>

#include "lasnet/latency.h"
#include "predict/paper_model.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

/// The published times are rounded to microseconds.
constexpr double kTolerance = 1e-3;

struct Published {
  const char* hardware;
  int stage;
  int granularity;
  double static_us, dynamic_us;
};

void PrintTo(const Published& row, std::ostream* out) {
  *out << row.hardware << " stage " << row.stage << " S " << row.granularity;
}

class PublishedBlock : public testing::TestWithParam<Published> {};

TEST_P(PublishedBlock, IsReproduced) {
  const Published& row = GetParam();
  ArchConfig arch;
  arch.name = "resnet50";
  arch.granularity = std::vector<int>(4, row.granularity);
  const HardwareProfile hardware = load_hardware(row.hardware);
  const NetworkLatency latency =
      predict_latency(make_spec(arch), hardware,
                      {.batch = hardware.usual_batch(), .rate = 0.5, .model = LatencyModelKind::paper});
  constexpr size_t kIdentityBlocks[] = {1, 4, 9, 14};
  const BlockLatency& block = latency.blocks[kIdentityBlocks[row.stage - 1]];
  EXPECT_NEAR(1e6 * block.static_s, row.static_us, kTolerance * row.static_us);
  EXPECT_NEAR(1e6 * block.dynamic_s, row.dynamic_us, kTolerance * row.dynamic_us);
}

INSTANTIATE_TEST_SUITE_P(
    Simulator, PublishedBlock,
    testing::Values(Published{"v100", 1, 1, 7863, 13161}, Published{"v100", 1, 4, 7863, 6654},
                    Published{"v100", 1, 8, 7863, 6254}, Published{"v100", 2, 1, 6210, 9018},
                    Published{"v100", 2, 4, 6210, 4678}, Published{"v100", 3, 1, 5791, 6502},
                    Published{"v100", 3, 2, 5791, 4625}, Published{"v100", 3, 7, 5791, 3606},
                    Published{"v100", 4, 1, 6600, 5307}, Published{"tx2", 1, 1, 1061, 775},
                    Published{"tx2", 1, 4, 1061, 742}, Published{"tx2", 2, 1, 903, 593},
                    Published{"tx2", 2, 4, 903, 587}, Published{"tx2", 3, 1, 883, 569},
                    Published{"tx2", 3, 2, 883, 567}, Published{"tx2", 3, 7, 883, 686},
                    Published{"tx2", 4, 1, 1120, 815}));

/// A block of a network by its place, and the simulator's times of it at this rate of patches or images.
struct SimulatedBlock {
  const char* network;
  size_t block;
  const char* hardware;
  const char* granularity;
  double rate;
  double static_us, dynamic_us;
};

void PrintTo(const SimulatedBlock& row, std::ostream* out) {
  *out << row.network << " block " << row.block << " on " << row.hardware << ", S " << row.granularity
       << ", r " << row.rate;
}

class Simulated : public testing::TestWithParam<SimulatedBlock> {};

TEST_P(Simulated, TimesAreReproduced) {
  const SimulatedBlock& row = GetParam();
  ArchConfig arch;
  arch.name = row.network;
  arch.granularity = std::vector<int>(4, parse_patch_side(row.granularity));
  const HardwareProfile hardware = load_hardware(row.hardware);
  const NetworkLatency latency =
      predict_latency(make_spec(arch), hardware,
                      {.batch = hardware.usual_batch(), .rate = row.rate, .model = LatencyModelKind::paper});
  const BlockLatency& block = latency.blocks[row.block];
  EXPECT_NEAR(1e6 * block.static_s, row.static_us, 1e-3);
  EXPECT_NEAR(1e6 * block.dynamic_s, row.dynamic_us, 1e-3);
}

/// The first block has a projection and no stride.
INSTANTIATE_TEST_SUITE_P(
    FirstBlocks, Simulated,
    testing::Values(SimulatedBlock{"resnet50", 0, "v100", "1", 0.5, 6650.4806, 11870.2061},
                    SimulatedBlock{"resnet50", 0, "v100", "4", 0.2, 6650.4806, 3221.7638},
                    SimulatedBlock{"resnet50", 0, "tx2", "4", 0.5, 893.5557, 582.9717},
                    SimulatedBlock{"resnet50", 0, "tx2", "7", 0.8, 893.5557, 853.605},
                    SimulatedBlock{"resnet50", 0, "rtx3090", "2", 0.5, 5544.4178, 9044.4848},
                    SimulatedBlock{"resnet50", 0, "rtx3060", "1", 0.8, 10334.6813, 19761.3299},
                    SimulatedBlock{"resnet50", 0, "nano", "1", 0.2, 2305.1376, 831.7036}));

INSTANTIATE_TEST_SUITE_P(
    LayerSkipping, Simulated,
    testing::Values(SimulatedBlock{"resnet50", 0, "v100", "layer", 0.5, 6650.4806, 3516.7708},
                    SimulatedBlock{"resnet50", 1, "v100", "layer", 0.2, 7863.2945, 2314.781},
                    SimulatedBlock{"resnet50", 3, "v100", "layer", 0.8, 11429.9305, 10519.7753},
                    SimulatedBlock{"resnet50", 14, "v100", "layer", 0.5, 6599.5693, 3407.0395},
                    SimulatedBlock{"resnet50", 0, "tx2", "layer", 0.2, 893.5557, 203.5205},
                    SimulatedBlock{"resnet50", 4, "tx2", "layer", 0.5, 902.7693, 493.9639},
                    SimulatedBlock{"resnet50", 7, "tx2", "layer", 0.8, 1494.4156, 1322.4105},
                    SimulatedBlock{"resnet50", 13, "nano", "layer", 0.5, 4599.0919, 3021.9053},
                    SimulatedBlock{"resnet50", 8, "rtx3090", "layer", 0.5, 5004.2254, 2747.6194},
                    SimulatedBlock{"resnet50", 13, "rtx3060", "layer", 0.2, 10796.8004, 4850.9874},
                    SimulatedBlock{"regnet_y_400mf", 0, "v100", "layer", 0.5, 4084.7937, 2723.0947},
                    SimulatedBlock{"regnet_y_400mf", 11, "tx2", "layer", 0.5, 192.7841, 106.1977},
                    SimulatedBlock{"regnet_y_800mf", 5, "nano", "layer", 0.8, 692.637, 574.7096}));

TEST(PaperModel, SkippingHasTheDensityAsAProbability) {
  ArchConfig arch;
  arch.name = "resnet50";
  arch.granularity = parse_granularity("layer");
  const HardwareProfile hardware = load_hardware("tx2");
  const auto seconds = [&](double rate) {
    return predict_latency(make_spec(arch), hardware, {.rate = rate, .model = LatencyModelKind::paper})
        .blocks[1]
        .dynamic_s;
  };
  EXPECT_NEAR(seconds(0.3) - seconds(0), 0.3 * (seconds(1) - seconds(0)), 1e-12) << "not ceil(0.3 images)";
  EXPECT_GT(seconds(0), 0) << "the masker";
}

/// One lane at 1 Hz without pipeline, memory of 4 floats/s, and a launch of 10 s: small whole numbers.
GpuHardware unit_gpu() {
  return {.processing_engines = 1,
          .fp32_lanes_per_engine = 1,
          .pipeline_depth = 1,
          .frequency_hz = 1,
          .bandwidth_bytes_per_s = 16,
          .onchip_bandwidth_factor = 2,
          .request_bytes = 4,
          .launch_s = 10};
}

TEST(PaperModel, AConvolutionByHand) {
  // 1x1, one channel to one, one pixel. Compute 1 s. Off-chip 1 weight + 1 input + 1 output at 4 floats/s;
  // the same on-chip at 8. So 1 + 0.75 + 0.375 + 10.
  BlockSpec block;
  block.in_channels = block.out_channels = 1;
  block.convs = {{.name = "c", .norm_name = "n", .in_channels = 1, .out_channels = 1}};
  BlockGeometry geometry{.input = {1, 1}, .middle = {1, 1}, .output = {1, 1}, .grid = {}};
  const auto operators = paper_static_block(block, geometry, unit_gpu(), 1);
  ASSERT_EQ(operators.size(), 2U);
  EXPECT_DOUBLE_EQ(operators[0].compute_s, 1);
  EXPECT_DOUBLE_EQ(operators[0].offchip_s, 0.75);
  EXPECT_DOUBLE_EQ(operators[0].onchip_s, 0.375);
  EXPECT_DOUBLE_EQ(operators[0].seconds, 12.125);
  // The addition: 1 s of compute, 2 loads and 1 store.
  EXPECT_DOUBLE_EQ(operators[1].seconds, 1 + 0.75 + 10);
}

TEST(PaperModel, PatchesAreNotDealtToTheEngines) {
  ArchConfig arch;
  arch.name = "resnet50";
  arch.granularity = {1, 1, 1, 1};
  const ModelSpec spec = make_spec(arch);
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  GpuHardware few = gpu_of(load_hardware("v100")), many = few;
  many.processing_engines = 100000;
  const auto conv2_s = [&](const GpuHardware& gpu) {
    return paper_dynamic_block(spec.blocks[1], geometry.blocks[1], gpu, 1, 0.5, MaskerSchedule::with_conv1)[1]
        .compute_s;
  };
  few.processing_engines = 64;  // as many as there are channel tiles of one channel
  EXPECT_DOUBLE_EQ(conv2_s(few), conv2_s(many));
}

TEST(PaperModel, DescribesGpusOnly) {
  ArchConfig arch;
  arch.name = "resnet18";
  EXPECT_ERROR(
      predict_latency(make_spec(arch), load_hardware("cpu-avx2"), {.model = LatencyModelKind::paper}),
      testing::HasSubstr("GPUs only"));
}

}  // namespace
}  // namespace lasnet::test
