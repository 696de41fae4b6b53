// `lasnet train` on a tiny data set: what it writes, that it can be interrupted, and what it refuses.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>

#include "base/random.h"
#include "fixtures.h"
#include "formats/safetensors.h"
#include "predict/host_profile.h"
#include "program.h"
#include "support/cache_folder.h"
#include "train/config.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class TrainTest : public ProgramTest {
 protected:
  void SetUp() override { write_image_folder(folder_.path("data"), 6, 3); }

  /// A tiny training run; an option in `extra` takes the place of the one here.
  std::vector<std::string> arguments(const std::vector<std::string>& extra) const {
    const std::vector<std::pair<std::string, std::string>> defaults = {{"--data", folder_.path("data")},
                                                                       {"--arch", "resnet18"},
                                                                       {"--width", "0.125"},
                                                                       {"--stem", "small"},
                                                                       {"--size", "32"},
                                                                       {"--granularity", "4-4-2-1"},
                                                                       {"--batch", "4"},
                                                                       {"--threads", "1"},
                                                                       {"-o", folder_.path("out")}};
    std::vector<std::string> all = {"train"};
    for (const auto& [option, value] : defaults) {
      if (std::find(extra.begin(), extra.end(), option) == extra.end())
        all.insert(all.end(), {option, value});
    }
    all.insert(all.end(), extra.begin(), extra.end());
    return all;
  }

  std::string path(const std::string& name) const { return folder_.path("out/" + name); }
};

TEST_F(TrainTest, WritesAModelThatRuns) {
  const auto trained = run_program(arguments({"--epochs", "1", "--pretrain-epochs", "1", "--json"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto json = trained.json();
  EXPECT_EQ(json.at("dynamic_eval").at("images"), 6);
  EXPECT_EQ(json.at("dynamic_eval").at("rates").size(), 8u);
  EXPECT_EQ(json.at("target"), 0.5);
  EXPECT_EQ(json.at("reached"), json.at("dynamic_eval").at("macs_ratio"));
  EXPECT_EQ(json.at("target_met"), false);
  EXPECT_THAT(json.at("advice").get<std::string>(), HasSubstr("--masker-lr-multiplier"));

  const auto evaluated = run_program({"eval", json.at("model"), folder_.path("data"), "--json"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_EQ(evaluated.json().at("top1"), json.at("dynamic_eval").at("top1"));
  EXPECT_NEAR(evaluated.json().at("macs_ratio").get<double>(),
              json.at("dynamic_eval").at("macs_ratio").get<double>(), 1e-3);
  const auto stat = run_program({"inspect", json.at("static"), "--json"});
  ASSERT_EQ(stat.exit_code, 0) << stat.err;
  EXPECT_EQ(stat.json().at("arch").at("granularity"), "static");

  const auto again = run_program(arguments({"--epochs", "1", "--pretrain-epochs", "1"}));
  EXPECT_THAT(trained.err, testing::Not(HasSubstr("cannot be met")));
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, testing::AllOf(HasSubstr(path("model.safetensors")), HasSubstr("--overwrite")));
}

TEST_F(TrainTest, KilledRunsAndFullDisksCostTheStepsSinceTheCheckpointAlone) {
  const std::vector<std::string> run = {"--epochs",           "6", "--pretrain-epochs", "80",
                                        "--checkpoint-steps", "1"};
  ASSERT_EQ(run_program(arguments(run)).exit_code, 0);
  const Weights expected = load_model(path("model.safetensors")).weights;
  const std::vector<std::string> resume = with({"--resume", "-o", folder_.path("killed")}, run);
  Random random(7);
  int kills = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto begun = std::chrono::steady_clock::now();
    const std::chrono::milliseconds delay(300 + static_cast<int>(random.below(500)));
    const auto killed =
        run_program(arguments(resume),
                    {.interrupt_when =
                         [&](const std::string&) { return std::chrono::steady_clock::now() - begun > delay; },
                     .interrupt_signal = SIGKILL});
    if (killed.exit_code == 0) break;
    ASSERT_EQ(killed.exit_code, 128 + SIGKILL) << killed.err;
    ++kills;
    const auto full = run_program(arguments(resume), {.file_size_limit = 8192});
    if (full.exit_code == 0) break;  // it was killed after its last checkpoint
    EXPECT_THAT(full.err, HasSubstr("killed/"));
  }
  EXPECT_GT(kills, 0);
  const auto last = run_program(arguments(resume));
  ASSERT_EQ(last.exit_code, 0) << last.err;
  EXPECT_EQ(load_model(folder_.path("killed/model.safetensors")).weights, expected);
}

TEST_F(TrainTest, ADynamicModelSaysItsGranularity) {
  const std::string init = folder_.path("dynamic.safetensors");
  save_model(tiny_model({4, 2, 2, 1}), init);
  const auto trained = run_program({"train", "--data", folder_.path("data"), "-o", folder_.path("out"),
                                    "--init", init, "--batch", "4", "--threads", "1", "--epochs", "1"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(load_model(path("model.safetensors")).spec.arch.granularity, testing::ElementsAre(4, 2, 2, 1));
}

TEST_F(TrainTest, WeightsThatDescribeTheirNetworkNeedNoArchitecture) {
  const std::string init = folder_.path("static.safetensors"), plain = folder_.path("plain.safetensors");
  Model start = tiny_model({});
  start.preprocessing = {.resize = 40, .crop = 32, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.5f, 0.25f, 0.125f}};
  save_model(start, init);
  const auto train = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {"train",
                                    "--data",
                                    folder_.path("data"),
                                    "-o",
                                    folder_.path("out"),
                                    "--granularity",
                                    "4-4-2-1",
                                    "--batch",
                                    "4",
                                    "--threads",
                                    "1",
                                    "--epochs",
                                    "1"};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  };
  const auto trained = train({"--init", init});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const Model model = load_model(path("model.safetensors"));
  ArchConfig arch = model.spec.arch;
  arch.granularity.clear();
  EXPECT_EQ(arch, start.spec.arch);
  EXPECT_TRUE(model.preprocessing == start.preprocessing) << "its images are seen as before";

  ASSERT_EQ(train({"--init", init, "--size", "48", "--overwrite"}).exit_code, 0);
  EXPECT_EQ(load_model(path("model.safetensors")).preprocessing.resize, 48 * 256 / 224) << "not the file's";

  const auto again = train({"--init", init});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, testing::AllOf(HasSubstr("a finished run"), HasSubstr("overwrite")));
  const auto other = train({"--init", init, "--arch", "resnet34", "--overwrite"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("its network is resnet18 (width 0.125"));
  write_safetensors({tiny_model({}).weights, {}}, plain, DType::f32);
  const auto unnamed = train({"--init", plain, "--overwrite"});
  EXPECT_EQ(unnamed.exit_code, 2);
  EXPECT_THAT(unnamed.err, testing::AllOf(HasSubstr("--arch is missing"), HasSubstr(plain)));
}

TEST_F(TrainTest, AutoGranularityAsksTheSearch) {
  const std::vector<std::string> chosen_for_v100 = {"--granularity",     "auto", "--hardware", "v100",
                                                    "--pretrain-epochs", "1",    "--epochs",   "1"};
  auto report = chosen_for_v100;
  report.push_back("--json");
  const auto trained = run_program(arguments(report));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto found = run_program({"search", "resnet18", "--width", "0.125", "--stem", "small", "--size", "32",
                                  "--hardware", "v100", "--macs", "0.5", "--json"});
  ASSERT_EQ(found.exit_code, 0) << found.err;
  const std::string granularity = found.json().at("granularity");
  EXPECT_THAT(trained.err, HasSubstr("granularity " + granularity + " chosen for v100"));
  const auto model = run_program({"inspect", trained.json().at("model"), "--json"});
  EXPECT_EQ(model.json().at("arch").at("granularity"), granularity);

  auto resumed = chosen_for_v100;
  resumed.push_back("--resume");
  const auto again = run_program(arguments(resumed));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("the run is finished"));

  const auto unknown = run_program(arguments({"--granularity", "auto", "--hardware", "v10"}));
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("v100"));
  EXPECT_EQ(run_program(arguments({"--hardware", "v100"})).exit_code, 2) << "S is given";
}

TEST_F(TrainTest, ABudgetInMillisecondsIsComparedWithWhatIsPredicted) {
  const std::vector<std::string> budget = {"--budget-ms", "0.06", "--hardware",        "cpu-avx2",
                                           "--epochs",    "1",    "--pretrain-epochs", "1"};
  const auto trained = run_program(arguments(budget));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(
      trained.out,
      testing::AllOf(HasSubstr("budget 0.06 ms on cpu-avx2, batches of 1, fp32: predicted "),
                     HasSubstr("static network predicted 0.08 ms"), testing::Not(HasSubstr("measured"))));
  const auto resumed = run_program({"train", "--resume", "-o", folder_.path("out"), "--json"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(resumed.json().at("budget_ms"), 0.06);
  EXPECT_EQ(resumed.json().at("target"), nullptr);
  EXPECT_GT(resumed.json().at("dynamic_eval").at("predicted_ms").get<double>(), 0);

  const auto refused = [&](std::vector<std::string> extra, const std::string& message) {
    extra.insert(extra.end(), {"--overwrite"});
    const auto result = run_program(arguments(extra));
    EXPECT_EQ(result.exit_code, 2) << message;
    EXPECT_THAT(result.err, HasSubstr(message));
  };
  refused({"--budget-ms", "0.08", "--target", "0.5"}, "--target and --budget-ms: expected one of the two");
  refused({"--budget-ms", "0.001", "--hardware", "cpu-avx2"}, "give at least that");
  refused({"--budget-ms", "5", "--hardware", "cpu-avx2"}, "give at most that");
  refused({"--budget-ms", "5", "--hardware", "tx3"}, "tx2");
  refused({"--budget-ms", "5", "--deploy-precision", "fp16"}, "fp16");
  refused({"--deploy-batch", "4"}, "it only with --budget-ms or --granularity auto");

  // An option wins over the file.
  const std::string file = folder_.path("budget.toml");
  write_text(file, "budget_ms = 0.06\nhardware = \"cpu-avx2\"\n");
  const auto mixed =
      run_program(arguments({"--config", file, "--target", "0.5", "--dry-run", "--overwrite"}));
  EXPECT_EQ(mixed.exit_code, 1) << "the file's hardware has no meaning without its budget";
  EXPECT_THAT(mixed.err, HasSubstr("--hardware cpu-avx2 is not allowed"));
  write_text(file, "target = 0.5\n");
  auto wins = budget;
  wins.insert(wins.end(), {"--config", file, "--dry-run", "--overwrite"});
  EXPECT_EQ(run_program(arguments(wins)).exit_code, 0);
}

TEST_F(TrainTest, AutoGranularitySaysThatACalibrationIsDamaged) {
  const CacheFolder cache;
  const std::string profile = cached_profile_path(available_isas().back());
  write_text(profile, "kind = ");
  const auto trained =
      run_program(arguments({"--granularity", "auto", "--pretrain-epochs", "1", "--epochs", "1"}));
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(trained.err, HasSubstr(profile));
  EXPECT_THAT(trained.err, HasSubstr("the shipped profile is used"));
}

TEST_F(TrainTest, CtrlCSavesACheckpointThatResumes) {
  const std::vector<std::string> endless = {"--epochs", "1", "--pretrain-epochs", "100000"};
  const auto after_an_epoch = [](const std::string& err) {
    return err.find("pretrain 2/") != std::string::npos;
  };
  const auto first = run_program(arguments(endless), {.interrupt_when = after_an_epoch});
  EXPECT_EQ(first.exit_code, 130);
  EXPECT_THAT(first.err, HasSubstr("saving after this step; once more to quit"));
  EXPECT_THAT(first.err, HasSubstr("`lasnet train --resume -o " + folder_.path("out") + "` goes on"));

  const std::vector<std::string> resumed = {"train", "--resume", "-o", folder_.path("out")};
  const auto any_epoch = [](const std::string& err) { return err.find("pretrain ") != std::string::npos; };
  const auto second = run_program(resumed, {.interrupt_when = any_epoch, .interrupt_signal = SIGHUP});
  EXPECT_EQ(second.exit_code, 130) << "a terminal that was closed";
  EXPECT_THAT(second.err, testing::Not(HasSubstr("pretrain 1/")));
  EXPECT_THAT(second.err, HasSubstr("resuming pretrain"));

  const auto other = run_program(with(resumed, {"--batch", "5"}));
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("started with --batch 4, now it is 5"));
}

TEST_F(TrainTest, ResumingNeedsARun) {
  const auto result = run_program({"train", "--resume", "-o", folder_.path("out")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr(folder_.path("out") + " holds no checkpoint"));
}

TEST_F(TrainTest, SaysWhatItDoesBeforeItDoesIt) {
  const auto result = run_program(arguments({"--epochs", "2", "--pretrain-epochs", "1", "--target", "0.5"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  size_t at = 0;
  for (const char* expected :
       {"training on 1 thread of", "plan: 1 epoch of pretrain, 2 epochs of finetune; 3 steps",
        "images/s, measured on a few: all of it takes about", "too few for the maskers",
        "pretrain 1/1  step 1 of 3 begins", "finetune 1/2  step 1 of 3 begins", "with noise, in training"}) {
    const size_t found = result.err.find(expected, at);
    ASSERT_NE(found, std::string::npos) << expected << " in\n" << result.err;
    at = found;
  }
  const std::string last = result.out.substr(result.out.rfind('\n', result.out.size() - 2) + 1);
  EXPECT_THAT(last, testing::AllOf(testing::StartsWith("target 50.0 % of the MACs, reached "),
                                   HasSubstr("not met; "), HasSubstr("--masker-lr-multiplier")));
}

TEST_F(TrainTest, WeightsOfImageNetsStemSeeTheSizeOfImageNet) {
  const std::string plain = folder_.path("plain.safetensors"), teacher = folder_.path("teacher.safetensors");
  ArchConfig arch = tiny_model({}).spec.arch;
  arch.stem = StemKind::imagenet;
  write_safetensors({random_weights(make_spec(arch), 1), {}}, plain, DType::f32);
  write_text(teacher, "no model");
  // The teacher ends the run once the images are read.
  const auto read_images = [&](const std::vector<std::string>& more) {
    const std::vector<std::string> all = {"train",
                                          "--data",
                                          folder_.path("data"),
                                          "-o",
                                          folder_.path("out"),
                                          "--init",
                                          plain,
                                          "--arch",
                                          arch.name,
                                          "--width",
                                          "0.125",
                                          "--teacher",
                                          teacher,
                                          "--granularity",
                                          "4-4-2-1"};
    const auto result = run_program(with(all, more));
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(teacher));
    return result.err;
  };
  EXPECT_THAT(read_images({}), HasSubstr("decoding for 224 px"));
  EXPECT_THAT(read_images({"--size", "64"}), HasSubstr("decoding for 64 px"));
}

TEST_F(TrainTest, OptionsWinOverTheFile) {
  write_text(folder_.path("c.toml"), "epochs = 1\npretrain_epochs = 7\n");
  const auto result =
      run_program(arguments({"--config", folder_.path("c.toml"), "--pretrain-epochs", "1", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("pretrain 1/1"));
  EXPECT_THAT(result.err, HasSubstr("finetune 1/1"));
}

TEST_F(TrainTest, EveryKeyOfTheConfigurationIsAnOption) {
  const auto help = run_program({"train", "--help"}).out;
  const TrainConfig config;
  visit_fields(config, [&](std::string key, const auto&) {
    std::replace(key.begin(), key.end(), '_', '-');
    EXPECT_THAT(help, testing::AnyOf(HasSubstr("--" + key + " "), HasSubstr("--no-" + key + " "))) << key;
  });
}

TEST_F(TrainTest, WrongUse) {
  EXPECT_EQ(run_program({"train", "-o", folder_.path("out")}).exit_code, 2);
  EXPECT_EQ(run_program({"train", "--data", folder_.path("data")}).exit_code, 2);
  EXPECT_THAT(run_program({"train", "--granularity", "4-4-2-1"}).err,
              HasSubstr("--data is missing: give the"));
  EXPECT_THAT(run_program(arguments({"--granularity", "static"})).err,
              HasSubstr("--granularity is missing or static; expected S per stage"));
  EXPECT_THAT(run_program(arguments({"--masker-lr-multiplier", "-1"})).err,
              HasSubstr("--masker-lr-multiplier -1 is not allowed"));
  const auto refuse = [&](const std::string& option, const std::string& value) {
    const auto result = run_program(arguments({option, value}));
    EXPECT_EQ(result.exit_code, 2) << option;
    EXPECT_THAT(result.err, HasSubstr(value));
  };
  refuse("--arch", "resnet19");
  refuse("--granularity", "0-4-2-1");
  refuse("--target", "1.5");
  const std::string file = folder_.path("c.toml");
  write_text(file, "target = 1.5\n");
  const auto of_file = run_program(arguments({"--config", file}));
  EXPECT_EQ(of_file.exit_code, 1);
  EXPECT_THAT(of_file.err, HasSubstr(file + ": --target 1.5 is not allowed"));
  for (const char* content : {"epoch = 3\n", "epochs = = 3\n", "\xff"}) {
    write_text(file, content);
    const auto result = run_program(arguments({"--config", file}));
    EXPECT_EQ(result.exit_code, 1) << content;
    EXPECT_THAT(result.err, HasSubstr(file));
  }
  refuse("--weight-decay", "1e+300");
  refuse("--mean", "0.5,0.5");
  refuse("--epochs", "many");
  EXPECT_FALSE(fs::exists(folder_.path("out")));
}

TEST_F(TrainTest, BadDataIsRefusedBeforeAnythingIsWritten) {
  const auto refuse = [&](const std::vector<std::string>& extra, const std::string& message) {
    const auto result = run_program(arguments(extra));
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    const bool nothing = !fs::exists(folder_.path("out")) || folder_.entries("out").empty();
    EXPECT_TRUE(nothing) << message;
  };
  refuse({"--init", folder_.path("none.safetensors")}, "none.safetensors");
  refuse({"--teacher", folder_.path("none.pth")}, "none.pth");
  fs::create_directories(folder_.path("data/train/hollow"));
  fs::create_directories(folder_.path("data/val/hollow"));
  refuse({}, "hollow");
  fs::remove_all(folder_.path("data/train/hollow"));
  fs::remove_all(folder_.path("data/val/hollow"));
  fs::remove_all(folder_.path("data/train/disc"));
  fs::remove_all(folder_.path("data/val/disc"));
  refuse({}, "class");
  fs::remove_all(folder_.path("data"));
  refuse({}, "data");
}

TEST_F(TrainTest, AFullDiskIsAnErrorAndLeavesNoHalfFile) {
  const auto result =
      run_program(arguments({"--epochs", "1", "--pretrain-epochs", "1"}), {.file_size_limit = 8192});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("error:"));
  EXPECT_FALSE(fs::exists(path("model.safetensors")));
  for (const auto& name : folder_.entries("out")) EXPECT_THAT(name, testing::Not(HasSubstr("tmp")));
}

}  // namespace
}  // namespace lasnet::test
