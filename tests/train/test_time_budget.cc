// A budget in milliseconds: the cost that is predicted, what gradients, allocation and control make of it,
// and whole runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lasnet/error.h"
#include "small_run.h"
#include "support/expect_error.h"
#include "support/random_model.h"
#include "support/temporary_dir.h"
#include "train/budget.h"
#include "train/budget_control.h"
#include "train/config.h"
#include "train/losses.h"
#include "train/measured_time.h"
#include "train/rate_allocation.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr MapSize kSize{64, 64};
const auto kGoOn = [] { return true; };

ArchConfig arch(const std::string& name, double width = 0.25) {
  return {.name = name,
          .width = width,
          .classes = 7,
          .stem = StemKind::imagenet,
          .granularity = parse_granularity("4-4-2-1")};
}

/// Without the start of kernels, which is most of the time of networks as small as these.
std::string toy_hardware() {
  return "name = \"toy\"\nkind = \"gpu\"\ndescription = \"Toy\"\nsource = \"published: nobody\"\n[gpu]\n"
         "processing_engines = 1\nfp32_lanes_per_engine = 8\npipeline_depth = 4\nfrequency_hz = 1e8\n"
         "bandwidth_bytes_per_s = 25.6e9\nonchip_bandwidth_factor = 4.0\nrequest_bytes = 32\nlaunch_s = 0\n"
         "fp16_rate = 2.0\naccumulators_per_engine = 32768\noverlap = false\nbatch = 1\n";
}

TrainConfig config_for(const std::string& hardware) {
  TrainConfig config;
  config.data = "data";
  config.output = "out";
  config.size = 64;
  config.hardware = hardware;
  config.budget_ms = 1;
  return config;
}

Deployment deployment_on(const std::string& hardware) {
  return deployment_of(config_for(hardware), TrainObserver());
}

NetworkCost time_of(const ModelSpec& spec, const std::string& hardware = "tx2") {
  return NetworkCost::time(spec, deployment_on(hardware));
}

/// By the predictor alone, over the static network's.
double predicted_ratio(const ModelSpec& spec, const std::string& hardware, const std::vector<double>& rates) {
  const HardwareProfile profile = load_hardware(hardware);
  LatencyQuery query{.size = kSize, .batch = profile.usual_batch()};
  query.rates = rates;
  const NetworkLatency latency = predict_latency(spec, profile, query);
  return latency.dynamic_s / latency.static_s;
}

double ratio_at(const NetworkCost& cost, const std::vector<double>& rates) {
  double sum = cost.fixed();
  for (size_t i = 0; i < rates.size(); ++i) sum += cost.blocks()[i].at(rates[i], rates[i]);
  return sum;
}

std::vector<double> some_rates(size_t count, double least = 0.1) {
  Random random(3);
  std::vector<double> rates;
  for (size_t i = 0; i < count; ++i) rates.push_back(random.uniform(least, 1));
  return rates;
}

torch::Tensor row(const std::vector<double>& values) {
  return torch::tensor(values, torch::kFloat32).unsqueeze(0);
}

/// Masks of these rates, with a gradient.
MaskShares masks_of(const torch::Tensor& rates) {
  return MaskShares(torch::cat({torch::ones_like(rates), torch::zeros_like(rates), rates}));
}

TEST(BlockCost, GoesThroughItsCurveAndHasItsSlope) {
  const BlockCost cost(std::vector<double>{1, 2, 4});  // at 0, 1/2 and 1
  EXPECT_DOUBLE_EQ(cost.at(0.25, 0.9), 1.5) << "whatever the dilation";
  EXPECT_DOUBLE_EQ(cost.at(0.75, 0.9), 3);
  const BlockCost::Terms near = cost.near(0.75);
  EXPECT_DOUBLE_EQ(near.active, 4);
  EXPECT_DOUBLE_EQ(near.always + near.active * 0.75, 3);
  EXPECT_DOUBLE_EQ(cost.overall().always, 1);
  EXPECT_DOUBLE_EQ(cost.overall().active, 3);
  EXPECT_DOUBLE_EQ(cost.through(0.5, 2.5).at(0.25, 0), 2);
  EXPECT_DOUBLE_EQ(BlockCost(std::vector<double>{2, 1, 1}).near(0.25).active, 0)
      << "nothing is to be gained by more patches";
}

TEST(BlockCost, OfTermsIsThatOfMacs) {
  const BlockCost cost(BlockCost::Terms{.always = 1, .nonempty = 2, .dilated = 3, .active = 4});
  EXPECT_DOUBLE_EQ(cost.at(0, 0), 1);
  EXPECT_DOUBLE_EQ(cost.at(0.5, 0.75), 1 + 2 + 3 * 0.75 + 4 * 0.5);
  EXPECT_DOUBLE_EQ(cost.near(0.3).dilated, 3);
  EXPECT_DOUBLE_EQ(cost.overall().active, 4);
}

TEST(NetworkCost, OfTimeIsThePredictors) {
  for (const char* hardware : {"tx2", "v100", "cpu-avx2"}) {
    const ModelSpec spec = make_spec(arch("resnet50"));
    const NetworkCost cost = time_of(spec, hardware);
    ASSERT_EQ(cost.blocks().size(), 16u);
    for (double rate : {0.0, 0.3, 1.0}) {
      const std::vector<double> rates(16, rate);
      EXPECT_NEAR(ratio_at(cost, rates), predicted_ratio(spec, hardware, rates), 1e-9) << hardware;
    }
    const std::vector<double> rates = some_rates(16);
    EXPECT_NEAR(ratio_at(cost.settled_at(rates), rates), predicted_ratio(spec, hardware, rates), 1e-9)
        << hardware;
    EXPECT_NEAR(ratio_at(cost, rates), predicted_ratio(spec, hardware, rates), 0.02) << hardware;
    EXPECT_NEAR(*cost.milliseconds(rates) / *cost.milliseconds({}), predicted_ratio(spec, hardware, rates),
                1e-9);
  }
  EXPECT_FALSE(NetworkCost::macs(make_spec(arch("resnet50")), kSize).milliseconds({}));
}

TEST(NetworkCost, SettlingLeavesMacsAsTheyAre) {
  const NetworkCost cost = NetworkCost::macs(make_spec(arch("resnet18")), kSize);
  const std::vector<double> rates = some_rates(8);
  EXPECT_EQ(ratio_at(cost.settled_at(rates), rates), ratio_at(cost, rates));
}

TEST(TimeLoss, HasTheGradientOfFiniteDifferences) {
  const NetworkCost cost = time_of(make_spec(arch("resnet18")));
  const double target = 0.6;
  const std::vector<double> rates = {0.13, 0.27, 0.34, 0.45, 0.56, 0.62, 0.77, 0.93};
  torch::Tensor variable = row(rates).requires_grad_();
  const CostAccount account(cost, rates);
  const torch::Tensor loss = flops_loss(account.network_ratios(masks_of(variable)), target);
  loss.backward();
  const auto loss_at = [&](const std::vector<double>& at) {
    return std::pow(ratio_at(cost, at) - target, 2);
  };
  EXPECT_NEAR(loss.item<double>(), loss_at(rates), 1e-6);
  constexpr double kStep = 1e-3;
  for (size_t i = 0; i < rates.size(); ++i) {
    std::vector<double> above = rates, below = rates;
    above[i] += kStep, below[i] -= kStep;
    const double difference = (loss_at(above) - loss_at(below)) / (2 * kStep);
    EXPECT_NEAR(variable.grad()[0][static_cast<int64_t>(i)].item<double>(), difference, 1e-5) << i;
    EXPECT_NE(difference, 0) << i;
  }
}

TEST(TimeLoss, HasTheSlopesThatThePredictorHas) {
  const ModelSpec spec = make_spec(arch("resnet50"));
  const CostAccount account(time_of(spec), std::vector<double>(16, 0.45));
  double slopes = 0;
  for (const double share : account.masked_shares()) slopes += share;
  const double rise = predicted_ratio(spec, "tx2", std::vector<double>(16, 0.5)) -
                      predicted_ratio(spec, "tx2", std::vector<double>(16, 0.4));
  EXPECT_NEAR(slopes, rise / 0.1, 1e-6);
}

/// Batches of noise.
BatchStream images(int64_t count) {
  const auto make = [](int64_t index) {
    torch::manual_seed(100 + index);
    const torch::Tensor coarse = torch::rand({8, 3, 8, 8}) * 3;
    return Batch{
        .images = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3) * torch::rand({8, 3, 64, 64}),
        .labels = torch::arange(8) % 7};
  };
  return {{.open = make}, 0, count / 8, 1};
}

TEST(TimeBudget, IsMetByTheRatesThatAreAllocated) {
  test::TemporaryDir dir;
  const std::string toy = dir / "toy.toml";
  std::ofstream(toy) << toy_hardware();
  const std::tuple<const char*, std::string, double> cases[] = {{"resnet18", toy, 0.3},
                                                                {"resnet18", "cpu-avx2", 0.3},
                                                                {"resnet18", "cpu-avx2", 0.7},
                                                                {"resnet50", "cpu-avx2", 0.5}};
  for (const auto& [name, hardware, part] : cases) {
    const Model model = test::random_model(arch(name), 1);
    MaskedNet net(model.spec, model.weights, /*standardise_maskers=*/true);
    const NetworkCost cost = time_of(model.spec, hardware);
    const double target = std::lerp(cost.least(), 1.0, part);
    const auto rates = allocate_rates(net, cost, images(8), target, /*mixed_precision=*/false, kGoOn);
    ASSERT_TRUE(rates);
    EXPECT_NEAR(predicted_ratio(model.spec, hardware, *rates), target, 0.02 * target)
        << name << " on " << hardware << ", " << part;
  }
}

TEST(TimeBudget, IsMetByTheBiasesThatAreSettled) {
  const Model model = test::random_model(arch("resnet50"), 1);
  MaskedNet net(model.spec, model.weights);
  const NetworkCost cost = time_of(model.spec);
  const double target = 0.5 * (cost.least() + 1);
  const auto settled = settle_budget(
      net, cost, [] { return images(32); }, target, kGoOn);
  ASSERT_TRUE(settled);
  MaskMeans means;
  BatchStream stream = images(32);
  torch::NoGradGuard no_gradient;
  while (auto batch = stream.next()) means.add(net.forward(batch->images, {}, false));
  EXPECT_NEAR(predicted_ratio(model.spec, "tx2", means.rates()), target, 0.01 * target);
  EXPECT_NEAR(settled->after, predicted_ratio(model.spec, "tx2", means.rates()), 1e-5);
}

std::string refusal(TrainConfig config, double budget_ms, const std::string& name = "resnet50") {
  config.budget_ms = budget_ms;
  config.arch = arch(name, 1);
  return test::error_of([&] {
    check_train_config(config);
    check_deployment(config);
  });
}

TEST(TimeBudget, OfWhatCannotBeMetIsRefusedWithTheBounds) {
  const NetworkCost cost = time_of(make_spec(arch("resnet50", 1)));
  const double static_ms = *cost.milliseconds({}), least_ms = cost.least() * static_ms;
  ASSERT_LT(least_ms, static_ms);
  const TrainConfig config = config_for("tx2");
  EXPECT_THAT(refusal(config, 0.9 * least_ms),
              AllOf(HasSubstr("`budget_ms`"), HasSubstr("on tx2, batches of 1, fp32"), HasSubstr("64 px"),
                    HasSubstr("nothing is active; give at least that")));
  EXPECT_THAT(refusal(config, 1.1 * static_ms),
              AllOf(HasSubstr("without masks; give at most that"), HasSubstr("ms")));
  EXPECT_EQ(refusal(config, 0.5 * (static_ms + least_ms)), "no error");
  // What it names can be given.
  for (const double refused : {0.9 * least_ms, 1.1 * static_ms}) {
    const std::string said = refusal(config, refused);
    const std::string before = "predicted to take ";
    EXPECT_EQ(refusal(config, std::stod(said.substr(said.find(before) + before.size()))), "no error") << said;
  }
}

TEST(TimeBudget, OnWhatCannotPredictItIsRefused) {
  EXPECT_THAT(refusal(config_for("tx3"), 5), HasSubstr("tx2")) << "the nearest name";
  TrainConfig config = config_for("cpu-avx2");
  config.deploy_precision = Precision::fp16;
  EXPECT_THAT(refusal(config, 5), AllOf(HasSubstr("fp16"), HasSubstr("cpu-avx2")));
  config = config_for("tx2");
  EXPECT_THAT(refusal(config, -1), HasSubstr("`budget_ms` -1 is not allowed"));
  config.deploy_batch = 5000;
  EXPECT_THAT(refusal(config, 5), HasSubstr("`deploy_batch` 5000 is not allowed"));
  config.deploy_batch = 4;
  EXPECT_THAT(refusal(config, 0), HasSubstr("it only with `budget_ms` or `granularity` auto"));
}

TEST(TimeBudget, AndTargetExcludeEachOtherInAFile) {
  EXPECT_ERROR((void)parse_train_config("target = 0.5\nbudget_ms = 3\n", "c.toml", {}),
               HasSubstr("c.toml:2: 'budget_ms' stands beside 'target'"));
  const TrainConfig config = parse_train_config(
      "budget_ms = 3\nhardware = \"tx2\"\ndeploy_batch = 2\ndeploy_precision = \"fp16\"\n", "c.toml", {});
  EXPECT_EQ(config.budget_ms, 3);
  EXPECT_EQ(config.deploy_precision, Precision::fp16);
  EXPECT_FALSE(recipe_json(config).contains("target"));
  EXPECT_EQ(recipe_json(config).at("deploy_batch"), 2);
  EXPECT_FALSE(recipe_json({}).contains("deploy_batch"));
}

TEST(DeploymentText, NamesWhatATimeIsOf) {
  EXPECT_EQ(to_text(deployment_on("v100")), "v100, batches of 128, fp32");
  TrainConfig config = config_for("cpu-avx2");
  config.deploy_threads = 4;
  EXPECT_EQ(to_text(deployment_of(config, TrainObserver())), "cpu-avx2, batches of 1, fp32, 4 threads");
}

TEST(MeasureTime, TakesBatchesOfImagesAndStopsWhenAsked) {
  const Model model = test::random_model(arch("resnet18"), 1);
  const std::vector<Tensor> three = {from_torch(torch::rand({1, 3, 64, 64})),
                                     from_torch(torch::rand({1, 3, 64, 64})),
                                     from_torch(torch::rand({1, 3, 64, 64}))};
  Deployment deployment = deployment_on("cpu-avx2");
  deployment.query.batch = 4;
  const auto measured = measure_time(model, three, deployment, kGoOn);
  ASSERT_TRUE(measured);
  EXPECT_GT(measured->static_ms, 0);
  EXPECT_GT(measured->dynamic_ms, 0);
  EXPECT_FALSE(measure_time(model, three, deployment, [] { return false; }));
  EXPECT_THROW(measure_time(model, {}, deployment, kGoOn), Error);
}

class TimeBudgetRun : public testing::Test {
 protected:
  TimeBudgetRun()
      : folder_(std::string("budget_") + testing::UnitTest::GetInstance()->current_test_info()->name()) {
    folder_.add_two_classes(16, 8);
    config_ = small_run(folder_);
    config_.arch.granularity = {2, 2, 1, 1};
    config_.epochs = 4;
    config_.hardware = folder_.path("toy.toml");
    std::ofstream(config_.hardware) << toy_hardware();
    config_.standardise_maskers = config_.hold_budget = true;
    config_.target_ramp = 0.5;
    config_.noise_end = 0;
    config_.norm_images = 16;
    observer_.on_message = [this](const std::string& text) { messages_ += text + "\n"; };
    config_.budget_ms = between(0.5);
  }

  /// Part of the way from the least possible time to the static network's.
  double between(double part) const {
    ArchConfig arch = config_.arch;
    arch.classes = 2;
    const NetworkCost cost = NetworkCost::time(make_spec(arch), deployment_of(config_, TrainObserver()));
    return *cost.milliseconds({}) * std::lerp(cost.least(), 1.0, part);
  }

  std::string error() const {
    return test::error_of([&] { train(config_, observer_); });
  }

  /// Begins the run, and stops it after so many polls.
  void begin(int polls) {
    observer_.should_stop = [polls]() mutable { return --polls == 0; };
    ASSERT_FALSE(train(config_, observer_).completed);
    observer_.should_stop = {};
    config_.resume = true;
  }

  test::SyntheticFolder folder_;
  TrainConfig config_;
  TrainObserver observer_;
  std::string messages_;
};

TEST_F(TimeBudgetRun, MeetsItAndRecordsIt) {
  const TrainResult result = train(config_, observer_);
  ASSERT_TRUE(result.completed);
  EXPECT_EQ(result.deployment, "toy, batches of 1, fp32");
  ASSERT_TRUE(result.dynamic_eval.predicted_ms && result.static_eval.predicted_ms);
  EXPECT_NEAR(*result.dynamic_eval.predicted_ms, config_.budget_ms, 0.05 * *result.static_eval.predicted_ms);
  EXPECT_TRUE(result.target_met) << result.advice;
  EXPECT_FALSE(result.dynamic_eval.measured_ms) << "other hardware";
  // By the predictor, at the rates that were measured.
  const Model model = load_model(result.model_path);
  LatencyQuery query{.size = {32, 32}, .batch = 1};
  query.rates = result.dynamic_eval.rates;
  EXPECT_NEAR(1e3 * predict_latency(model.spec, load_hardware(config_.hardware), query).dynamic_s,
              *result.dynamic_eval.predicted_ms, 1e-9);
  const auto facts = nlohmann::json::parse(model.training_json);
  EXPECT_EQ(facts.at("recipe").at("budget_ms"), config_.budget_ms);
  EXPECT_FALSE(facts.at("recipe").contains("target"));
  EXPECT_EQ(facts.at("deployment").at("hardware"), "toy");
  EXPECT_EQ(facts.at("results").at("finetune").at("predicted_ms"), *result.dynamic_eval.predicted_ms);
  std::ifstream log(config_.output + "/log.csv");
  std::string line;
  std::getline(log, line);
  EXPECT_THAT(line, HasSubstr(",macs_ratio_std,predicted_ms,seconds,"));
  while (std::getline(log, line)) {
    if (line.starts_with("finetune")) {
      EXPECT_THAT(line, testing::Not(HasSubstr(",,"))) << line;
    }
  }
}

TEST_F(TimeBudgetRun, GoesOnBitForBitWithTheHardwareThatItBeganWith) {
  const TrainResult whole = train(config_, observer_);
  const Weights expected = load_model(whole.model_path).weights;
  config_.output = folder_.path("interrupted");
  begin(24);
  std::filesystem::remove(config_.hardware);
  const TrainResult resumed = train(config_, observer_);
  ASSERT_TRUE(resumed.completed);
  EXPECT_EQ(load_model(resumed.model_path).weights, expected);
  EXPECT_EQ(resumed.dynamic_eval.predicted_ms, whole.dynamic_eval.predicted_ms);
  const TrainResult again = train(config_, observer_);
  EXPECT_EQ(again.dynamic_eval.predicted_ms, whole.dynamic_eval.predicted_ms);
  EXPECT_EQ(again.deployment, whole.deployment);
}

TEST_F(TimeBudgetRun, GoesOnWithNoOtherBudgetOrHardware) {
  begin(6);
  const double asked = config_.budget_ms;
  config_.budget_ms = 1.01 * asked;
  EXPECT_THAT(error(), AllOf(HasSubstr("`budget_ms`"), HasSubstr("can only be resumed unchanged")));
  config_.budget_ms = 0;
  config_.hardware.clear();
  EXPECT_THAT(error(), HasSubstr("`budget_ms`"));
  config_.budget_ms = asked;
  config_.hardware = "tx2";
  EXPECT_THAT(error(), HasSubstr("started for `hardware` toy, now it is tx2"));
}

TEST_F(TimeBudgetRun, OfThisMachineIsMeasured) {
  config_.hardware.clear();
  config_.epochs = 1;
  config_.budget_ms = between(0.7);
  const TrainResult result = train(config_, observer_);
  ASSERT_TRUE(result.dynamic_eval.measured_ms && result.static_eval.measured_ms);
  EXPECT_GT(*result.dynamic_eval.measured_ms, 0);
  config_.resume = true;
  EXPECT_EQ(train(config_, observer_).dynamic_eval.measured_ms, result.dynamic_eval.measured_ms);
}

TEST_F(TimeBudgetRun, ChoosesTheGranularityForBatchAndPrecision) {
  config_.hardware = "tx2";
  config_.budget_ms = 0;
  config_.hold_budget = config_.standardise_maskers = false;
  config_.arch = {.name = "resnet18",
                  .width = 0.25,
                  .classes = 0,
                  .stem = StemKind::small,
                  .granularity = kAutoGranularity};
  config_.deploy_batch = 8;
  config_.deploy_precision = Precision::fp16;
  config_.dry_run = true;
  train(config_, observer_);
  EXPECT_THAT(messages_, HasSubstr("chosen for tx2, batches of 8, fp16"));
}

TEST_F(TimeBudgetRun, EndsWithTheStaticNetworkWhereThatIsAskedFor) {
  config_.budget_ms = 0;
  config_.hardware.clear();
  config_.control_epochs = 1;
  config_.static_only = true;
  const TrainResult result = train(config_, observer_);
  ASSERT_TRUE(result.completed);
  EXPECT_EQ(result.model_path, "");
  EXPECT_TRUE(std::filesystem::exists(result.static_path));
  EXPECT_TRUE(std::filesystem::exists(config_.output + "/control.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(config_.output + "/model.safetensors"));
  config_.resume = true;
  EXPECT_TRUE(train(config_, observer_).completed);
}

}  // namespace
}  // namespace lasnet
