// What sessions of the cuda backend make of a calibration of their device, on the emulated one.
#include <gtest/gtest.h>

#include <filesystem>

#include "backends/cuda/executable.h"
#include "base/file.h"
#include "cuda_emulation.h"
#include "lasnet/hardware.h"
#include "predict/host_profile.h"
#include "session/default_schedule.h"
#include "support/cache_folder.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

constexpr MapSize kSize{64, 64};

Model small_model() { return test::random_model(test::narrow_arch("resnet50", "4-4-2-1", 0.125), 1); }

/// The emulated device, on which a masker that reads its map takes `masker_s` per MB.
CudaHardware device_of(double masker_s, const std::string& device = "emulated") {
  CudaHardware hardware = cuda_of(load_hardware("cuda-h100"));
  hardware.device = device;
  hardware.seconds_per[static_cast<size_t>(CudaUnit::masker)] = masker_s;
  return hardware;
}

void write_calibration(const CudaHardware& hardware) {
  HardwareProfile profile = load_hardware("cuda-h100");
  profile.facts = std::make_shared<HardwareFacts>(hardware);
  write_file_atomically(cached_cuda_profile_path(),
                        [&](std::ostream& out) { out << hardware_to_toml(profile); });
}

std::optional<NetworkSchedule> plan_that_runs(const Model& model, Precision precision, int64_t images,
                                              const std::optional<NetworkSchedule>& asked = std::nullopt) {
  const auto executable = make_executable(model, Backend::cuda, std::nullopt, asked, precision);
  return dynamic_cast<const CudaExecutable&>(*executable).chosen_plan(kSize, images);
}

class CudaPlan : public testing::Test {
 protected:
  CudaPlan() {
    std::filesystem::create_directories(std::filesystem::path(cached_cuda_profile_path()).parent_path());
  }

  const test::CacheFolder cache_;
  const Model model_ = small_model();
};

TEST_F(CudaPlan, IsWhatACalibrationOfTheDeviceFindsFastest) {
  EXPECT_EQ(plan_that_runs(model_, Precision::fp16, 128), std::nullopt) << "never calibrated";
  write_calibration(device_of(1e-3));
  EXPECT_EQ(plan_that_runs(model_, Precision::fp16, 128)->blocks[1].masker, MaskerSchedule::incremental);
  EXPECT_EQ(plan_that_runs(model_, Precision::bf16, 128)->blocks[1].masker, MaskerSchedule::incremental);
  EXPECT_EQ(plan_that_runs(model_, Precision::tf32, 128), std::nullopt) << "is not predicted";
  EXPECT_NE(plan_that_runs(model_, Precision::fp16, 5000), std::nullopt) << "more images than are predicted";
  write_calibration(device_of(1e-9));
  EXPECT_NE(plan_that_runs(model_, Precision::fp16, 128)->blocks[1].masker, MaskerSchedule::incremental);
  write_calibration(device_of(1e-3, "another device"));
  EXPECT_EQ(plan_that_runs(model_, Precision::fp16, 128), std::nullopt);
}

TEST_F(CudaPlan, IsWhatTheUserAsksFor) {
  write_calibration(device_of(1e-3));
  const NetworkSchedule asked = uniform_schedule(model_.spec, {.masker = MaskerSchedule::separate});
  EXPECT_EQ(plan_that_runs(model_, Precision::fp16, 128, asked), asked);
}

TEST_F(CudaPlan, NeverChangesTheBitsOfFp32) {
  Tensor x = test::random_input(2, kSize, 3);
  const Tensor expected = Session(model_, {.backend = Backend::cuda}).run(x).logits;
  for (double masker_s : {1e-9, 1e-3}) {
    for (CudaTileShape cheap : {CudaTileShape::medium, CudaTileShape::small, CudaTileShape::fitted}) {
      CudaHardware hardware = device_of(masker_s);
      for (CudaTileCost& cost : hardware.tiles.fp32) cost.step_ns *= 1e3;
      hardware.tiles.fp32[static_cast<size_t>(cheap)].step_ns = 1;
      write_calibration(hardware);
      EXPECT_EQ(Session(model_, {.backend = Backend::cuda}).run(x).logits, expected) << to_string(cheap);
    }
  }
}

/// On a device that runs `hopper` tiles, wherever they suit a layer.
class CudaPlanOnHopper : public CudaPlan {
 protected:
  CudaPlanOnHopper() {
    cuda::emulation::settings().hopper = true;
    CudaHardware hardware = device_of(1e-3);
    for (CudaTileShape shape : {CudaTileShape::hopper, CudaTileShape::hopper_wide})
      hardware.tiles.half[static_cast<size_t>(shape)] = {1e-3, 1e-3, 1e-3, 1e-3, 1e-3};
    write_calibration(hardware);
  }
  ~CudaPlanOnHopper() override { cuda::emulation::settings() = {}; }

  /// Convolutions of 128 and 256 channels, of 64 to 256.
  const Model wide_model_ = test::random_model(test::narrow_arch("resnet18", "4-4-2-1", 0.5), 1);
};

int hopper_convs(const Model& model) {
  const auto executable = make_executable(model, Backend::cuda, std::nullopt, std::nullopt, Precision::fp16);
  const auto& compiled = dynamic_cast<const CudaExecutable&>(*executable);
  int convs = 0;
  for (const CudaBlock& block : compiled.blocks()) {
    for (const CudaConv& conv : block.convs) {
      const CudaConvWork work = cuda_conv_work(conv.spec, false, compiled.target());
      convs += accumulation_order(work, 1000, compiled.target().tiles) == AccumulationOrder::warpgroup;
    }
  }
  return convs;
}

TEST_F(CudaPlanOnHopper, NetworksAgreeWithOtherTilesAndAFullMaskIsStatic) {
  EXPECT_EQ(hopper_convs(wide_model_), 8);
  const Tensor x = test::random_input(2, {48, 40}, 3);
  for (const Precision precision : {Precision::fp16, Precision::bf16}) {
    const SessionOptions options{.backend = Backend::cuda, .precision = precision};
    cuda::emulation::settings().hopper = false;
    const Result others = Session(wide_model_, options).run(x);
    cuda::emulation::settings().hopper = true;
    Session session(wide_model_, options);
    MaskSet masks = test::masks_of(others.trace);
    const double tolerance = precision == Precision::fp16 ? 2e-3 : 2e-2;
    EXPECT_LE(test::relative_error(session.run(x, {.force_masks = &masks}).logits, others.logits), tolerance);
    MaskSet full = test::make_masks(wide_model_.spec, 2, {48, 40}, test::MaskPattern::full, 5);
    EXPECT_EQ(session.run(x, {.force_masks = &full}).logits, session.run(x, {.dense = true}).logits);
  }
}

TEST_F(CudaPlanOnHopper, ACalibrationFromBeforeSuchTilesLeavesThemAsShipped) {
  CudaHardware hardware = device_of(1e-3);
  hardware.tiles = usable_tile_costs(hardware.tiles, false);
  write_calibration(hardware);
  const auto executable =
      make_executable(wide_model_, Backend::cuda, std::nullopt, std::nullopt, Precision::fp16);
  const CudaTileCosts& costs = dynamic_cast<const CudaExecutable&>(*executable).target().tiles;
  for (CudaTileShape shape : {CudaTileShape::hopper, CudaTileShape::hopper_wide})
    hardware.tiles.half[static_cast<size_t>(shape)] = shipped_tile_costs().half[static_cast<size_t>(shape)];
  EXPECT_EQ(costs, hardware.tiles);
  cuda::emulation::settings().hopper = false;
  EXPECT_EQ(hopper_convs(wide_model_), 0) << "the device does not run them";
}

}  // namespace
}  // namespace lasnet
