// Blocks' programs on the CPU: what the engine runs is what the latency model prices, operation by operation.
#include <gmock/gmock.h>

#include "backends/cpu/executable.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/prices.h"
#include "backends/cpu/runner.h"
#include "base/thread_pool.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using testing::Contains;
using testing::Not;

/// An operation of a run or of a prediction, as text: messages of failures show where they part.
std::string line(const std::string& block, const std::string& operation, double pixels) {
  return fmt::format("{} {} {:.0f}", block, operation, pixels);
}

/// Patches of each block: all, none, nearly all, half and few take turns.
std::vector<std::vector<uint8_t>> mixed_patches(const ModelSpec& spec, const NetworkGeometry& geometry,
                                                int64_t images) {
  constexpr double kRates[] = {0.5, 1, 0.98, 0, 0.2};
  Random random(7, "patches");
  std::vector<std::vector<uint8_t>> all;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    std::vector<uint8_t>& patches = all.emplace_back();
    if (!spec.blocks[b].is_dynamic()) continue;
    patches.resize(static_cast<size_t>(images * geometry.blocks[b].grid.patches()));
    const double rate = kRates[b % std::size(kRates)];
    for (uint8_t& patch : patches) patch = random.uniform() < rate ? 1 : 0;
  }
  return all;
}

/// A network under one plan, and one request to it.
class Comparison {
 public:
  Comparison(const Model& model, const BlockSchedule& plan)
      : spec_(model.spec),
        plan_(uniform_schedule(spec_, plan)),
        runner_(std::make_shared<CpuExecutable>(model, cpu_kernels(available_isas().back()), plan_),
                std::make_shared<ThreadPool>(1)) {}

  void ask(MapSize size, int64_t images, bool dense) {
    input_ = test::random_input(images, size, 4);
    request_ = RunRequest();
    request_.dense = dense;
    request_.geometry = network_geometry(spec_, size);
    for (size_t b = 0; b < spec_.blocks.size(); ++b) {
      request_.macs.push_back(block_macs(spec_.blocks[b], request_.geometry.blocks[b]));
    }
    request_.forced_patches = mixed_patches(spec_, request_.geometry, images);
  }

  std::vector<std::string> ran() {
    const TensorView view(input_);
    request_.input = &view;
    std::vector<std::string> lines;
    runner_.observe([&](size_t block, const CpuOperation& operation, int64_t pixels) {
      lines.push_back(line(spec_.blocks[block].name, to_string(operation), static_cast<double>(pixels)));
    });
    Result result;
    runner_.run(request_, result);
    return lines;
  }

  std::vector<std::string> priced() const {
    const int64_t images = input_.shape[0];
    const CpuContext context = cpu_context(spec_, cpu_of(load_hardware("cpu-avx512")), images, 1);
    const std::vector<CpuBlockProgram> programs = cpu_programs(spec_, request_.geometry, plan_);
    std::vector<std::string> lines;
    for (size_t b = 0; b < programs.size(); ++b) {
      const BlockGeometry& geometry = request_.geometry.blocks[b];
      const std::vector<uint8_t>& patches = request_.forced_patches[b];
      const CpuBlockPrice of{spec_.blocks[b], geometry, context, programs[b]};
      const bool masked = !request_.dense && spec_.blocks[b].is_dynamic();
      const std::vector<OperatorWork> work =
          masked ? masked_work(of, recorded_activity(geometry, images, patches).scenarios.front())
                 : unmasked_work(of);
      for (const OperatorWork& one : work) {
        lines.push_back(line(spec_.blocks[b].name, one.name, one.pixels));
      }
    }
    return lines;
  }

 private:
  const ModelSpec& spec_;
  NetworkSchedule plan_;
  CpuRunner runner_;
  Tensor input_;
  RunRequest request_;
};

std::vector<BlockSchedule> plans() {
  std::vector<BlockSchedule> all;
  for (const char* text :
       {"masker=incremental", "masker=separate", "masker=with_conv1", "gather=copied", "scatter=separate",
        "traversal=row_bands", "masker=with_conv1,gather=copied,scatter=separate", "whole_map_above=0.4",
        "gather=copied,whole_map_above=0.4"}) {
    all.push_back(parse_block_schedule(text));
  }
  return all;
}

class CpuProgram : public testing::TestWithParam<std::string> {};

TEST_P(CpuProgram, WhatRunsIsWhatIsPriced) {
  const Model model = test::random_model(test::narrow_arch(GetParam(), "4-4-2-1", 0.125), 3);
  for (const BlockSchedule& plan : plans()) {
    Comparison comparison(model, plan);
    for (const MapSize size : {MapSize{224, 224}, MapSize{160, 224}}) {
      for (const int64_t images : {1, 8}) {
        SCOPED_TRACE(fmt::format("{}, {} of {} x {}", to_string(plan), images, size.height, size.width));
        comparison.ask(size, images, false);
        EXPECT_EQ(comparison.ran(), comparison.priced());
      }
    }
    comparison.ask({160, 224}, 1, true);
    EXPECT_EQ(comparison.ran(), comparison.priced()) << to_string(plan) << ", dense";
  }
}

std::vector<std::string> architectures() {
  std::vector<std::string> names = architecture_names();
  names.push_back("regnet_y_400mf:dense");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Architectures, CpuProgram, testing::ValuesIn(architectures()), [](const auto& of) {
  std::string name = of.param;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
});

/// The program of layer1.1, an identity block, by hand.
std::vector<std::string> operations(const BlockSchedule& plan, MaskOutcome outcome) {
  const ModelSpec spec = make_spec(test::narrow_arch("resnet50", "4-4-2-1"));
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const NetworkSchedule network = uniform_schedule(spec, plan);
  const CpuBlockProgram program = cpu_programs(spec, geometry, network)[1];
  std::vector<std::string> names;
  if (outcome != MaskOutcome::unmasked) {
    for (const CpuOperation& operation : program.masking) names.push_back(to_string(operation));
  }
  for (const CpuOperation& operation : program.body(outcome)) names.push_back(to_string(operation));
  return names;
}

TEST(CpuBlockProgram, LeavesOutWhatAMaskMakesNeedless) {
  using Names = std::vector<std::string>;
  const BlockSchedule copied{.gather = GatherSchedule::copied};
  EXPECT_EQ(operations(copied, MaskOutcome::unmasked), (Names{"conv1", "conv2", "conv3"}));
  EXPECT_EQ(operations(copied, MaskOutcome::full), (Names{"masker", "conv1", "conv2", "conv3"}));
  EXPECT_EQ(operations(copied, MaskOutcome::crowded), (Names{"masker", "lists", "conv1", "conv2", "conv3"}))
      << "the whole map is read where it lies";
  EXPECT_EQ(operations(copied, MaskOutcome::partial),
            (Names{"masker", "lists", "conv1", "gather", "conv2", "conv3"}));
  const BlockSchedule beside{.masker = MaskerSchedule::with_conv1, .scatter = ScatterSchedule::separate};
  EXPECT_EQ(operations(beside, MaskOutcome::partial),
            (Names{"masker_conv1", "lists", "conv2", "conv3", "scatter_add"}));
  EXPECT_THAT(operations(beside, MaskOutcome::unmasked), Not(Contains("masker_conv1")));
}

}  // namespace
}  // namespace lasnet
