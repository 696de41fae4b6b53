// The CPU model: work counted by hand, kernels' shapes as the kernels have them, and what schedules change.
#include <gmock/gmock.h>

#include "backends/cpu/channel_blocks.h"
#include "backends/cpu/int8/kernels.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/prices.h"
#include "backends/cpu/register_tile.h"
#include "support/network.h"

namespace lasnet::test {
namespace {

constexpr CpuHardware kMachine{.processor = "", .isa = Isa::avx2};

double count(const OperatorWork& work, WorkUnit unit) { return work.counts[static_cast<size_t>(unit)]; }

OperatorWork find(const std::vector<OperatorWork>& operators, const std::string& name) {
  for (const OperatorWork& work : operators) {
    if (work.name == name) return work;
  }
  throw std::runtime_error("no operator " + name);
}

/// Of the second block, without its masker.
std::vector<OperatorWork> static_work(const ModelSpec& spec, const NetworkGeometry& geometry,
                                      const CpuContext& context) {
  const CpuBlockProgram program = cpu_block_program(spec.blocks[1], geometry.blocks[1], {}, {});
  return unmasked_work({spec.blocks[1], geometry.blocks[1], context, program});
}

TEST(RegisterTile, IsTheKernels) {
  for (const Isa isa : available_isas()) {
    const CpuKernels& kernels = cpu_kernels(isa);
    EXPECT_EQ(register_tile(isa).vector_width, kernels.vector_width) << to_string(isa);
    EXPECT_EQ(register_tile(isa).block_width(), kernels.block_width) << to_string(isa);
  }
}

TEST(RegisterTile, IsTheInt8Kernels) {
  for (const Int8Kernels* kernels : available_int8_kernels()) {
    const RegisterTile tile = int8_register_tile(kernels->name);
    EXPECT_EQ(tile.vector_width, kernels->vector_width) << kernels->name;
    EXPECT_EQ(tile.block_width(), kernels->block_width) << kernels->name;
    EXPECT_NE(std::ranges::find(kInt8KernelNames, kernels->name), kInt8KernelNames.end()) << kernels->name;
  }
}

TEST(RegisterTile, CyclesAreBoundByArithmeticThenByLatency) {
  EXPECT_DOUBLE_EQ(RegisterTile::cycles(6, 2), 6);     // 12 multiply-adds, two per cycle
  EXPECT_DOUBLE_EQ(RegisterTile::cycles(1, 2), 4);     // each sum waits for itself
  EXPECT_DOUBLE_EQ(RegisterTile::cycles(12, 1), 6.5);  // 13 loads
}

TEST(CpuWork, APointwiseConvolutionByHand) {
  // layer1.1's conv1: 256 to 64 channels on 56 x 56. AVX2: 4 blocks of 16 channels. tile_conv gives tasks of
  // at most 240 pixels: 14 of 224, each 38 tiles (34 of 6 pixels, 4 of 5), one slice of 256.
  const ModelSpec spec = network("resnet50", "static");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const CpuContext context = cpu_context(spec, kMachine, 1, 1);
  const OperatorWork conv1 = find(static_work(spec, geometry, context), "conv1");
  EXPECT_DOUBLE_EQ(count(conv1, WorkUnit::tile), 14 * 38 * 4);
  EXPECT_DOUBLE_EQ(count(conv1, WorkUnit::run), 14 * 38 * 4);
  EXPECT_NEAR(count(conv1, WorkUnit::tile_step), 14 * (34 * 6 + 4 * 5) / 6.0 * 256 * 4, 1e-6);
  EXPECT_DOUBLE_EQ(count(conv1, WorkUnit::weight_memory), 256 * 64 * 4 / 1000.0);
  EXPECT_DOUBLE_EQ(count(conv1, WorkUnit::weight_l2), 13 * 256 * 64 * 4 / 1000.0);
  EXPECT_DOUBLE_EQ(count(conv1, WorkUnit::loop), 0) << "one thread joins nobody";
}

TEST(CpuWork, Int8ReadsFourChannelsAtOnce) {
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  CpuHardware int8 = kMachine;
  int8.int8_kernels = "avx_vnni";  // whose tile is that of AVX2 in fp32
  const std::vector<OperatorWork> floats = static_work(spec, geometry, cpu_context(spec, kMachine, 1, 1));
  const std::vector<OperatorWork> bytes = static_work(spec, geometry, cpu_context(spec, int8, 1, 1));
  for (const char* name : {"conv1", "conv2", "conv3"}) {
    const OperatorWork of_floats = find(floats, name), of_bytes = find(bytes, name);
    EXPECT_EQ(of_bytes.macs, of_floats.macs) << name;
    EXPECT_NEAR(count(of_bytes, WorkUnit::tile_step), count(of_floats, WorkUnit::tile_step) / 4,
                0.02 * count(of_floats, WorkUnit::tile_step))
        << name;
    EXPECT_DOUBLE_EQ(count(of_bytes, WorkUnit::weight_memory), count(of_floats, WorkUnit::weight_memory) / 4)
        << name;
  }
  // A group of 24 channels lies in 6 words; one of 10 in up to 4.
  EXPECT_EQ(in_units({{.channel = 0, .width = 16, .input = 24, .run = 24}}, 4).front().run, 6);
  EXPECT_EQ(in_units({{.channel = 0, .width = 16, .input = 10, .run = 10}}, 4).front().input, 2);
  EXPECT_EQ(in_units({{.channel = 0, .width = 16, .input = 10, .run = 10}}, 4).front().run, 3);
}

TEST(CpuWork, ThreadsShareArithmeticButNotMemory) {
  const ModelSpec spec = network("resnet50", "static");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const auto conv3 = [&](int threads) {
    return find(static_work(spec, geometry, cpu_context(spec, kMachine, 1, threads)), "conv3");
  };
  const OperatorWork one = conv3(1), two = conv3(2);
  EXPECT_NEAR(count(two, WorkUnit::tile_step), count(one, WorkUnit::tile_step) / 2,
              0.1 * count(one, WorkUnit::tile_step));
  EXPECT_EQ(count(two, WorkUnit::weight_memory), count(one, WorkUnit::weight_memory));
  EXPECT_EQ(count(two, WorkUnit::loop), 1);
}

TEST(CpuWork, SmallNetworksFindTheirWeightsInTheCache) {
  const ModelSpec small = network("regnet_y_400mf", "static"), large = network("resnet101", "static");
  EXPECT_FALSE(cpu_context(small, kMachine, 1, 1).cold_weights);
  EXPECT_TRUE(cpu_context(large, kMachine, 1, 1).cold_weights);
}

TEST(CpuWork, NothingActiveLeavesTheMasker) {
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const CpuContext context = cpu_context(spec, kMachine, 1, 1);
  const CpuBlockProgram program = cpu_block_program(spec.blocks[1], geometry.blocks[1], {}, {});
  const auto operators = masked_work({spec.blocks[1], geometry.blocks[1], context, program},
                                     {.patches = 0, .active = 0, .dilated = 0, .images = 0});
  EXPECT_EQ(total(operators)[static_cast<size_t>(WorkUnit::tile_step)], 0);
  EXPECT_GT(count(find(operators, "masker"), WorkUnit::masker_value), 0);
}

TEST(PatchSums, AStageMakesItsSumsOnceAndKeepsThem) {
  const ModelSpec spec = network("resnet50", "4-4-2-1");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const auto uses = patch_sum_uses(spec, geometry, uniform_schedule(spec));
  // layer1.0 sums the stem's map for itself, and with its projection the map of its stage. The blocks behind
  // it find these sums. layer2.0 reads windows of 8 x 8 pixels, which are 2 x 2 cells, and makes the next
  // ones.
  EXPECT_EQ(uses[0],
            (PatchSumUse{.reads = true, .computes = true, .keeps = true, .cell = 4, .kept_cell = 4}));
  EXPECT_EQ(uses[1], (PatchSumUse{.reads = true, .keeps = true, .cell = 4, .kept_cell = 4}));
  EXPECT_EQ(uses[2], (PatchSumUse{.reads = true, .keeps = true, .cell = 4, .kept_cell = 4}));
  EXPECT_EQ(uses[3], (PatchSumUse{.reads = true, .keeps = true, .cell = 4, .cells = 4, .kept_cell = 4}));
  BlockSchedule separate;
  separate.masker = MaskerSchedule::separate;
  for (const PatchSumUse& use : patch_sum_uses(spec, geometry, uniform_schedule(spec, separate)))
    EXPECT_EQ(use, PatchSumUse());
}

TEST(WholeMapBreakEven, LiesWhereListsStopPaying) {
  const ModelSpec spec = network("resnet50", "1-1-1-1");
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  CpuContext context = cpu_context(spec, cpu_of(load_hardware("cpu-avx2")), 1, 1);
  const CpuBlockProgram program = cpu_block_program(spec.blocks[1], geometry.blocks[1], {}, {});
  const CpuBlockPrice of{spec.blocks[1], geometry.blocks[1], context, program};
  const double share = whole_map_break_even(of);
  EXPECT_GT(share, 0.5);
  context.hardware.seconds_per = {};
  context.hardware.seconds_per[static_cast<size_t>(WorkUnit::tile_step)] = 1;
  EXPECT_GT(whole_map_break_even(of), 0.99) << "where lists cost nothing";
}

}  // namespace
}  // namespace lasnet::test
