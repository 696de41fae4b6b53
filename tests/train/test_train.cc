// Whole runs on a tiny separable data set: learning, budget, files, interruption, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "formats/safetensors.h"
#include "lasnet/engine.h"
#include "lasnet/error.h"
#include "small_run.h"
#include "support/expect_error.h"
#include "support/pth_writer.h"
#include "support/random_model.h"
#include "train/autocast.h"
#include "train/checkpoint.h"
#include "train/digest.h"
#include "train/evaluate.h"
#include "train/train.h"

namespace lasnet {
namespace {

using test::SyntheticFolder;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool exists(const std::string& path) { return std::filesystem::exists(path); }

class TrainTest : public testing::Test {
 protected:
  TrainTest() : folder_(std::string("run_") + testing::UnitTest::GetInstance()->current_test_info()->name()) {
    folder_.add_two_classes(16, 8);
    config_ = small_run(folder_);
    observer_.on_message = [this](const std::string& text) { messages_ += text + "\n"; };
    observer_.on_warning = [this](const std::string& text) { warnings_.push_back(text); };
    observer_.on_epoch = [this](const EpochInfo& info) { epochs_.push_back(info); };
  }

  std::string error() const { return error_of(observer_); }

  std::string error_of(const TrainObserver& observer) const {
    return test::error_of([&] { train(config_, observer); });
  }

  std::string out(const std::string& name) const { return config_.output + "/" + name; }

  /// Begins the run, and stops it so many polls after a phase began.
  void begin(int polls = 3) {
    bool begun = false;
    observer_.on_step = [&](const StepInfo& info) { begun = begun || info.phase != "static"; };
    observer_.should_stop = [&] { return begun && --polls == 0; };
    ASSERT_FALSE(train(config_, observer_).completed);
    ASSERT_TRUE(exists(out("checkpoint.safetensors")));
    observer_.on_step = {};
    observer_.should_stop = {};
    config_.resume = true;
  }

  /// Trains once, and lets later runs start from the static network, elsewhere.
  void start_from_static() {
    train(config_, observer_);
    config_.init = out("static.safetensors");
    config_.output = folder_.path("second");
    messages_.clear();
    epochs_.clear();
    warnings_.clear();
  }

  SyntheticFolder folder_;
  TrainConfig config_;
  TrainObserver observer_;
  std::string messages_;
  std::vector<std::string> warnings_;
  std::vector<EpochInfo> epochs_;
};

TEST_F(TrainTest, LearnsTheClassesAndMeetsTheBudget) {
  config_.pretrain_epochs = 12;
  config_.epochs = 40;
  config_.target = 0.6;
  config_.lr = 0.5;
  config_.masker_lr_multiplier = 3.0;
  config_.masker_bias = 1.0f;
  double sampled = 0;
  int64_t steps = 0;
  observer_.on_step = [&](const StepInfo& info) {
    if (info.phase != "finetune" || info.epoch <= 35) return;
    sampled += info.macs_ratio;
    ++steps;
  };
  TrainResult result = train(config_, observer_);
  ASSERT_TRUE(result.completed);
  EXPECT_GE(result.static_eval.top1, 0.9);
  EXPECT_GE(result.dynamic_eval.top1, 0.9);
  EXPECT_LT(epochs_[11].train_loss, 0.5 * epochs_[0].train_loss);
  EXPECT_EQ(result.static_eval.macs_ratio, 1.0);
  EXPECT_NEAR(sampled / static_cast<double>(steps), 0.6, 0.05) << "the sampled masks are what the loss sees";
  EXPECT_NEAR(result.dynamic_eval.macs_ratio, 0.6, 0.2) << "without noise";
  EXPECT_EQ(result.dynamic_eval.rates.size(), 8u);
}

TEST_F(TrainTest, ARegNetMeetsItsBudget) {
  config_.arch.name = "regnet_y_400mf";
  config_.arch.width = 0.2;
  config_.pretrain_epochs = 10;
  config_.epochs = 40;
  config_.target = 0.6;
  config_.lr = 0.5;
  config_.masker_lr_multiplier = 3.0;
  config_.masker_bias = 1.0f;
  double sampled = 0;
  int64_t steps = 0;
  observer_.on_step = [&](const StepInfo& info) {
    if (info.phase != "finetune" || info.epoch <= 35) return;
    sampled += info.macs_ratio;
    ++steps;
  };
  TrainResult result = train(config_, observer_);
  ASSERT_TRUE(result.completed);
  EXPECT_GE(result.dynamic_eval.top1, 0.9);
  EXPECT_NEAR(sampled / static_cast<double>(steps), 0.6, 0.05);
  EXPECT_EQ(result.dynamic_eval.rates.size(), 16u);
}

TEST_F(TrainTest, LeavesModelsThatRunAndALogOfAllEpochs) {
  config_.pretrain_epochs = 2;
  config_.control_epochs = 1;
  TrainResult result = train(config_, observer_);
  ASSERT_TRUE(result.completed);
  Model dynamic = load_model(result.model_path), fixed = load_model(result.static_path);
  EXPECT_TRUE(dynamic.spec.arch.is_dynamic());
  EXPECT_FALSE(fixed.spec.arch.is_dynamic());
  EXPECT_FALSE(load_model(out("control.safetensors")).spec.arch.is_dynamic());
  EXPECT_THAT(dynamic.class_names, ElementsAre("blue", "red"));
  EXPECT_EQ(dynamic.preprocessing.crop, 32);
  nlohmann::json facts = nlohmann::json::parse(dynamic.training_json);
  EXPECT_EQ(facts.at("recipe").at("epochs"), 1);
  EXPECT_TRUE(facts.at("init").is_null());
  EXPECT_TRUE(facts.at("teacher").is_null());
  EXPECT_EQ(facts.at("results").at("finetune").at("top1"), result.dynamic_eval.top1);
  EXPECT_EQ(facts.at("results").at("control").at("top1"), result.control_eval.top1);
  std::stringstream log(read_text(out("log.csv")));
  std::vector<std::string> phases;
  for (std::string line; std::getline(log, line);) phases.push_back(line.substr(0, line.find(',')));
  EXPECT_THAT(phases, ElementsAre("phase", "pretrain", "pretrain", "control", "finetune"));
}

TEST_F(TrainTest, EngineReproducesTheEvaluation) {
  TrainResult result = train(config_, observer_);
  Model model = load_model(result.model_path);
  Session session(model);
  ImageFolder val = open_image_folder(folder_.path("val"));
  double correct = 0, macs_ratio = 0;
  for (const ImageFolder::Item& item : val.items) {
    Result run = session.run(
        to_input(resize_and_crop(load_image(item.path), model.preprocessing), model.preprocessing));
    correct += (run.logits.data[1] > run.logits.data[0]) == (item.label == 1);
    macs_ratio += run.trace.macs_ratio();
  }
  auto images = static_cast<double>(val.items.size());
  EXPECT_DOUBLE_EQ(correct / images, result.dynamic_eval.top1);
  EXPECT_NEAR(macs_ratio / images, result.dynamic_eval.macs_ratio, 1e-4);
}

TEST_F(TrainTest, AnInterruptedRunEndsBitForBitLikeAnUninterruptedOne) {
  config_.pretrain_epochs = 2;
  config_.control_epochs = 1;
  config_.epochs = 2;
  train(config_, observer_);
  std::string expected = read_text(out("model.safetensors"));
  std::vector<EpochInfo> expected_epochs = std::exchange(epochs_, {});

  // Stopped after every third poll: within epochs, between them and during evaluation.
  config_.output = folder_.path("interrupted");
  config_.resume = true;
  int runs = 1;
  int polls = 0;
  observer_.should_stop = [&] { return ++polls % 3 == 0; };
  while (!train(config_, observer_).completed) {
    ASSERT_TRUE(exists(out("checkpoint.safetensors")));
    ASSERT_LT(++runs, 100);
  }
  EXPECT_GT(runs, 8);
  EXPECT_EQ(read_text(out("model.safetensors")), expected);
  ASSERT_EQ(epochs_.size(), expected_epochs.size());
  for (size_t i = 0; i < epochs_.size(); ++i) {
    EXPECT_EQ(epochs_[i].train_loss, expected_epochs[i].train_loss);
    EXPECT_EQ(epochs_[i].validation.loss, expected_epochs[i].validation.loss);
  }
}

TEST_F(TrainTest, EveryPresetMakesItsSteps) {
  const TrainConfig own = config_;
  std::vector<std::string> planned;
  observer_.on_plan = [&](const TrainPlan& plan) {
    EXPECT_GT(plan.images_per_s, 0);
    EXPECT_GT(plan.memory_bytes, 0);
    planned.push_back(plan.parts.back().phase);
  };
  for (const auto& entry : std::filesystem::directory_iterator(LASNET_RECIPES)) {
    config_ = load_train_config(entry.path().string());
    config_.data = own.data;
    config_.output = own.output;
    config_.arch.width = 0.25;
    config_.size = config_.resize = 64;
    config_.batch = 2;
    config_.threads = 1;
    config_.dry_run = true;
    EXPECT_FALSE(train(config_, observer_).completed) << entry.path();
  }
  EXPECT_EQ(planned, std::vector<std::string>(5, "finetune"));
  EXPECT_FALSE(exists(own.output)) << "a dry run writes nothing";
}

TEST_F(TrainTest, TheSeedDecidesTheResult) {
  train(config_, observer_);
  std::string first = read_text(out("model.safetensors"));
  config_.overwrite = true;
  train(config_, observer_);
  EXPECT_EQ(read_text(out("model.safetensors")), first);
  config_.seed = 1;
  train(config_, observer_);
  EXPECT_NE(read_text(out("model.safetensors")), first);
}

TEST_F(TrainTest, ResumingAFinishedRunReturnsItsFigures) {
  TrainResult first = train(config_, observer_);
  epochs_.clear();
  config_.resume = true;
  TrainResult second = train(config_, observer_);
  EXPECT_TRUE(second.completed);
  EXPECT_TRUE(epochs_.empty());
  EXPECT_EQ(second.dynamic_eval.loss, first.dynamic_eval.loss);
}

TEST_F(TrainTest, ARunIsOnlyReplacedWhereThatIsAskedFor) {
  train(config_, observer_);
  const std::string before = read_text(out("model.safetensors"));
  config_.seed = 7;
  const auto refused =
      AllOf(HasSubstr(out("model.safetensors") + ": the model of a finished run"), HasSubstr("`overwrite`"));
  EXPECT_THAT(error(), refused);
  std::filesystem::remove(out("checkpoint.safetensors"));
  EXPECT_THAT(error(), refused) << "whoever removed the checkpoint";
  EXPECT_EQ(read_text(out("model.safetensors")), before);
  config_.overwrite = true;
  train(config_, observer_);
  EXPECT_NE(read_text(out("model.safetensors")), before);
  config_.resume = true;
  EXPECT_THAT(error(), HasSubstr("either it or"));
}

TEST_F(TrainTest, OverwritingForgetsWhereTheOldRunStood) {
  train(config_, observer_);
  config_.overwrite = true;
  observer_.should_stop = [] { return true; };
  ASSERT_FALSE(train(config_, observer_).completed);
  config_.overwrite = false;
  EXPECT_THAT(error(), AllOf(HasSubstr("unfinished"), HasSubstr("`resume`"), HasSubstr("`overwrite`")));
  config_.resume = true;
  observer_.should_stop = {};
  EXPECT_TRUE(train(config_, observer_).completed);
  EXPECT_FALSE(epochs_.empty());
}

TEST_F(TrainTest, ACheckpointIsOnlyContinuedAsItWasStarted) {
  int polls = 0;
  observer_.should_stop = [&] { return ++polls == 2; };
  ASSERT_FALSE(train(config_, observer_).completed);
  EXPECT_THAT(error(), HasSubstr("unfinished")) << "without resume";
  config_.resume = true;
  config_.lr = 0.3;
  EXPECT_THAT(error(), AllOf(HasSubstr("`lr` 0.02"), HasSubstr("0.3")));
  config_.lr = TrainConfig{}.lr;
  folder_.add("train", "red", 0, 17);
  EXPECT_THAT(error(), HasSubstr("other data"));
  std::ofstream(out("checkpoint.safetensors")) << "garbage";
  EXPECT_THAT(error(), HasSubstr("checkpoint.safetensors"));
}

TEST_F(TrainTest, StartsFromGivenStaticWeights) {
  train(config_, observer_);
  config_.init = out("static.safetensors");
  config_.output = folder_.path("second");
  epochs_.clear();
  TrainResult result = train(config_, observer_);
  ASSERT_EQ(epochs_.size(), 1u);
  EXPECT_EQ(epochs_[0].phase, "finetune");
  const Weights given = load_model(config_.init).weights, begun = load_model(result.static_path).weights;
  ASSERT_EQ(begun.size(), given.size());
  for (const auto& [name, values] : given) {
    const bool of_norm = name.find("bn") != name.npos || name.find("downsample.1") != name.npos;
    if (!of_norm) {
      EXPECT_EQ(begun.at(name), values) << name;
    }
  }
  const Tensor x = test::random_input(2, {32, 32}, 3);
  const Tensor expected = Session(load_model(config_.init)).run(x, {.dense = true}).logits;
  EXPECT_LE(
      test::relative_error(Session(load_model(result.static_path)).run(x, {.dense = true}).logits, expected),
      1e-4);
}

/// Writes a static network of the run's architecture, with statistics that are not its data's.
Model write_foreign_model(const TrainConfig& config, const std::string& path) {
  ArchConfig arch = config.arch;
  arch.classes = 7;
  arch.granularity.clear();
  Model given;
  given.spec = make_spec(arch);
  given.weights = random_weights(given.spec, 1);
  for (auto& [name, values] : given.weights)
    if (name.ends_with("running_mean")) std::ranges::fill(values.data, 0.02f);
  save_model(given, path);
  return given;
}

/// Of the last map, whatever the heads.
double difference_of(const Model& a, const Model& b) {
  const Tensor x = test::random_input(2, {32, 32}, 3);
  const RunOptions last_map{.dense = true, .features = {"layer4"}};
  return test::relative_error(Session(a).run(x, last_map).features.at("layer4"),
                              Session(b).run(x, last_map).features.at("layer4"));
}

TEST_F(TrainTest, WeightsFromOtherDataGetItsStatisticsAndStayTheSameFunction) {
  config_.init = folder_.path("given.safetensors");
  const Model given = write_foreign_model(config_, config_.init);
  config_.pretrain_epochs = 0;
  const TrainResult result = train(config_, observer_);
  const Model begun = load_model(result.static_path);
  EXPECT_NE(begun.weights.at("layer3.0.bn1.running_mean"), given.weights.at("layer3.0.bn1.running_mean"));
  EXPECT_LE(difference_of(begun, given), 1e-4);
}

TEST_F(TrainTest, RenewedStatisticsAreThoseThatTheWeightsWereAdaptedTo) {
  config_.init = folder_.path("given.safetensors");
  const Model given = write_foreign_model(config_, config_.init);
  config_.pretrain_epochs = 0;
  config_.control_epochs = 1;
  config_.static_only = true;
  config_.lr = 1e-9;
  config_.norm_images = config_.batch;  // those of one batch: of several, the mean is no batch's
  train(config_, observer_);
  const Model control = load_model(out("control.safetensors"));
  EXPECT_NE(control.weights.at("layer3.0.bn1.running_mean"), given.weights.at("layer3.0.bn1.running_mean"));
  // BatchNorm divides by the biased variance and keeps the unbiased one: half a percent in each layer here.
  EXPECT_LE(difference_of(control, given), 0.05);
}

TEST_F(TrainTest, OtherClassesGetAFreshHead) {
  train(config_, observer_);
  config_.init = out("static.safetensors");
  config_.output = folder_.path("second");
  for (const char* part : {"train", "val"}) folder_.add(part, "green", 1, 8);
  epochs_.clear();
  TrainResult result = train(config_, observer_);
  EXPECT_THAT(messages_, HasSubstr("fresh head"));
  ASSERT_EQ(epochs_.size(), 2u);
  EXPECT_EQ(epochs_[0].phase, "pretrain");
  EXPECT_EQ(load_model(result.model_path).spec.arch.classes, 3);
}

TEST_F(TrainTest, TheRecipeOfFewStepsMeetsItsBudgetAndResumesBitForBit) {
  start_from_static();
  config_.arch.granularity = {2, 2, 1, 1};
  config_.epochs = 6;
  config_.target = 0.6;
  config_.standardise_maskers = config_.hold_budget = config_.straight_through_dilation = true;
  config_.fit_images = 16;
  config_.norm_images = 16;
  config_.target_ramp = 0.5;
  config_.noise_end = 0;
  config_.alpha_features = 1;
  const TrainResult whole = train(config_, observer_);
  EXPECT_THAT(messages_, AllOf(HasSubstr("maskers fitted on 16 images"),
                               HasSubstr("rates of the blocks that training leads to")));
  EXPECT_NEAR(whole.dynamic_eval.macs_ratio, 0.6, 0.1);
  const Weights expected = load_model(whole.model_path).weights;
  EXPECT_FALSE(expected.contains("layer1.0.masker.conv2.running_mean")) << "folded";

  config_.output = folder_.path("interrupted");
  int polls = 0;
  observer_.should_stop = [&] { return ++polls == 40; };
  ASSERT_FALSE(train(config_, observer_).completed);
  observer_.should_stop = {};
  config_.resume = true;
  EXPECT_EQ(load_model(train(config_, observer_).model_path).weights, expected);
}

TEST_F(TrainTest, KeptMaskersNearTheBudgetAreMovedToItFirst) {
  start_from_static();
  config_.arch.granularity = {2, 2, 1, 1};
  config_.target = 0.6;
  config_.standardise_maskers = config_.hold_budget = true;
  config_.fit_images = 16;
  config_.noise_start = config_.noise_end = 0;
  const TrainResult first = train(config_, observer_);
  config_.init = first.model_path;
  config_.output = folder_.path("third");
  config_.fit_images = 0;
  config_.lr = 1e-9;
  const double reached = first.dynamic_eval.macs_ratio;
  config_.target = reached + 0.04;
  const TrainResult second = train(config_, observer_);
  EXPECT_THAT(messages_, HasSubstr("its maskers are kept"));
  // Its weights stay, so without that move the epoch would end where the first run did.
  EXPECT_NEAR(epochs_.back().train_macs_ratio, config_.target, 0.025);
  EXPECT_NEAR(second.dynamic_eval.macs_ratio, config_.target, 0.025);
}

TEST_F(TrainTest, MixedPrecisionTrains) {
  if (!computes_bf16(torch::kCPU)) {
    config_.precision = TrainPrecision::bf16;
    EXPECT_THAT(error(), AllOf(HasSubstr("`precision` bf16"), HasSubstr("fp32, or auto")));
    GTEST_SKIP() << "this processor computes no bfloat16";
  }
  config_.precision = TrainPrecision::bf16;
  const TrainResult result = train(config_, observer_);
  EXPECT_TRUE(result.completed);
  EXPECT_TRUE(std::isfinite(result.dynamic_eval.loss));
  config_.precision = TrainPrecision::fp32;
  config_.output = folder_.path("exact");
  EXPECT_NE(load_model(train(config_, observer_).model_path).weights, load_model(result.model_path).weights);
}

TEST_F(TrainTest, RefusesWeightsOfAnotherNetwork) {
  train(config_, observer_);
  config_.init = out("static.safetensors");
  config_.output = folder_.path("second");
  config_.arch.width = 0.25;
  EXPECT_THAT(error(), AllOf(HasSubstr("static.safetensors: its network is resnet18 (width 0.125"),
                             HasSubstr("0.25")));
  // A file that says nothing of itself is known by its tensors.
  const Model described = load_model(config_.init);
  config_.init = folder_.path("plain.safetensors");
  write_safetensors({.tensors = described.weights, .metadata = {}}, config_.init, DType::f32);
  EXPECT_THAT(error(), AllOf(HasSubstr("plain.safetensors"), HasSubstr("conv1.weight")));
}

TEST_F(TrainTest, ATeacherMustHaveTheClassesOfTheData) {
  train(config_, observer_);
  config_.teacher = out("static.safetensors");
  config_.output = folder_.path("second");
  for (const char* part : {"train", "val"}) folder_.add(part, "green", 1, 8);
  EXPECT_THAT(error(), AllOf(HasSubstr("teacher"), HasSubstr("2 classes")));
}

TEST_F(TrainTest, RefusesBadDataBeforeWritingAnything) {
  std::ofstream(folder_.path("train/red/zzz.jpg")) << "not an image";
  EXPECT_THAT(error(), HasSubstr("zzz.jpg"));
  EXPECT_FALSE(exists(out("static.safetensors")));
  config_.data = folder_.path("missing");
  EXPECT_THAT(error(), HasSubstr("missing"));
}

TEST_F(TrainTest, RefusesAnOutputThatCannotBeWritten) {
  std::ofstream(folder_.path("file")) << "a file, not a directory";
  config_.output = folder_.path("file/out");
  EXPECT_THAT(error(), HasSubstr("file/out"));
}

TEST_F(TrainTest, RefusesABatchWithoutVariance) {
  config_.arch.stem = StemKind::imagenet;
  config_.batch = 1;
  EXPECT_THAT(error(), HasSubstr("BatchNorm"));
}

TEST_F(TrainTest, RefusesAnUnknownArchitecture) {
  config_.arch.name = "resnet19";
  EXPECT_THAT(error(), HasSubstr("resnet18"));
}

TEST_F(TrainTest, ADivergingRunSaysWhatToLower) {
  config_.pretrain_lr = config_.pretrain_weight_decay = 1e6;
  EXPECT_THAT(error(), AllOf(HasSubstr("not finite"), HasSubstr("`pretrain_lr`")));
}

TEST_F(TrainTest, ARunThatDivergesToLargeNumbersIsWarnedOf) {
  config_.pretrain_lr = 1e3;
  config_.alpha_distill = 0;
  train(config_, observer_);
  ASSERT_FALSE(epochs_.empty());
  EXPECT_THAT(epochs_[0].warnings, Contains(AllOf(HasSubstr("diverged"), HasSubstr("lower `pretrain_lr`"))));
}

TEST(DivergenceWarning, IsFarFromAnyLossOfLearning) {
  EXPECT_FALSE(divergence_warning(20, 2, "`lr`"));
  EXPECT_TRUE(divergence_warning(70, 2, "`lr`"));
  EXPECT_FALSE(divergence_warning(600, 1000, "`lr`"));
  EXPECT_TRUE(divergence_warning(700, 1000, "`lr`"));
}

TEST_F(TrainTest, TwoRunsDoNotWriteToOneFolder) {
  std::string refused;
  observer_.on_step = [&](const StepInfo&) {
    if (refused.empty()) refused = error_of({});
  };
  EXPECT_TRUE(train(config_, observer_).completed);
  EXPECT_THAT(refused, AllOf(HasSubstr(config_.output), HasSubstr("another training run")));
}

TEST_F(TrainTest, WhatKilledRunsLeftIsRemoved) {
  std::filesystem::create_directories(config_.output);
  std::ofstream(out("checkpoint.safetensors.lasnet-123-4.tmp")) << "half";
  std::ofstream(out("notes.tmp")) << "mine";
  std::ofstream(out("log.csv.20240101.tmp")) << "mine, too";
  train(config_, observer_);
  EXPECT_FALSE(std::filesystem::exists(out("checkpoint.safetensors.lasnet-123-4.tmp")));
  EXPECT_TRUE(std::filesystem::exists(out("notes.tmp")));
  EXPECT_TRUE(std::filesystem::exists(out("log.csv.20240101.tmp")));
}

TEST_F(TrainTest, SaysThatOtherThreadsGiveOtherDigits) {
  int polls = 0;
  observer_.should_stop = [&] { return ++polls == 3; };
  config_.threads = 1;
  ASSERT_FALSE(train(config_, observer_).completed);
  observer_.should_stop = {};
  std::vector<std::string> messages;
  observer_.on_message = [&](const std::string& text) { messages.push_back(text); };
  config_.resume = true;
  config_.threads = 2;
  train(config_, observer_);
  EXPECT_THAT(messages, Contains(HasSubstr("the run was on 1 threads; on 2")));
}

TEST_F(TrainTest, ReportsEveryStep) {
  std::vector<StepInfo> steps;
  observer_.on_step = [&](const StepInfo& info) { steps.push_back(info); };
  train(config_, observer_);
  std::vector<std::string> phases;
  for (const StepInfo& info : steps) {
    if (phases.empty() || phases.back() != info.phase) phases.push_back(info.phase);
    EXPECT_LE(info.step, info.steps);
    EXPECT_GT(info.images_per_s, 0);
  }
  EXPECT_THAT(phases, ElementsAre("pretrain", "evaluate", "finetune", "evaluate"));
  EXPECT_EQ(steps[0].step, 0) << "before the first step";
  EXPECT_EQ(steps[1].step, 1);
  EXPECT_EQ(steps[0].steps, 4);
  EXPECT_GT(steps[0].seconds_left, 0);
  for (size_t i = 1; i < steps.size(); ++i) {
    if (steps[i].images_per_s != steps[i - 1].images_per_s) continue;
    EXPECT_LE(steps[i].seconds_left, steps[i - 1].seconds_left);
  }
  EXPECT_EQ(steps.back().seconds_left, 0);
}

/// Files beyond `bytes` cannot be written while it lives: what a full disk looks like to a writer.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(TrainTest, AFullDiskKeepsTheOldCheckpoint) {
  std::filesystem::create_directories(config_.output);
  std::string path = out("checkpoint.safetensors");
  Checkpoint checkpoint;
  checkpoint.classes = {"a", "b"};
  checkpoint.state.phase = "pretrain";
  checkpoint.state.results["pretrain"] = {.top1 = 0.1, .rates = {0.3}, .predicted_ms = {}, .measured_ms = {}};
  checkpoint.weights["w"] = Tensor({1000}, 1.0f);
  checkpoint.momentum["w"] = Tensor({1000}, 0.1f);
  save_checkpoint(checkpoint, path);
  std::string before = read_text(path);
  checkpoint.state.epoch = 1;
  {
    FileSizeLimit limit(2000);
    EXPECT_THROW(save_checkpoint(checkpoint, path), Error);
  }
  EXPECT_EQ(read_text(path), before);
  Checkpoint loaded = load_checkpoint(path).value();
  EXPECT_EQ(loaded.state.epoch, 0);
  EXPECT_EQ(loaded.weights, checkpoint.weights);
  EXPECT_EQ(loaded.momentum, checkpoint.momentum);
  EXPECT_EQ(loaded.state.results.at("pretrain").rates, std::vector<double>{0.3});
}

TEST(ConstantMasksTest, NamesThoseOfAllImages) {
  MaskStatistics masks{.blocks = {"empty", "full", "varied", "middle", "nearly"},
                       .mean = {0.0, 1.0, 0.995, 0.5, 0.999},
                       .std = {0.0, 0.0, 0.05, 0.0, 0.001}};
  EXPECT_THAT(constant_masks(masks, 0.1).empty, ElementsAre("empty"));
  EXPECT_TRUE(constant_masks(masks, 0.1).full.empty()) << "as all are at the start";
  EXPECT_THAT(constant_masks(masks, 0.9).empty, ElementsAre("empty"));
  EXPECT_THAT(constant_masks(masks, 0.9).full, ElementsAre("full", "nearly"));
}

Evaluation guesses(double top1, int64_t images) {
  Evaluation evaluation;
  evaluation.top1 = top1;
  evaluation.images = images;
  return evaluation;
}

TEST(ChanceWarning, IsOfAccuraciesThatGuessingHas) {
  const Preprocessing preprocessing{.mean = {0, 0, 0}, .std = {1, 1, 1}};
  EXPECT_THAT(chance_warning(guesses(0.0012, 5000), 1000, preprocessing),
              AllOf(HasSubstr("0.1 %"), HasSubstr("mean 0,0,0"), HasSubstr("deviation 1,1,1"),
                    HasSubstr("`mean`"), HasSubstr("`std`")));
  EXPECT_TRUE(chance_warning(guesses(0.02, 5000), 1000, preprocessing).empty());
  EXPECT_TRUE(chance_warning(guesses(0.9, 16), 2, preprocessing).empty());
  EXPECT_FALSE(chance_warning(guesses(0.6, 16), 2, preprocessing).empty());
}

TEST_F(TrainTest, TheFirstNewsAreThePlanAndTheStaticNetwork) {
  start_from_static();
  std::vector<std::string> order;
  TrainPlan plan;
  observer_.on_plan = [&](const TrainPlan& told) { plan = told, order.push_back("plan"); };
  observer_.on_message = [&](const std::string& text) {
    if (text.find("before the first step: top-1") != std::string::npos) order.push_back("static");
  };
  observer_.on_step = [&](const StepInfo& info) {
    if (info.phase == "finetune" && order.back() != "steps") order.push_back("steps");
  };
  config_.control_epochs = 2;
  train(config_, observer_);
  EXPECT_THAT(order, ElementsAre("plan", "static", "steps"));
  ASSERT_EQ(plan.parts.size(), 2u);
  EXPECT_EQ(plan.parts[0].phase, "control");
  EXPECT_EQ(plan.parts[0].epochs, 2);
  EXPECT_EQ(plan.steps_per_epoch, 4);
  EXPECT_EQ(plan.threads, 1);
  // Three epochs of 32 images, and evaluations of 16.
  EXPECT_NEAR(plan.seconds * plan.images_per_s, 3 * (32 + 16.0 / 3), 1e-6);
}

TEST_F(TrainTest, TheProbeChangesNothing) {
  config_.alpha_distill = 0;
  train(config_, observer_);
  const std::string first = read_text(out("model.safetensors"));
  config_.overwrite = true;
  begin(6);
  config_.overwrite = false;
  train(config_, observer_);
  EXPECT_EQ(read_text(out("model.safetensors")), first) << "probed twice";
}

TEST_F(TrainTest, AStaticNetworkThatGuessesIsWarnedOf) {
  config_.pretrain_lr = 1e-9;
  start_from_static();
  train(config_, observer_);
  EXPECT_THAT(warnings_, Contains(AllOf(HasSubstr("guessing"), HasSubstr("`mean`"))));
}

TEST_F(TrainTest, ResumingMaySayWhatTheRunHasAnyway) {
  begin();
  config_.mean = Preprocessing().mean;
  config_.std = Preprocessing().std;
  EXPECT_TRUE(train(config_, observer_).completed);
}

TEST_F(TrainTest, AStaticNetworkWithoutFiniteLogitsIsRefused) {
  start_from_static();
  Model model = load_model(config_.init);
  for (float& weight : model.weights.at(model.spec.head_name + ".weight").data) weight = 3e38f;
  config_.init = folder_.path("huge.safetensors");
  save_model(model, config_.init);
  EXPECT_THAT(error(), AllOf(HasSubstr(config_.init), HasSubstr("loss on these images is not finite")));
}

TEST_F(TrainTest, OneOfSeveralStateDictsIsReadAndNamed) {
  start_from_static();
  const Model model = load_model(config_.init);
  Weights averaged = model.weights;
  averaged.at("conv1.weight").data[0] = 1;
  const std::string checkpoint = test::make_checkpoint({{"model", model.weights}, {"model_ema", averaged}});
  config_.init = folder_.path("several.pth");
  std::ofstream(config_.init, std::ios::binary) << checkpoint;
  config_.epochs = 1;
  train(config_, observer_);
  EXPECT_THAT(warnings_,
              Contains(AllOf(HasSubstr("are those of 'model'"), HasSubstr("model_ema (`state_dict`"))));
  config_.state_dict = "model_ema";
  config_.overwrite = true;
  train(config_, observer_);
  EXPECT_EQ(load_model(out("static.safetensors")).weights.at("conv1.weight").data[0], 1);
}

TEST_F(TrainTest, GivenMeanAndDeviationAreUsedAndKept) {
  config_.mean = {0, 0.5f, 1};
  config_.std = {1, 1, 0.5f};
  const TrainResult result = train(config_, observer_);
  EXPECT_EQ(load_model(result.model_path).preprocessing.mean, config_.mean);
  EXPECT_EQ(load_model(result.model_path).preprocessing.std, config_.std);
}

TEST_F(TrainTest, ATargetThatIsMissedIsForetoldAndSaid) {
  config_.target = 0.5;
  const TrainResult result = train(config_, observer_);
  EXPECT_THAT(warnings_, Contains(AllOf(HasSubstr("too few for the maskers"), HasSubstr("target of 50 %"))));
  EXPECT_EQ(result.target, 0.5);
  EXPECT_GT(result.dynamic_eval.macs_ratio, 0.9);
  EXPECT_FALSE(result.target_met);
  EXPECT_THAT(result.advice, HasSubstr("`masker_lr_multiplier`"));
}

TEST_F(TrainTest, ADynamicModelsMaskersGoOn) {
  config_.masker_bias = 0.5f;
  train(config_, observer_);
  const std::string dynamic = out("model.safetensors");
  config_.init = dynamic;
  config_.output = folder_.path("second");
  EXPECT_THAT(error(),
              AllOf(HasSubstr(dynamic), HasSubstr("`fresh_maskers`"), HasSubstr("`masker_bias` 0.5")));
  config_.masker_bias = 0;
  config_.lr = 1e-9;
  TrainResult result = train(config_, observer_);
  EXPECT_THAT(messages_,
              AllOf(HasSubstr("its maskers are kept"), HasSubstr("without masks are the teacher")));
  const Weights before = load_model(dynamic).weights, after = load_model(result.model_path).weights;
  const std::string masker = "layer1.0.masker.conv2.bias";
  EXPECT_NEAR(after.at(masker).data[0], before.at(masker).data[0], 1e-4);
  EXPECT_LT(after.at(masker).data[0], 2);

  config_.output = folder_.path("third");
  config_.fresh_maskers = true;
  messages_.clear();
  result = train(config_, observer_);
  EXPECT_THAT(messages_, HasSubstr("its maskers are left out"));
  EXPECT_NEAR(load_model(result.model_path).weights.at(masker).data[0], 5, 1e-3);

  config_.output = folder_.path("fourth");
  config_.fresh_maskers = false;
  config_.arch.granularity = {2, 2, 2, 1};
  messages_.clear();
  train(config_, observer_);
  EXPECT_THAT(messages_, HasSubstr("though they were trained for S = 4-4-2-1"));
}

TEST_F(TrainTest, MaskersThatConversionMadeAreNoStart) {
  train(config_, observer_);
  Model converted = load_model(out("model.safetensors"));
  for (auto& [name, values] : converted.weights) {
    if (name.ends_with("masker.conv2.weight")) std::ranges::fill(values.data, 0.0f);
  }
  config_.init = folder_.path("converted.safetensors");
  save_model(converted, config_.init);
  config_.output = folder_.path("second");
  config_.masker_bias = 2;
  const TrainResult result = train(config_, observer_);
  EXPECT_THAT(messages_, testing::Not(HasSubstr("maskers are kept")));
  EXPECT_NEAR(load_model(result.model_path).weights.at("layer1.0.masker.conv2.bias").data[0], 2, 0.1);
}

TEST_F(TrainTest, TheModelNamesWhatItWasMadeFrom) {
  start_from_static();
  config_.teacher = config_.init;
  const TrainResult result = train(config_, observer_);
  const auto facts = nlohmann::json::parse(load_model(result.model_path).training_json);
  for (const char* origin : {"init", "teacher"}) {
    EXPECT_EQ(facts.at(origin).at("file"), "static.safetensors");
    EXPECT_EQ(facts.at(origin).at("sha256"), digest_of_file(config_.init));
  }
}

TEST_F(TrainTest, AResumedRunHasTheTeacherThatItBeganWith) {
  start_from_static();
  const std::string other = folder_.path("teacher.safetensors");
  std::filesystem::copy_file(folder_.path("out/model.safetensors"), other);
  config_.teacher = other;
  begin();
  config_.teacher.clear();
  EXPECT_THAT(error(), AllOf(HasSubstr("`teacher` " + other), HasSubstr("now it is none")));
  config_.teacher = config_.init;
  EXPECT_THAT(error(), HasSubstr("`teacher` " + other));
  config_.teacher = folder_.path("moved.safetensors");
  std::filesystem::rename(other, config_.teacher);
  EXPECT_TRUE(train(config_, observer_).completed) << "the same file elsewhere";
}

TEST_F(TrainTest, AResumedRunStartedFromTheSameWeights) {
  config_.mean = {0.5f, 0.5f, 0.5f};
  start_from_static();
  config_.mean.clear();
  begin();
  const std::string init = config_.init;
  config_.init.clear();
  EXPECT_THAT(error(), AllOf(HasSubstr("`init` " + init), HasSubstr("now it is none")));
  config_.init = init;
  Model changed = load_model(init);
  changed.weights.at("fc.bias").data[0] += 1;
  save_model(changed, init);
  EXPECT_THAT(error(), HasSubstr("`init`"));
}

TEST_F(TrainTest, APreTrainingDoesNotGoOnFromWeights) {
  train(config_, observer_);
  const std::string weights = out("static.safetensors");
  config_.output = folder_.path("second");
  config_.pretrain_epochs = 3;
  begin();
  config_.init = weights;
  EXPECT_THAT(error(), AllOf(HasSubstr("`init` none"), HasSubstr(weights)));
}

TEST_F(TrainTest, TheFolderOfARunKnowsItsConfiguration) {
  EXPECT_FALSE(resumed_config(config_.output));
  config_.pretrain_epochs = 2;
  config_.lr = 0.3;
  begin();
  TrainConfig stored = resumed_config(config_.output).value();
  EXPECT_EQ(stored.lr, 0.3);
  EXPECT_EQ(stored.data, config_.data);
  EXPECT_EQ(stored.threads, 1);
  EXPECT_FALSE(stored.resume);
  stored.resume = true;
  EXPECT_TRUE(train(stored, observer_).completed);
}

TEST_F(TrainTest, ImagesThatWereReplacedAreNamed) {
  config_.pretrain_epochs = 3;
  begin();
  const std::string image = folder_.path("train/red/3.png");
  const auto time = std::filesystem::last_write_time(image);
  std::filesystem::last_write_time(image, time + std::chrono::seconds(5));
  begin();
  EXPECT_THAT(warnings_, Contains(AllOf(HasSubstr("written again"), HasSubstr("train/red/3.png"))));
  std::filesystem::copy_file(folder_.path("train/blue/3.png"), image,
                             std::filesystem::copy_options::overwrite_existing);
  std::ofstream(image, std::ios::app) << "longer";
  EXPECT_THAT(error(), AllOf(HasSubstr("other data"), HasSubstr("train/red/3.png (")));
}

TEST_F(TrainTest, ADryRunPlansAndWritesNothing) {
  config_.dry_run = true;
  std::optional<TrainPlan> plan;
  observer_.on_plan = [&](const TrainPlan& told) { plan = told; };
  EXPECT_FALSE(train(config_, observer_).completed);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->steps_per_epoch, 4);
  EXPECT_GT(plan->epoch_seconds, 0);
  EXPECT_GT(plan->memory_bytes, 1 << 20);
  EXPECT_FALSE(exists(config_.output));
}

TEST_F(TrainTest, AdamWLearnsAndIsResumedBitForBit) {
  config_.optimizer = TrainOptimizer::adamw;
  config_.pretrain_epochs = 4;
  config_.pretrain_lr = 0.1;
  config_.clip_norm = 1;
  train(config_, observer_);
  const std::string expected = read_text(out("model.safetensors"));
  EXPECT_LT(epochs_[3].train_loss, epochs_[0].train_loss);
  config_.output = folder_.path("interrupted");
  begin(7);
  train(config_, observer_);
  EXPECT_EQ(read_text(out("model.safetensors")), expected);
}

TEST_F(TrainTest, TheAverageOfTheWeightsIsTheResultAndIsResumedBitForBit) {
  config_.pretrain_epochs = 3;
  train(config_, observer_);
  const Weights last = load_model(out("static.safetensors")).weights;
  config_.output = folder_.path("averaged");
  config_.ema = 0.5;
  train(config_, observer_);
  const std::string expected = read_text(out("model.safetensors"));
  const Weights averaged = load_model(out("static.safetensors")).weights;
  EXPECT_NE(averaged.at("fc.weight").data, last.at("fc.weight").data);
  config_.output = folder_.path("interrupted");
  config_.resume = true;
  int runs = 0;
  bool done = false;
  while (!done) {
    ASSERT_LT(++runs, 30);
    observer_.should_stop = [polls = 4]() mutable { return --polls == 0; };
    done = train(config_, observer_).completed;
  }
  EXPECT_GT(runs, 4);
  EXPECT_EQ(read_text(out("model.safetensors")), expected);
}

TEST_F(TrainTest, CheckpointsAreWrittenWithinEpochsByStepsAndByTime) {
  config_.epochs = 1;
  const auto written = [&](double minutes, int steps) {
    config_.checkpoint_minutes = minutes;
    config_.checkpoint_steps = steps;
    config_.overwrite = true;
    std::set<std::string> positions;
    observer_.on_step = [&](const StepInfo& info) {
      const auto found = load_checkpoint(out("checkpoint.safetensors"));
      if (found && info.phase == "finetune" && found->state.phase == "finetune")
        positions.insert(std::to_string(found->state.step));
    };
    train(config_, observer_);
    return positions;
  };
  EXPECT_THAT(written(0, 0), ElementsAre());
  EXPECT_THAT(written(0, 2), ElementsAre("2"));
  EXPECT_THAT(written(1e-9, 0), ElementsAre("1", "2", "3"));
}

TEST_F(TrainTest, ADamagedCheckpointGivesWayToTheOneBefore) {
  config_.pretrain_epochs = 4;
  begin(20);
  ASSERT_TRUE(exists(out("checkpoint.previous.safetensors")));
  {
    std::fstream file(out("checkpoint.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x7f');
  }
  EXPECT_TRUE(train(config_, observer_).completed);
  EXPECT_THAT(warnings_, Contains(AllOf(HasSubstr("damaged"), HasSubstr("checkpoint before"))));
  EXPECT_FALSE(exists(out("checkpoint.previous.safetensors"))) << "the run is finished";
}

TEST_F(TrainTest, ATeacherIsCheckedBeforeTheFirstStep) {
  train(config_, observer_);
  Model teacher = load_model(out("static.safetensors"));
  config_.output = folder_.path("second");
  config_.teacher = folder_.path("teacher.safetensors");
  int steps = 0;
  observer_.on_step = [&](const StepInfo&) { ++steps; };
  const auto refused = [&] {
    save_model(teacher, config_.teacher);
    return error();
  };
  teacher.class_names = {"blue", "rot"};
  EXPECT_THAT(refused(),
              AllOf(HasSubstr(config_.teacher), HasSubstr("class 1 is 'rot', that of the data 'red'")));
  teacher.class_names.clear();
  teacher.preprocessing.mean = {0, 0, 0};
  EXPECT_THAT(refused(), AllOf(HasSubstr("mean 0,0,0"), HasSubstr("`mean`")));
  std::ofstream(config_.teacher) << "garbage";
  EXPECT_THAT(error(), HasSubstr(config_.teacher));
  EXPECT_EQ(steps, 0);

  teacher.preprocessing = load_model(folder_.path("out/static.safetensors")).preprocessing;
  teacher.preprocessing.crop = 40, teacher.preprocessing.resize = 44;
  save_model(teacher, config_.teacher);
  EXPECT_TRUE(train(config_, observer_).completed);
  EXPECT_THAT(warnings_, Contains(HasSubstr("trained on 40 px and sees 32 px")));
}

}  // namespace
}  // namespace lasnet
