// Training with several processes: what they exchange, that a step is one process's, and who is named when it
// goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "formats/safetensors.h"
#include "lasnet/error.h"
#include "many_processes.h"
#include "small_run.h"
#include "support/expect_error.h"
#include "support/random_model.h"
#include "train/evaluate.h"
#include "train/gradient_sum.h"
#include "train/losses.h"
#include "train/processes.h"
#include "train/train.h"
#include "train/train_data.h"

namespace lasnet {
namespace {

using test::in_processes;
using test::SyntheticFolder;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Processes from(const std::map<std::string, std::string>& variables) {
  return processes_from([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string error_from(const std::map<std::string, std::string>& variables) {
  return test::error_of([&] { (void)from(variables); });
}

TEST(ProcessesFromEnvironment, AreTorchrunsVariables) {
  EXPECT_EQ(from({}).size, 1);
  EXPECT_EQ(from({{"WORLD_SIZE", "1"}}).size, 1);
  const std::map<std::string, std::string> torchrun = {{"RANK", "3"},
                                                       {"WORLD_SIZE", "8"},
                                                       {"LOCAL_RANK", "1"},
                                                       {"LOCAL_WORLD_SIZE", "2"},
                                                       {"MASTER_ADDR", "node0"},
                                                       {"MASTER_PORT", "29500"}};
  const Processes processes = from(torchrun);
  EXPECT_EQ(processes.rank, 3);
  EXPECT_EQ(processes.size, 8);
  EXPECT_EQ(processes.local_size, 2);
  EXPECT_EQ(processes.local_rank, 1);
  EXPECT_EQ(processes.address, "node0");
  EXPECT_EQ(processes.port, 29500);
  auto by_hand = torchrun;
  by_hand.erase("LOCAL_RANK");
  by_hand["RANK"] = "6";
  EXPECT_EQ(from(by_hand).local_rank, 0) << "its number among those of its machine, two by two";
  by_hand.erase("LOCAL_WORLD_SIZE");
  by_hand["LOCAL_RANK"] = "3";
  EXPECT_EQ(from(by_hand).local_rank, 3) << "also where nothing says how many there are";
  by_hand["LOCAL_RANK"] = "8";
  EXPECT_THROW(from(by_hand), Error);
  auto with_store = torchrun;
  with_store["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_EQ(from(with_store).port, 30500) << "where torchrun does not listen itself";
  with_store["MASTER_PORT"] = "65000";
  EXPECT_EQ(from(with_store).port, 64000);
}

TEST(ProcessesFromEnvironment, NameTheVariableThatIsWrong) {
  EXPECT_THAT(error_from({{"WORLD_SIZE", "2"}}), AllOf(HasSubstr("RANK"), HasSubstr("torchrun")));
  EXPECT_THAT(error_from({{"WORLD_SIZE", "2"}, {"RANK", "2"}}), HasSubstr("RANK=2"));
  EXPECT_THAT(error_from({{"WORLD_SIZE", "2"}, {"RANK", "1"}}), HasSubstr("MASTER_ADDR"));
  EXPECT_THAT(error_from({{"WORLD_SIZE", "2"}, {"RANK", "1"}, {"MASTER_ADDR", "a"}}),
              HasSubstr("MASTER_PORT"));
  EXPECT_THAT(error_from({{"WORLD_SIZE", "two"}}), HasSubstr("WORLD_SIZE=two"));
}

TEST(Share, PartsAreAllOfIt) {
  for (const int64_t n : {0, 1, 5, 8}) {
    int64_t end = 0;
    for (int64_t part = 0; part < 3; ++part) {
      const Share share{part, 3};
      EXPECT_EQ(share.begin(n), end);
      end = share.end(n);
    }
    EXPECT_EQ(end, n);
  }
}

TEST(World, OfOneKeepsItsOwn) {
  World world;
  torch::Tensor values = torch::tensor({1.0f, 2.0f});
  world.sum(values);
  EXPECT_EQ(values[1].item<float>(), 2);
  EXPECT_TRUE(world.any(true));
  EXPECT_THAT(world.gather("a"), ElementsAre("a"));
  EXPECT_EQ(world.broadcast("b"), "b");
  const torch::Tensor x = torch::tensor({0.1f, 0.7f});
  EXPECT_TRUE(world.batch_mean(x, 1).equal(x));
}

/// Skips visibly where processes cannot speak to each other.
class ManyProcesses : public testing::Test {
 protected:
  void SetUp() override {
    if (!trains_with_processes()) GTEST_SKIP() << "built without Gloo (Debian: libgloo-dev)";
  }
};

TEST_F(ManyProcesses, ExchangeNumbersTextsAndWeights) {
  const auto errors = in_processes(4, [](const Processes& processes) {
    World world(processes);
    EXPECT_EQ(world.sum(processes.rank + 1), 10);
    EXPECT_TRUE(world.any(processes.rank == 2));
    EXPECT_FALSE(world.any(false));
    EXPECT_THAT(world.gather(std::string(static_cast<size_t>(processes.rank), 'x')),
                ElementsAre("", "x", "xx", "xxx"));
    EXPECT_EQ(world.broadcast(world.leads() ? "mine" : "theirs"), "mine");
    EXPECT_EQ(world.broadcast(std::string()), "");
    const Weights mine = {{"a", Tensor({2}, 1)}, {"b", Tensor({1, 1, 1, 2}, 3)}};
    const Weights weights = world.broadcast(world.leads() ? mine : Weights());
    ASSERT_EQ(weights.size(), 2u);
    EXPECT_EQ(weights.at("b").shape, (Shape{1, 1, 1, 2}));
    EXPECT_THAT(weights.at("b").data, ElementsAre(3, 3));
    const torch::Tensor rows =
        torch::full({processes.rank == 0 ? 2 : 1, 3}, static_cast<float>(processes.rank));
    const torch::Tensor all = world.gather_rows(rows, processes.rank == 0 ? 0 : processes.rank + 1, 5);
    EXPECT_TRUE(all.select(1, 2).equal(torch::tensor({0.0f, 0.0f, 1.0f, 2.0f, 3.0f})));
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

/// A convolution, a BatchNorm and a loss over images, and the gradients of both.
struct SmallStep {
  torch::Tensor weight = torch::linspace(-0.5, 0.5, 6 * 3 * 9).view({6, 3, 3, 3}).requires_grad_();
  NormTensors norm = {.gamma = torch::linspace(0.5, 1.5, 6).requires_grad_(),
                      .beta = torch::linspace(-1, 1, 6).requires_grad_(),
                      .mean = torch::zeros({6}),
                      .variance = torch::ones({6})};

  torch::Tensor loss_of_each(const torch::Tensor& x, World* world) const {
    const torch::Tensor y = batch_norm(torch::conv2d(x, weight), norm, {.training = true, .world = world});
    return y.relu().square().mean({1, 2, 3}).sin();
  }
  std::vector<NamedTensor> parameters() const {
    return {{"weight", weight}, {"gamma", norm.gamma}, {"beta", norm.beta}};
  }
};

torch::Tensor small_images() {
  return torch::linspace(0, 40, 5 * 3 * 7 * 7)
      .view({5, 3, 7, 7})
      .sin()
      .contiguous(at::MemoryFormat::ChannelsLast);
}

TEST_F(ManyProcesses, SharedBatchNormHasTheGradientsOfTheWholeBatch) {
  SmallStep whole;
  whole.loss_of_each(small_images(), nullptr).mean().backward();
  const auto errors = in_processes(2, [&](const Processes& processes) {
    World world(processes);
    SmallStep step;
    GradientSum gradients(world, step.parameters());
    const int64_t first = world.share().begin(5), count = world.share().end(5) - first;
    const torch::Tensor mine = step.loss_of_each(small_images().narrow(0, first, count), &world).mean();
    gradients.begin();
    (mine * (static_cast<double>(count) / 5)).backward();
    gradients.finish();
    for (size_t i = 0; i < 3; ++i) {
      const torch::Tensor wanted = whole.parameters()[i].tensor.grad();
      EXPECT_TRUE(torch::allclose(step.parameters()[i].tensor.grad(), wanted, 1e-4, 1e-5))
          << step.parameters()[i].name << step.parameters()[i].tensor.grad() << wanted;
    }
    EXPECT_TRUE(torch::allclose(step.norm.mean, whole.norm.mean, 1e-5, 1e-6));
    EXPECT_TRUE(torch::allclose(step.norm.variance, whole.norm.variance, 1e-5, 1e-6));
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST_F(ManyProcesses, AGradientThatOneStepLacksIsNoObstacle) {
  const auto errors = in_processes(2, [&](const Processes& processes) {
    World world(processes);
    const torch::Tensor used = torch::ones({3}).requires_grad_(), unused = torch::ones({2}).requires_grad_();
    GradientSum gradients(world, {{"used", used}, {"unused", unused}});
    for (int step = 0; step < 2; ++step) {
      used.mutable_grad().reset();
      gradients.begin();
      (used * (processes.rank + 1.0)).sum().backward();
      gradients.finish();
      EXPECT_EQ(used.grad()[0].item<float>(), 3);
      EXPECT_FALSE(unused.grad().defined());
    }
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST_F(ManyProcesses, AProcessThatFailsIsNamedWithItsReason) {
  const auto errors = in_processes(3, [](const Processes& processes) {
    World world(processes);
    try {
      if (processes.rank == 1) throw Error("the image is broken");
      world.sum(1);
    } catch (const std::exception& error) {
      world.abandon(error.what());
      throw;
    }
  });
  EXPECT_EQ(errors[1], "the image is broken");
  for (const int rank : {0, 2})
    EXPECT_THAT(errors[static_cast<size_t>(rank)],
                AllOf(HasSubstr("rank 1 ("), HasSubstr("the image is broken"), HasSubstr("`resume`")));
}

/// Of those that come, all have to have come by then. libtorch looks for rank 0 once a second.
constexpr double kJoinSeconds = 6;

TEST_F(ManyProcesses, AMissingProcessIsNamed) {
  const auto errors = in_processes(3, [](const Processes& all) {
    if (all.rank == 2) return;
    Processes processes = all;
    processes.join_seconds = kJoinSeconds;
    World world(processes);
  });
  for (const int rank : {0, 1})
    EXPECT_THAT(errors[static_cast<size_t>(rank)], AllOf(HasSubstr("rank 2 is missing"), HasSubstr("6 s")));
}

TEST_F(ManyProcesses, ARankThatIsGivenTwiceAndOtherSizesAreNamed) {
  const auto twice = in_processes(3, [](const Processes& all) {
    Processes processes = all;
    processes.rank = std::min(all.rank, 1);
    processes.join_seconds = kJoinSeconds;
    World world(processes);
  });
  EXPECT_THAT(twice, testing::Contains(HasSubstr("two processes say that they are rank 1")));
  const auto sizes = in_processes(2, [](const Processes& all) {
    Processes processes = all;
    if (all.rank == 1) processes.size = 3;
    processes.join_seconds = kJoinSeconds;
    World world(processes);
  });
  EXPECT_THAT(sizes[0], HasSubstr("rank 1 was started with WORLD_SIZE=3, rank 0 with 2"));
}

TEST_F(ManyProcesses, AWrongAddressIsNamed) {
  const auto errors = in_processes(2, [](const Processes& all) {
    if (all.rank == 0) return;
    Processes processes = all;
    processes.join_seconds = 1;
    World world(processes);
  });
  EXPECT_THAT(errors[1], AllOf(HasSubstr("127.0.0.1:"), HasSubstr("was rank 0 started")));
}

TEST_F(ManyProcesses, WhatNeverAnswersIsNamed) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(test::free_port()));
  ASSERT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(socket, 5), 0);
  Processes processes;
  processes.rank = 1;
  processes.size = 2;
  processes.address = "127.0.0.1";
  processes.port = ntohs(address.sin_port);
  processes.join_seconds = 1;
  const std::string message = test::error_of([&] { const World world(processes); });
  // The socket stays open: a thread of libtorch's store ends the program if its connection breaks.
  EXPECT_THAT(message, HasSubstr("is no process of this run"));
}

class TrainTogether : public ManyProcesses {
 protected:
  TrainTogether()
      : folder_(std::string("many_") + testing::UnitTest::GetInstance()->current_test_info()->name()) {
    folder_.add_two_classes(16, 5);
    config_ = small_run(folder_);
    config_.batch = 10;
    config_.epochs = 2;
    config_.pretrain_lr = 0.2;
    config_.masker_bias = 1;
    config_.sync_bn = true;
  }

  /// Mean losses after each step, and the model.
  struct Run {
    std::vector<double> losses;
    std::vector<double> ratios;
    std::vector<EpochInfo> epochs;
    Weights weights;
  };

  TrainConfig config_for(int size) const {
    TrainConfig config = config_;
    config.output = folder_.path("out" + std::to_string(size));
    return config;
  }

  Run run(int size) const {
    Run result;
    TrainObserver observer;
    observer.on_step = [&](const StepInfo& info) {
      if (info.phase == "evaluate") return;
      result.losses.push_back(info.loss);
      result.ratios.push_back(info.macs_ratio);
    };
    observer.on_epoch = [&](const EpochInfo& info) { result.epochs.push_back(info); };
    TrainConfig config = config_for(size);
    config.overwrite = true;
    const auto errors = in_processes(size, [&](const Processes& processes) {
      EXPECT_TRUE(train(config, observer, size == 1 ? Processes{} : processes).completed);
    });
    EXPECT_THAT(errors, Each(IsEmpty()));
    result.weights = load_model(config.output + "/model.safetensors").weights;
    return result;
  }

  /// Relative, where values are over 1.
  static double largest_difference(const Weights& a, const Weights& b) {
    double largest = 0;
    for (const auto& [name, tensor] : a) {
      for (size_t i = 0; i < tensor.data.size(); ++i)
        largest = std::max(largest, static_cast<double>(std::abs(tensor.data[i] - b.at(name).data[i]) /
                                                        std::max(1.0f, std::abs(tensor.data[i]))));
    }
    return largest;
  }

  void expect_same(const Run& one, const Run& many) const {
    ASSERT_EQ(many.losses.size(), one.losses.size());
    for (size_t i = 0; i < one.losses.size(); ++i) {
      EXPECT_NEAR(many.losses[i], one.losses[i], 1e-5 * std::max(1.0, one.losses[i])) << "step " << i;
      EXPECT_NEAR(many.ratios[i], one.ratios[i], 1e-5) << "step " << i;
    }
    ASSERT_EQ(many.epochs.size(), one.epochs.size());
    for (size_t i = 0; i < one.epochs.size(); ++i) {
      EXPECT_NEAR(many.epochs[i].validation.loss, one.epochs[i].validation.loss, 1e-4);
      EXPECT_NEAR(many.epochs[i].validation.macs_ratio, one.epochs[i].validation.macs_ratio, 1e-4);
      EXPECT_EQ(many.epochs[i].validation.images, 10);
    }
    EXPECT_LT(largest_difference(one.weights, many.weights), 5e-4);
  }

  SyntheticFolder folder_;
  TrainConfig config_;
};

TEST_F(TrainTogether, TwoAndFourHaveTheLossCurveOfOne) {
  const Run one = run(1);
  expect_same(one, run(2));
  expect_same(one, run(4));
  // libtorch's own BatchNorm rounds more, and small networks make much of it in a few steps.
  config_.sync_bn = false;
  EXPECT_NEAR(run(1).losses[1], one.losses[1], 1e-5);
}

TEST_F(TrainTogether, SoItIsWithEverythingThatFewStepsNeed) {
  config_.standardise_maskers = true;
  config_.hold_budget = true;
  config_.fit_images = 16;
  config_.norm_images = 20;
  config_.target_ramp = 0.5;
  config_.noise_end = 0;
  config_.alpha_features = 1;
  config_.straight_through_dilation = true;
  config_.mixup = config_.cutmix = 1;
  config_.colour_jitter = 0.4;
  config_.random_erasing = 0.5;
  config_.label_smoothing = 0.1;
  config_.clip_norm = 5;
  config_.ema = 0.8;
  config_.warmup = 0.3;
  const Run one = run(1);
  expect_same(one, run(3));
}

TEST_F(TrainTogether, EvaluateExactlyAsOneDoes) {
  config_.batch = 4;
  ArchConfig arch = config_.arch;
  arch.classes = 2;
  const Model model = test::random_model(arch, 3);
  const auto evaluated = [&](World& world) {
    const TrainData data(
        config_, 1, [](const std::string&) {}, world);
    const MaskedNet net(model.spec, model.weights);
    return *evaluate(net, NetworkCost::macs(model.spec, {config_.size, config_.size}), data, world,
                     [](int64_t) { return true; });
  };
  World alone;
  const EvaluationDetail one = evaluated(alone);
  EXPECT_EQ(one.figures.images, 10);
  for (const int size : {2, 3, 5}) {
    const auto errors = in_processes(size, [&](const Processes& processes) {
      World world(processes);
      const EvaluationDetail many = evaluated(world);
      EXPECT_EQ(many.figures.images, 10);
      EXPECT_EQ(many.figures.top1, one.figures.top1);
      EXPECT_EQ(many.figures.top5, one.figures.top5);
      EXPECT_EQ(many.figures.loss, one.figures.loss);
      EXPECT_EQ(many.figures.macs_ratio, one.figures.macs_ratio);
      EXPECT_EQ(many.figures.macs_ratio_std, one.figures.macs_ratio_std);
      EXPECT_EQ(many.figures.rates, one.figures.rates);
      EXPECT_EQ(many.masks.std, one.masks.std);
    });
    EXPECT_THAT(errors, Each(IsEmpty()));
  }
}

TEST_F(TrainTogether, EachDecodesWhatItTrainsOnAlone) {
  const auto errors = in_processes(2, [&](const Processes& processes) {
    World world(processes);
    const TrainData data(
        config_, 1, [](const std::string&) {}, world);
    EXPECT_EQ(data.take_figures().images, 0);
    BatchStream stream = data.training("finetune", 0, 0);
    while (stream.next()) {
    }
    EXPECT_EQ(data.take_figures().images, 3 * 5) << "its half of three batches of ten";
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST_F(TrainTogether, UnreadableImagesAreFoundInShares) {
  config_.skip_unreadable = true;
  for (const char* name : {"train/blue/0.png", "train/red/9.png", "val/red/1.png"})
    std::ofstream(folder_.path(name)) << "text";
  const auto errors = in_processes(3, [&](const Processes& processes) {
    World world(processes);
    std::string messages;
    const TrainData data(
        config_, 1, [&](const std::string& text) { messages += text + "\n"; }, world);
    EXPECT_EQ(data.train_images(), 30);
    EXPECT_EQ(data.val_images(), 9);
    EXPECT_THAT(messages,
                AllOf(HasSubstr("blue/0.png"), HasSubstr("train/red/9.png"), HasSubstr("red/1.png")));
    EXPECT_LE(data.take_figures().images, 11 + 4) << "a third of all";
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST_F(TrainTogether, SoItIsWithABudgetInMilliseconds) {
  config_.hardware = "cpu-avx2";
  config_.budget_ms = 0.06;  // of 0.08 without masks
  config_.standardise_maskers = config_.hold_budget = true;
  config_.target_ramp = 0.5;
  const Run one = run(1), two = run(2);
  expect_same(one, two);
  ASSERT_TRUE(one.epochs.back().validation.predicted_ms);
  EXPECT_NEAR(*two.epochs.back().validation.predicted_ms, *one.epochs.back().validation.predicted_ms, 1e-5);
}

TEST_F(TrainTogether, LocalBatchNormEndsWithOneNetworkAll) {
  config_.sync_bn = false;
  const Run two = run(2), again = run(2);
  EXPECT_EQ(largest_difference(two.weights, again.weights), 0) << "the same every time";
  EXPECT_EQ(two.epochs.back().validation.images, 10);
}

TEST_F(TrainTogether, AResumedRunEndsBitForBitLikeAnUninterruptedOne) {
  config_.sync_bn = false;
  const Run whole = run(2);
  TrainConfig config = config_for(2);
  config.output = folder_.path("interrupted");
  int runs = 0;
  for (bool done = false; !done; ++runs) {
    ASSERT_LT(runs, 20);
    const auto errors = in_processes(2, [&](const Processes& processes) {
      TrainObserver observer;
      // Only one of them is asked, and all stop there.
      if (processes.rank == 1) observer.should_stop = [polls = 4]() mutable { return --polls == 0; };
      const bool completed = train(config, observer, processes).completed;
      if (processes.rank == 0) done = completed;
    });
    ASSERT_THAT(errors, Each(IsEmpty()));
    config.resume = true;
  }
  EXPECT_GT(runs, 3);
  EXPECT_EQ(largest_difference(load_model(config.output + "/model.safetensors").weights, whole.weights), 0);
}

TEST_F(TrainTogether, OtherSettingsAreNamed) {
  const auto errors = in_processes(3, [&](const Processes& processes) {
    TrainConfig config = config_for(3);
    if (processes.rank == 2) config.lr = 0.5;
    train(config, {}, processes);
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("rank 2"), HasSubstr("`lr` 0.5"), HasSubstr("0.02"))));
}

TEST_F(TrainTogether, OtherImagesAreNamed) {
  SyntheticFolder other("many_other");
  other.add_two_classes(16, 5);
  std::filesystem::remove(other.path("train/red/3.png"));
  const auto errors = in_processes(2, [&](const Processes& processes) {
    TrainConfig config = config_for(2);
    if (processes.rank == 1) config.data = other.path();
    train(config, {}, processes);
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("rank 1"), HasSubstr("train/red/3.png (gone)"))));
}

TEST_F(TrainTogether, WhatRankZeroRefusesEndsAll) {
  (void)run(2);
  const auto errors =
      in_processes(2, [&](const Processes& processes) { train(config_for(2), {}, processes); });
  EXPECT_THAT(errors[0], HasSubstr("the model of a finished run"));
  EXPECT_THAT(errors[1], AllOf(HasSubstr("rank 0 ("), HasSubstr("the model of a finished run")));
}

TEST_F(TrainTogether, ABatchOfFewerImagesThanProcessesIsRefused) {
  config_.batch = 1;
  Processes processes;
  processes.size = 2;
  EXPECT_ERROR(train(config_for(2), {}, processes), AllOf(HasSubstr("`batch` 1"), HasSubstr("2 processes")));
}

}  // namespace
}  // namespace lasnet
