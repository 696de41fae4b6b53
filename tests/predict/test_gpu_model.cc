// The standard GPU model: a case by hand, what must hold for every network, and what schedules do.
#include <gmock/gmock.h>

#include "predict/gpu_model.h"
#include "support/expect_error.h"
#include "support/network.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;

TEST(GpuModel, AConvolutionByHand) {
  // 8 channels to 8 on an 8 x 8 map with one tile: 64 x 8 x 8 = 4096 MACs on 8 lanes at 1 Hz: 512 s. Off-chip
  // 64 weights + 512 inputs + 2 x 512 outputs (added in place) at 16 bytes/s: 400 s. On-chip the same, twice
  // as fast.
  const GpuContext context{.hardware = {.processing_engines = 1,
                                        .fp32_lanes_per_engine = 8,
                                        .pipeline_depth = 1,
                                        .frequency_hz = 1,
                                        .bandwidth_bytes_per_s = 16,
                                        .onchip_bandwidth_factor = 2,
                                        .request_bytes = 32,
                                        .launch_s = 10,
                                        .accumulators_per_engine = 32768}};
  BlockSpec block;
  block.in_channels = block.out_channels = 8;
  block.convs = {{.name = "c", .norm_name = "n", .in_channels = 8, .out_channels = 8}};
  const BlockGeometry geometry{.input = {8, 8}, .middle = {8, 8}, .output = {8, 8}, .grid = {}};
  const auto operators = gpu_static_block(block, geometry, context);
  ASSERT_EQ(operators.size(), 1U);
  EXPECT_DOUBLE_EQ(operators[0].compute_s, 512);
  EXPECT_DOUBLE_EQ(operators[0].offchip_s, 400);
  EXPECT_DOUBLE_EQ(operators[0].onchip_s, 200);
  EXPECT_DOUBLE_EQ(operators[0].seconds, 512 + 400 + 200 + 10);
  EXPECT_EQ(operators[0].bound(), "compute");
}

class EveryHardware : public testing::TestWithParam<std::string> {};

TEST_P(EveryHardware, LatencyFallsWithTheRate) {
  const HardwareProfile hardware = load_hardware(GetParam());
  // A schedule that takes over once it gains enough makes a step down: there, one that can be clearly faster
  // is fixed.
  const ScheduleConstraint schedule =
      parse_schedule_constraint(hardware.kind() == HardwareKind::cuda ? "masker=separate" : "auto");
  // A full mask needs no lists, which beside int8 convolutions are no small part.
  const int last = hardware.usual_precision() == Precision::int8 ? 95 : 100;
  for (const char* name : {"resnet50", "regnet_y_400mf"}) {
    for (const char* granularity : {"1-1-1-1", "4-4-2-1", "8-4-7-1"}) {
      const ModelSpec spec = network(name, granularity);
      double before = 0;
      for (int percent = 0; percent <= last; percent += 5) {
        const double seconds =
            predict_latency(
                spec, hardware,
                {.precision = hardware.usual_precision(), .rate = percent / 100.0, .schedule = schedule})
                .dynamic_s;
        EXPECT_GE(seconds, before * (1 - 1e-9)) << name << " " << granularity << " " << percent << " %";
        before = seconds;
      }
    }
  }
}

TEST_P(EveryHardware, IsDeterministicAndAddsUp) {
  const HardwareProfile hardware = load_hardware(GetParam());
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const LatencyQuery query{.precision = hardware.usual_precision(), .rate = 0.3};
  const NetworkLatency a = predict_latency(spec, hardware, query);
  const NetworkLatency b = predict_latency(spec, hardware, query);
  EXPECT_EQ(a.dynamic_s, b.dynamic_s);
  double blocks = 0;
  for (const OperatorLatency& latency : a.fixed) blocks += latency.seconds;
  for (const BlockLatency& block : a.blocks) {
    double operators = 0;
    for (const OperatorLatency& latency : block.operators) operators += latency.seconds;
    EXPECT_NEAR(operators, block.dynamic_s, 1e-9 * operators) << block.name;
    blocks += block.dynamic_s;
  }
  EXPECT_NEAR(blocks, a.dynamic_s, 1e-9 * blocks);
}

INSTANTIATE_TEST_SUITE_P(Profiles, EveryHardware, testing::ValuesIn(hardware_names()), [](const auto& name) {
  std::string text = name.param;
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
});

TEST(GpuModel, MoreImagesAreDealtToTheEngines) {
  const HardwareProfile v100 = load_hardware("v100");
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const double one = predict_latency(spec, v100, {.batch = 1, .rate = 0.5}).dynamic_s;
  const double many = predict_latency(spec, v100, {.batch = 64, .rate = 0.5}).dynamic_s;
  EXPECT_LT(many, 40 * one);
}

TEST(GpuModel, AConstrainedScheduleIsNeverFaster) {
  const HardwareProfile v100 = load_hardware("v100");
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const double best = predict_latency(spec, v100, {.batch = 128, .rate = 0.5}).dynamic_s;
  for (const char* schedule : {"masker=separate", "masker=with_conv1", "gather=copied", "scatter=separate"}) {
    const NetworkLatency forced = predict_latency(
        spec, v100, {.batch = 128, .rate = 0.5, .schedule = parse_schedule_constraint(schedule)});
    EXPECT_GE(forced.dynamic_s, best) << schedule;
    EXPECT_THAT(to_string(forced.blocks[4].schedule), HasSubstr(schedule));
  }
}

TEST(GpuModel, HalfPrecisionHalvesTraffic) {
  const HardwareProfile v100 = load_hardware("v100");
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const auto offchip = [&](Precision precision) {
    double sum = 0;
    for (const OperatorLatency& latency : predict_latency(spec, v100, {.precision = precision}).fixed) {
      sum += latency.offchip_s;
    }
    return sum;
  };
  EXPECT_NEAR(offchip(Precision::fp16), offchip(Precision::fp32) / 2, 1e-12);
}

TEST(PredictLatency, RefusesWhatMakesNoSense) {
  const ModelSpec spec = network("resnet18", "4-4-2-1");
  const HardwareProfile v100 = load_hardware("v100"), cpu = load_hardware("cpu-avx2");
  EXPECT_ERROR(predict_latency(spec, v100, {.rate = 1.5}), HasSubstr("activation rate 1.5"));
  EXPECT_ERROR(predict_latency(spec, v100, {.rate = -0.1}), HasSubstr("activation rate"));
  EXPECT_ERROR(predict_latency(spec, v100, {.batch = 0}), HasSubstr("batch 0"));
  EXPECT_ERROR(predict_latency(spec, cpu, {.threads = 0}), HasSubstr("0 threads"));
  EXPECT_ERROR(predict_latency(spec, cpu, {.precision = Precision::fp16}), HasSubstr("compute in fp32"));
  EXPECT_ERROR(predict_latency(spec, v100, {.size = {16, 224}}), HasSubstr("32"));
  EXPECT_ERROR(parse_schedule_constraint("masker=magic"), HasSubstr("magic"));
  EXPECT_ERROR(parse_schedule_constraint("whole_map_above=0.5"), HasSubstr("whole_map_above"));
}

}  // namespace
}  // namespace lasnet::test
