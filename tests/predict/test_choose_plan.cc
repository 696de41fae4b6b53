// The schedules that the model chooses, and that sessions run them.
#include <gmock/gmock.h>

#include "backends/cpu/executable.h"
#include "lasnet/latency.h"
#include "predict/host_profile.h"
#include "session/default_schedule.h"
#include "support/cache_folder.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

ModelSpec resnet50() {
  ArchConfig arch;
  arch.name = "resnet50";
  arch.granularity = {4, 4, 2, 1};
  return make_spec(arch);
}

/// A CPU on which nothing but these units costs anything worth mentioning.
HardwareProfile only(std::initializer_list<std::pair<WorkUnit, double>> costs, Isa isa = Isa::avx2) {
  HardwareProfile profile = load_hardware("cpu-avx2");
  CpuHardware cpu = cpu_of(profile);
  cpu.isa = isa;
  cpu.seconds_per.fill(1e-15);
  for (const auto& [unit, seconds] : costs) cpu.seconds_per[static_cast<size_t>(unit)] = seconds;
  profile.facts = std::make_shared<HardwareFacts>(cpu);
  return profile;
}

BlockSchedule plan_of_an_identity_block(const HardwareProfile& profile) {
  return choose_schedule(resnet50(), profile, {.rate = 0.5}).blocks[5];
}

TEST(ChoosePlan, TakesWhatTheProfileMakesCheap) {
  const BlockSchedule costly_sums =
      plan_of_an_identity_block(only({{WorkUnit::tile_step, 1e-9}, {WorkUnit::patch_sum, 1e-3}}));
  EXPECT_EQ(costly_sums.masker, MaskerSchedule::separate);
  const BlockSchedule costly_maps =
      plan_of_an_identity_block(only({{WorkUnit::tile_step, 1e-9}, {WorkUnit::map_l3, 1e-6}}));
  EXPECT_EQ(costly_maps.traversal, Traversal::row_bands);
}

TEST(ChoosePlan, KeepsTheDefaultUnlessAnotherIsClearlyFaster) {
  const HardwareProfile nearly_even = only({{WorkUnit::tile_step, 1e-9}, {WorkUnit::map_l3, 1e-8}});
  LatencyQuery query{.rate = 0.5};
  const BlockLatency chosen = predict_latency(resnet50(), nearly_even, query).blocks[5];
  query.schedule.traversal = Traversal::row_bands;
  const BlockLatency banded = predict_latency(resnet50(), nearly_even, query).blocks[5];
  EXPECT_LT(banded.dynamic_s, chosen.dynamic_s);
  EXPECT_GT(banded.dynamic_s, 0.97 * chosen.dynamic_s) << "not clearly faster, or this tests nothing";
  EXPECT_EQ(chosen.schedule.traversal, Traversal::whole_map);
}

TEST(ChoosePlan, AStaticNetworkHasNothingToChoose) {
  ArchConfig arch;
  arch.name = "resnet18";
  const ModelSpec spec = make_spec(arch);
  EXPECT_EQ(choose_schedule(spec, load_hardware("cpu-avx2"), {}), uniform_schedule(spec));
}

TEST(ChoosePlan, BreakEvensAreSharesOrNever) {
  for (const char* name : {"cpu-scalar", "cpu-avx2", "cpu-avx512", "cpu-neon"}) {
    for (const BlockSchedule& plan : choose_schedule(resnet50(), load_hardware(name), {.rate = 0.5}).blocks) {
      EXPECT_GT(plan.whole_map_above, 0.5) << name;
      EXPECT_LE(plan.whole_map_above, 2) << name;
    }
  }
}

NetworkSchedule plan_run_by_default(const Model& model) {
  const auto executable = make_executable(model);
  return dynamic_cast<const CpuExecutable&>(*executable).plan();
}

TEST(DefaultPlan, IsOfTheCalibratedProfileOrTheShippedOne) {
  const CacheFolder cache;
  Model model = random_model(narrow_arch("resnet50", "4-4-2-1"), 1);
  const Isa isa = available_isas().back();
  EXPECT_EQ(plan_run_by_default(model), default_schedule(model, isa));

  HardwareProfile calibrated = only({{WorkUnit::tile_step, 1e-9}, {WorkUnit::patch_sum, 1e-3}}, isa);
  calibrated.name = "cpu-" + to_string(isa);
  const std::string path = cached_profile_path(isa);
  write_text(path, hardware_to_toml(calibrated));
  EXPECT_EQ(plan_run_by_default(model).blocks[1].masker, MaskerSchedule::separate);
  EXPECT_EQ(host_profile(isa).cached, path);
  EXPECT_EQ(host_profile(isa).problem, "");

  write_text(path, "damaged");
  EXPECT_EQ(host_profile(isa).cached, "");
  EXPECT_THAT(host_profile(isa).problem, testing::HasSubstr(path));
  EXPECT_EQ(plan_run_by_default(model), default_schedule(model, isa)) << "as shipped";
  EXPECT_EQ(plan_run_by_default(model).blocks[1].masker, MaskerSchedule::incremental);
}

}  // namespace
}  // namespace lasnet::test
