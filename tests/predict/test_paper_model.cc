// The paper's equations: what the published simulator says of identity blocks of ResNet-50, and a case by
// hand.
#include <gmock/gmock.h>

#include "lasnet/latency.h"
#include "predict/paper_model.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

constexpr double kTolerance = 0.02;

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
