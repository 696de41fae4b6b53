// `lasnet bench`: what it reports, not how fast anything is.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "fixtures.h"
#include "lasnet/engine.h"
#include "program.h"

namespace lasnet::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> kTiny = {"bench",    "resnet18", "--width", "0.125",  "--classes",
                                        "5",        "--stem",   "small",   "--size", "64x48",
                                        "--repeat", "3",        "--json"};

void expect_times(const json& times) {
  EXPECT_GT(times.at("min_ms"), 0.0);
  EXPECT_GE(times.at("median_ms"), times.at("min_ms"));
}

void expect_quartiles(const json& q) {
  EXPECT_GT(q.at("q1"), 0.0);
  EXPECT_GE(q.at("median"), q.at("q1"));
  EXPECT_GE(q.at("q3"), q.at("median"));
}

class BenchTest : public ProgramTest {};

TEST_F(BenchTest, ReportsStagesAndTheMaskersShare) {
  auto arguments = with(kTiny, {"--rate", "0.5", "--schedule", "masker=separate,gather=copied"});
  *std::ranges::find(arguments, "3") = "1";  // of one repetition, medians add up
  const auto result = run_program(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = result.json();
  EXPECT_THAT(report.at("schedule"), HasSubstr("masker=separate,gather=copied,scatter=in_place"));
  EXPECT_GT(report.at("masking_share").at("median"), 0.0);
  EXPECT_LT(report.at("masking_share").at("median"), 1.0);
  const json &stages = report.at("stages"), &blocks = report.at("blocks");
  ASSERT_EQ(stages.size(), 4);
  ASSERT_EQ(blocks.size(), 8);
  for (size_t s = 0; s < stages.size(); ++s) {
    for (const char* time : {"dense_ms", "sparse_ms"}) {
      const double of_blocks =
          blocks.at(2 * s).at(time).get<double>() + blocks.at(2 * s + 1).at(time).get<double>();
      EXPECT_NEAR(stages.at(s).at(time).get<double>(), of_blocks, 1e-9 * of_blocks) << s << time;
    }
  }
}

TEST_F(BenchTest, SweepWritesATableAndAPlot) {
  const auto result =
      run_program({"bench", "resnet18", "--width", "0.125", "--classes", "5", "--stem", "small", "--size",
                   "32", "--repeat", "1", "--sweep", folder_.path("sweep")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("faster up to r"));
  std::istringstream csv(read_text(folder_.path("sweep/resnet18.csv")));
  std::string line;
  int rows = 0;
  std::getline(csv, line);
  EXPECT_EQ(line, "stage,granularity,rate,dilated_rate,dense_ms,sparse_ms,speedup,theory_speedup");
  while (std::getline(csv, line)) ++rows;
  EXPECT_EQ(rows, 5 * 10 * 5);  // granularities, rates, stages and the network
  EXPECT_THAT(read_text(folder_.path("sweep/resnet18.svg")), HasSubstr("break-even"));
  for (const char* conflict : {"--rate", "--macs"}) {
    const auto refused =
        run_program({"bench", "resnet18", "--sweep", folder_.path("other"), conflict, "0.5"});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_FALSE(std::filesystem::exists(folder_.path("other")));
  }
}

TEST_F(BenchTest, ASweepThatCannotBeWrittenIsRefusedBeforeMeasuring) {
  write_text(folder_.path("file"), "in the way");
  const auto refused = run_program({"bench", "resnet18", "--sweep", folder_.path("file")});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr(folder_.path("file")));
  EXPECT_LT(refused.cpu_seconds, 3);
}

TEST_F(BenchTest, BadSchedulesAreRefused) {
  const auto result = run_program(with(kTiny, {"--schedule", "masker=fast"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("separate, incremental or with_conv1"));
}

TEST_F(BenchTest, JsonHasEveryField) {
  const auto result = run_program(with(kTiny, {"--granularity", "4-2-2-1", "--macs", "0.6", "--batch", "4"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = result.json();
  EXPECT_EQ(report.at("model"), "resnet18");
  EXPECT_EQ(report.at("granularity"), "4-2-2-1");
  EXPECT_EQ(report.at("input"), (json{4, 3, 64, 48}));
  EXPECT_EQ(report.at("threads"), 1);
  EXPECT_EQ(report.at("isa"), to_string(available_isas().back()));
  EXPECT_EQ(report.at("masks"), "random");
  EXPECT_EQ(report.at("repeat"), 3);
  EXPECT_GT(report.at("rate"), 0.2);
  EXPECT_LT(report.at("rate"), 0.9);
  EXPECT_NEAR(report.at("macs_ratio").get<double>(), 0.6, 0.1);
  expect_times(report.at("dense"));
  expect_times(report.at("sparse"));
  expect_quartiles(report.at("speedup"));
  expect_quartiles(report.at("dense_peak_share"));
  EXPECT_GT(report.at("peak_gflops"), 0.0);
  const double theory = report.at("theory_speedup");
  EXPECT_DOUBLE_EQ(theory, 1 / report.at("macs_ratio").get<double>());
  EXPECT_DOUBLE_EQ(report.at("efficiency"), report.at("speedup").at("median").get<double>() / theory);
  EXPECT_TRUE(report.at("baseline").is_null());
}

TEST_F(BenchTest, BlocksSayWhatWasComputed) {
  const auto result = run_program(with(kTiny, {"--granularity", "4-2-2-1", "--rate", "0.5"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = result.json();
  EXPECT_EQ(report.at("rate"), 0.5);
  const json& blocks = report.at("blocks");
  ASSERT_EQ(blocks.size(), 8u);
  EXPECT_EQ(blocks.at(2).at("name"), "layer2.0");
  EXPECT_EQ(blocks.at(2).at("granularity"), 2);
  for (const json& block : blocks) {
    EXPECT_GE(block.at("dilated_rate"), block.at("rate"));
    EXPECT_LE(block.at("dilated_rate"), 1.0);
    EXPECT_GT(block.at("macs"), 0.0);
    EXPECT_GT(block.at("dense_ms"), 0.0);
    EXPECT_GT(block.at("sparse_ms"), 0.0);
    expect_quartiles(block.at("speedup"));
  }
}

TEST_F(BenchTest, EveryPatchAtRateOneAndNoneAtRateZero) {
  const json all = run_program(with(kTiny, {"--rate", "1"})).json();
  EXPECT_GT(all.at("macs_ratio"), 1.0);  // the maskers are computed before they are overridden
  EXPECT_LT(all.at("macs_ratio"), 1.1);
  const json none = run_program(with(kTiny, {"--rate", "0"})).json();
  EXPECT_LT(none.at("macs_ratio"), 0.5);
  for (const json& block : none.at("blocks")) EXPECT_EQ(block.at("dilated_rate"), 0.0);
}

TEST_F(BenchTest, TheReproduceLineMeasuresTheSame) {
  const json first = run_program(with(kTiny, {"--macs", "0.55", "--seed", "7", "--threads", "2", "--features",
                                              "--maps", "layer2,layer4", "--map-layout", "nhwc"}))
                         .json();
  EXPECT_EQ(first.at("features"), (json{"layer2", "layer4"}));
  std::istringstream words(first.at("reproduce").get<std::string>());
  std::vector<std::string> arguments;
  for (std::string word; words >> word;) arguments.push_back(word);
  ASSERT_EQ(arguments.front(), "lasnet");
  arguments.erase(arguments.begin());
  arguments.push_back("--json");
  const auto again = run_program(arguments);
  ASSERT_EQ(again.exit_code, 0) << again.err;
  for (const char* key : {"model", "granularity", "input", "threads", "isa", "rate", "macs_ratio", "features",
                          "repeat", "reproduce"}) {
    EXPECT_EQ(again.json().at(key), first.at(key)) << key;
  }
}

TEST_F(BenchTest, ATableForPeople) {
  auto arguments = kTiny;
  arguments.pop_back();
  const auto result = run_program(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* text : {"dense", "sparse", "layer4.1", "FMA peak", "reproduce: lasnet bench resnet18"}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
}

TEST_F(BenchTest, AModelsOwnMasksOnItsImages) {
  const std::string model = save_tiny_model();
  for (const char* name : {"photos/a/one.png", "photos/b/two.png"}) save_photo(name);
  const auto result = run_program(
      {"bench", model, "--images", folder_.path("photos"), "--repeat", "2", "--batch", "3", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = result.json();
  EXPECT_EQ(report.at("masks"), "own");
  EXPECT_TRUE(report.at("rate").is_null());
  EXPECT_EQ(report.at("photographs"), 2);
  EXPECT_EQ(report.at("photographs_found"), 2);
  EXPECT_EQ(report.at("input"), (json{3, 3, 48, 48}));

  const Model tiny = tiny_model();
  Session session(tiny);
  const Image photo = resize_and_crop(load_image(folder_.path("photos/a/one.png")), tiny.preprocessing);
  const Trace trace =
      session.run(to_input(photo, tiny.preprocessing)).trace;  // both photographs are the same
  EXPECT_NEAR(report.at("macs_ratio").get<double>(), trace.macs_ratio(), 1e-9);
  EXPECT_NEAR(report.at("blocks").at(0).at("rate").get<double>(), trace.blocks[0].rate, 1e-9);
}

TEST_F(BenchTest, OfManyPhotographsSomeAreTakenEvenly) {
  const Model tiny = tiny_model();
  Session session(tiny);
  double macs_ratio = 0;
  std::filesystem::create_directory(folder_.path("photos"));
  for (int i = 0; i < 10; ++i) {
    const Image photo = tiny_photo(i % 2, static_cast<uint64_t>(i));
    save_png(photo, folder_.path("photos/" + std::to_string(i) + ".png"));
    const Image seen = resize_and_crop(photo, tiny.preprocessing);
    const bool taken = i == 0 || i == 2 || i == 5 || i == 7;
    if (taken) macs_ratio += session.run(to_input(seen, tiny.preprocessing)).trace.macs_ratio() / 4;
  }
  const std::vector<std::string> bench = {
      "bench", save_tiny_model(), "--images", folder_.path("photos"), "--repeat", "2", "--batch", "2"};
  const json report = report_of(bench);
  EXPECT_EQ(report.at("photographs"), 4);
  EXPECT_EQ(report.at("photographs_found"), 10);
  EXPECT_NEAR(report.at("macs_ratio").get<double>(), macs_ratio, 1e-9);
  EXPECT_THAT(run_program(bench).out, HasSubstr("4 of 10 photographs"));
}

TEST_F(BenchTest, BlocksThatAreSkippedAreNotMeasuredAgainstTheory) {
  const auto bench = with(kTiny, {"--rate", "0", "--schedule", "masker=separate"});
  const json report = run_program(bench).json();
  EXPECT_TRUE(report.at("stages").at(0).at("efficiency").is_null()) << "two blocks without a projection";
  EXPECT_TRUE(report.at("stages").at(0).at("theory_speedup").is_null());
  EXPECT_GT(report.at("stages").at(1).at("theory_speedup"), 1.0) << "the projection is left";
  auto arguments = bench;
  std::erase(arguments, "--json");
  const auto result = run_program(arguments);
  EXPECT_THAT(result.out, testing::ContainsRegex("layer1.0 +4 +0.0 %.* ms +skipped\n"));
  EXPECT_THAT(result.out, testing::ContainsRegex("layer2.0 +4 +0.0 %.*x +[0-9.]+x\n"));
}

TEST_F(BenchTest, AModelsOwnMasksNeedImages) {
  const auto result = run_program({"bench", save_tiny_model(), "--json"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("--images DIR"));
  EXPECT_THAT(result.err, HasSubstr("--macs"));
}

TEST_F(BenchTest, AModelWithForcedRandomMasks) {
  const auto result = run_program({"bench", save_tiny_model(), "--rate", "0.3", "--repeat", "1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("masks"), "random");
  EXPECT_EQ(result.json().at("input"), (json{1, 3, 48, 48}));
}

TEST_F(BenchTest, TheMeasuredNetworkCanBeSaved) {
  const std::string saved = folder_.path("saved.safetensors");
  ASSERT_EQ(run_program(with(kTiny, {"--seed", "3", "--save", saved})).exit_code, 0);
  const Model model = load_model(saved);
  EXPECT_EQ(model.weights, random_weights(model.spec, 3));
  EXPECT_EQ(model.spec.arch.classes, 5);
}

TEST_F(BenchTest, NothingIsSavedOfWhatCannotRun) {
  if (!cuda_devices().empty()) GTEST_SKIP() << "there is a GPU";
  const std::string saved = folder_.path("saved.safetensors");
  const auto result = run_program(with(kTiny, {"--backend", "cuda", "--save", saved}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("Use the cpu backend"));
  EXPECT_FALSE(std::filesystem::exists(saved));
}

#if LASNET_HAS_ONEDNN
TEST_F(BenchTest, TheBaselineIsCheckedAndTimed) {
  const auto result = run_program(with(kTiny, {"--baseline", "onednn", "--batch", "2", "--threads", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json baseline = result.json().at("baseline");
  EXPECT_EQ(baseline.at("name"), "oneDNN");
  EXPECT_THAT(baseline.at("version").get<std::string>(), testing::StartsWith("2."));
  EXPECT_THAT(baseline.at("note").get<std::string>(), HasSubstr("activations"));
  EXPECT_LT(baseline.at("logits_error"), 1e-3);
  EXPECT_GE(baseline.at("variants").size(), 2u);
  expect_times(baseline);
  expect_quartiles(baseline.at("speedup"));
  expect_quartiles(baseline.at("dense_speedup"));
  expect_quartiles(baseline.at("peak_share"));
}
#else
TEST_F(BenchTest, WithoutOnednnTheBaselineSaysWhatToInstall) {
  const auto result = run_program(with(kTiny, {"--baseline", "onednn"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("libdnnl-dev"));
}
#endif

struct WrongBench {
  const char* name;
  std::vector<std::string> arguments;
  const char* message;
};

void PrintTo(const WrongBench& use, std::ostream* out) { *out << use.name; }

class WrongBenchUse : public testing::TestWithParam<WrongBench> {};

TEST_P(WrongBenchUse, SaysWhy) {
  const auto result = run_program(with({"bench"}, GetParam().arguments));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, WrongBenchUse,
    testing::Values(WrongBench{"NoModel", {}, "MODEL"},
                    WrongBench{"Misspelt", {"resnet5O"}, "did you mean resnet50"},
                    WrongBench{"RateAndMacs", {"resnet18", "--rate", "0.5", "--macs", "0.5"}, "--rate"},
                    WrongBench{"RateBeyondOne", {"resnet18", "--rate", "1.5"}, "--rate"},
                    WrongBench{"Size", {"resnet18", "--size", "64x"}, "HEIGHTxWIDTH"},
                    WrongBench{"SmallSize", {"resnet18", "--size", "16"}, "from 32"},
                    WrongBench{"Baseline", {"resnet18", "--baseline", "mkl"}, "onednn"},
                    WrongBench{"ImagesOfAnArchitecture", {"resnet18", "--images", "."}, "model file"},
                    WrongBench{"ArchTwice", {"resnet18", "--arch", "resnet50"}, "--arch"},
                    WrongBench{"Static", {"resnet18", "--granularity", "static"}, "granularity"},
                    WrongBench{"BaselineOfABackbone",
                               {"resnet18", "--classes", "0", "--rate", "0.5", "--baseline", "onednn"},
                               "leave out --baseline"},
                    WrongBench{"MapsAlone", {"resnet18", "--maps", "layer1"}, "--features"},
                    WrongBench{"UnknownMap", {"resnet18", "--features", "--maps", "C2"}, "stem, layer1"},
                    WrongBench{"MapsOfASweep", {"resnet18", "--features", "--sweep", "d"}, "--features"},
                    WrongBench{"NoRepeat", {"resnet18", "--repeat", "0"}, "--repeat"},
                    WrongBench{"UnreachableMacs", {"resnet18", "--macs", "0.01"}, "MAC ratios from"}),
    [](const auto& use) { return std::string(use.param.name); });

}  // namespace
}  // namespace lasnet::test
