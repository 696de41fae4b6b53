// Where steps are computed. A GPU is seldom at hand, so libtorch's lazy device stands for one: it records
// what is asked of it, computes later, and ends the program where a tensor of the CPU meets one of its own.
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <unistd.h>

#include "train/device.h"

#if __has_include(<torch/csrc/lazy/ts_backend/ts_backend_impl.h>)
#include <torch/csrc/lazy/backend/backend_device.h>
#include <torch/csrc/lazy/core/lazy_graph_executor.h>
#include <torch/csrc/lazy/ts_backend/ts_backend_impl.h>
#define LASNET_HAS_LAZY_DEVICE 1
#else
#define LASNET_HAS_LAZY_DEVICE 0
#endif

#include "small_run.h"
#include "support/expect_error.h"
#include "support/random_model.h"
#include "train/budget_control.h"
#include "train/config.h"
#include "train/head_fit.h"
#include "train/masker_fit.h"
#include "train/phase.h"
#include "train/rate_allocation.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

using testing::HasSubstr;

TEST(Device, HasANameOfFourKinds) {
  const test::SyntheticFolder folder("device_names");
  TrainConfig config = test::small_run(folder);
  for (const char* name : {"auto", "cpu", "cuda", "cuda:0", "cuda:127"}) {
    config.device = name;
    EXPECT_NO_THROW(check_train_config(config)) << name;
  }
  for (const char* name :
       {"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:128", "cuda:1x", "cuda:1:2", "cpu:0"}) {
    config.device = name;
    EXPECT_ERROR(check_train_config(config), HasSubstr("expected auto, cpu, cuda or cuda:N")) << name;
  }
}

TEST(Device, IsTheCpuWhereThereIsNoGpu) {
  EXPECT_EQ(device_of("cpu", 0), torch::Device(torch::kCPU));
  if (torch::cuda::is_available()) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_EQ(device_of("auto", 1), torch::Device(torch::kCPU));
  for (const char* name : {"cuda", "cuda:1"})
    EXPECT_ERROR(device_of(name, 0), HasSubstr("sees no GPU")) << name;
}

TEST(Device, IsTheGpuOfTheProcess) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a GPU, and a libtorch with CUDA";
  const int gpus = static_cast<int>(torch::cuda::device_count());
  EXPECT_EQ(device_of("auto", 0), torch::Device(torch::kCUDA, 0));
  EXPECT_EQ(device_of("cuda", gpus), torch::Device(torch::kCUDA, 0));
  EXPECT_EQ(device_of("cuda", gpus - 1),
            torch::Device(torch::kCUDA, static_cast<torch::DeviceIndex>(gpus - 1)));
  EXPECT_ERROR(device_of("cuda:127", 0), HasSubstr("this machine has"));
}

TEST(Device, IsRefusedBeforeAnythingIsWritten) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "this machine has a GPU";
  test::SyntheticFolder folder("device_refused");
  folder.add_two_classes(8, 4);
  TrainConfig config = test::small_run(folder);
  config.device = "cuda";
  EXPECT_ERROR(train(config), HasSubstr("sees no GPU"));
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
}

/// The same work on the CPU and on another device: a GPU if there is one, else the lazy one.
class OnAnotherDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available()) {
      at::globalContext().setAllowTF32CuDNN(false);
      other_ = torch::Device(torch::kCUDA, 0);
      return;
    }
#if LASNET_HAS_LAZY_DEVICE
    static const bool begun = [] {
      torch::lazy::InitTorchScriptBackend();
      return true;
    }();
    ASSERT_TRUE(begun);
    other_ = torch::Device(torch::kLazy, 0);
#else
    GTEST_SKIP() << "needs a GPU, or a libtorch with the lazy device's headers";
#endif
  }

  /// The lazy device leaves running statistics as they are, so they are left out.
  static void expect_near(const Weights& found, const Weights& wanted, double tolerance) {
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [name, tensor] : wanted) {
      if (name.find("running_") != std::string::npos) continue;
      const torch::Tensor difference = to_torch(found.at(name)) - to_torch(tensor);
      const double scale = std::max(to_torch(tensor).abs().max().item<double>(), 1e-3);
      EXPECT_LT(difference.abs().max().item<double>() / scale, tolerance) << name;
    }
  }

  torch::Device other_ = torch::kCPU;
};

/// The lazy device computes what it was asked for, instead of the same again in later steps.
void finish_work([[maybe_unused]] torch::Device device) {
#if LASNET_HAS_LAZY_DEVICE
  if (!device.is_lazy()) return;
  const torch::lazy::BackendDevice lazy = torch::lazy::atenDeviceToBackendDevice(device);
  torch::lazy::LazyGraphExecutor::Get()->SyncLiveTensorsGraph(&lazy, {}, /*wait=*/true);
  torch::lazy::LazyGraphExecutor::Get()->MarkStep(lazy);
#endif
}

ArchConfig architecture(const std::string& name, StemKind stem, std::vector<int> granularity) {
  return {.name = name, .width = 0.125, .classes = 2, .stem = stem, .granularity = std::move(granularity)};
}

/// An epoch of fine-tuning, with all that a step may have.
struct Epoch {
  RunState state;
  Weights weights, optimizer;
};

Epoch train_an_epoch(const std::string& arch, const TrainConfig& config, torch::Device device) {
  World world;
  const TrainData data(
      config, 1, [](const std::string&) {}, world);
  const Model model = test::random_model(architecture(arch, config.arch.stem, {4, 4, 2, 1}), 1);
  ArchConfig dense = model.spec.arch;
  dense.granularity.clear();
  const Model taught = test::random_model(dense, 2);
  MaskedNet net(model.spec, model.weights, /*standardise_maskers=*/true, device);
  const MaskedNet teacher(taught.spec, taught.weights, /*standardise_maskers=*/false, device);
  const Budget budget = macs_budget(config, model.spec);
  const TrainObserver nobody;
  Phase phase(config,
              {.name = kFinetune,
               .data_stream = kFinetune,
               .epochs = 1,
               .lr = 0.01,
               .weight_decay = 1e-4,
               .dynamic = true},
              budget, data, net, &teacher, world, nobody);
  Epoch epoch;
  epoch.state.phase = kFinetune;
  EXPECT_TRUE(phase.run(
      epoch.state, [&] { finish_work(device); }, [] {}));
  epoch.weights = net.state();
  epoch.optimizer = phase.momentum();
  return epoch;
}

TEST_F(OnAnotherDevice, AnEpochIsThatOfTheCpu) {
  test::SyntheticFolder folder("device_epoch");
  folder.add_two_classes(8, 4);
  TrainConfig config = test::small_run(folder);
  config.alpha_features = 1;
  config.standardise_maskers = true;
  config.hold_budget = true;
  config.straight_through_dilation = true;
  config.mixup = 0.2;
  config.clip_norm = 1;
  config.ema = 0.9;
  for (const auto& [arch, optimizer] :
       {std::pair("resnet18", TrainOptimizer::sgd), std::pair("regnet_y_400mf", TrainOptimizer::adamw)}) {
    config.optimizer = optimizer;
    config.arch.name = arch;
    config.batch = optimizer == TrainOptimizer::sgd ? 8 : 16;  // two steps, or one
    const Epoch here = train_an_epoch(arch, config, torch::kCPU),
                there = train_an_epoch(arch, config, other_);
    expect_near(there.weights, here.weights, 1e-3);
    expect_near(there.optimizer, here.optimizer, 1e-2);
    const EpochInfo &wanted = here.state.history.back(), &found = there.state.history.back();
    EXPECT_NEAR(found.train_loss, wanted.train_loss, 1e-3 * wanted.train_loss) << arch;
    EXPECT_NEAR(found.train_macs_ratio, wanted.train_macs_ratio, 1e-3) << arch;
  }
}

TEST_F(OnAnotherDevice, TheBeginningIsThatOfTheCpu) {
  const Model model = test::random_model(architecture("resnet18", StemKind::imagenet, {4, 4, 2, 2}), 1);
  const NetworkCost cost = NetworkCost::macs(model.spec, {64, 64});
  const auto images = [](int64_t count) {
    const auto make = [](int64_t index) {
      torch::manual_seed(100 + index);
      return Batch{.images = torch::rand({8, 3, 64, 64}), .labels = torch::arange(8) % 2, .total = 8};
    };
    return BatchStream({.open = make}, 0, count / 8, 1);
  };
  const auto go_on = [] { return true; };
  using Work = std::function<void(MaskedNet&)>;
  const auto after = [&](const Work& work, torch::Device device) {
    MaskedNet net(model.spec, model.weights, /*standardise_maskers=*/true, device);
    work(net);
    return net.state();
  };
  const auto head = [&](MaskedNet& net) { EXPECT_TRUE(fit_head(net, images(16), false, go_on)); };
  const auto maskers = [&](MaskedNet& net) { EXPECT_TRUE(fit_maskers(net, cost, images(32), 1, go_on)); };
  const auto rates = [&](MaskedNet& net) {
    EXPECT_TRUE(take_masker_statistics(net, cost, images(16), go_on));
    EXPECT_TRUE(allocate_rates(net, cost, images(8), 0.6, false, go_on));
  };
  const auto biases = [&](MaskedNet& net) {
    EXPECT_TRUE(settle_budget(
        net, cost, [&] { return images(16); }, 0.6, go_on));
  };
  for (const Work& work : {Work(head), Work(maskers), Work(rates), Work(biases)})
    expect_near(after(work, other_), after(work, torch::kCPU), 1e-2);
}

}  // namespace
}  // namespace lasnet
