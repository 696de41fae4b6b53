// `lasnet predict`, `search`, `calibrate` and `validate-predictor`: what they report and what they refuse,
// not how near the predictions are.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>

#include "base/random.h"
#include "fixtures.h"
#include "formats/npy.h"
#include "lasnet/latency.h"
#include "program.h"

namespace lasnet::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

std::vector<std::string> keys_of(const json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

double sum_of(const json& objects, const char* key) {
  return std::accumulate(objects.begin(), objects.end(), 0.0,
                         [&](double sum, const json& object) { return sum + object.at(key).get<double>(); });
}

void expect_near(double got, double expected) { EXPECT_NEAR(got, expected, 1e-9 * expected); }

void expect_operators(const json& operators) {
  EXPECT_FALSE(operators.empty());
  for (const json& of : operators) {
    EXPECT_THAT(keys_of(of), IsSupersetOf({"name", "us", "compute_us", "offchip_us", "onchip_us", "launch_us",
                                           "utilisation", "tile", "bound", "pixels", "macs", "bytes"}));
    const double longest = of.at(of.at("bound").get<std::string>() + "_us");
    for (const char* part : {"compute_us", "offchip_us", "onchip_us", "launch_us"}) {
      EXPECT_GE(of.at(part), 0.0) << of.dump();
      EXPECT_LE(of.at(part), longest) << of.dump();
    }
    EXPECT_GE(of.at("us"), longest * (1 - 1e-9)) << of.dump();
  }
}

TEST(PredictPlan, OperationsAddUpToTheMacRatio) {
  // A block that computes its whole map where little is left to save has more MACs than its masks.
  const std::pair<const char*, double> cases[] = {{"1", 1e-9}, {"0.4", 5e-3}};
  for (const char* network : {"resnet50", "regnet_y_400mf"}) {
    for (const auto& [rate, tolerance] : cases) {
      const json report =
          report_of({"predict", network, "--granularity", "4-4-2-1", "--hardware", "cpu-avx512", "--batch",
                     "3", "--rate", rate, "--schedule", "masker=incremental", "--json"});
      double macs = sum_of(report.at("fixed"), "macs");
      for (const json& block : report.at("blocks")) macs += sum_of(block.at("operators"), "macs");
      const double expected =
          3 * report.at("macs_ratio").get<double>() * report.at("static_macs").get<double>();
      EXPECT_NEAR(macs, expected, tolerance * expected) << network << ", rate " << rate;
    }
  }
}

TEST(PredictPlan, AFormerNameIsSaidOnce) {
  const auto result = run_program({"predict", "resnet18", "--hardware", "cpu-avx512", "--granularity",
                                   "2-2-2-1", "--schedule", "masker=pooled", "--json"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("masker=pooled is called masker=incremental now"));
  EXPECT_THAT(result.out, HasSubstr("masker=incremental"));
}

TEST(PredictPlan, PrintsEveryOperation) {
  const auto result = run_program(
      {"predict", "resnet50", "--hardware", "cpu-avx512", "--schedule", "gather=copied", "--plan"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("gather"), HasSubstr("projection"), HasSubstr("head_pool")));
}

struct Prediction {
  const char* name;
  std::vector<std::string> arguments;
};

void PrintTo(const Prediction& prediction, std::ostream* out) { *out << prediction.name; }

class PredictEverywhere : public testing::TestWithParam<Prediction> {
 protected:
  static std::vector<std::string> predict(const std::vector<std::string>& more = {}) {
    return with(with({"predict", "resnet50", "--granularity", "4-4-2-1"}, GetParam().arguments), more);
  }
};

TEST_P(PredictEverywhere, JsonAddsUp) {
  const json report = report_of(predict({"--rate", "0.4"}));
  EXPECT_EQ(report.at("arch").at("granularity"), "4-4-2-1");
  EXPECT_EQ(report.at("rate"), 0.4);
  EXPECT_EQ(report.at("size"), (json{224, 224}));
  ASSERT_EQ(report.at("blocks").size(), 16u);
  for (const json& block : report.at("blocks")) {
    EXPECT_THAT(keys_of(block),
                IsSupersetOf({"name", "stage", "static_us", "dynamic_us", "schedule", "operators"}));
    EXPECT_THAT(block.at("schedule").get<std::string>(), HasSubstr("masker="));
    expect_operators(block.at("operators"));
    expect_near(sum_of(block.at("operators"), "us"), block.at("dynamic_us"));
  }
  EXPECT_EQ(report.at("blocks").at(3).at("name"), "layer2.0");
  EXPECT_EQ(report.at("blocks").at(3).at("stage"), 2);
  EXPECT_EQ(report.at("blocks").at(3).at("granularity"), 4);
  expect_operators(report.at("fixed"));
  const double fixed = sum_of(report.at("fixed"), "us");
  expect_near(1e-3 * (fixed + sum_of(report.at("blocks"), "static_us")), report.at("static_ms"));
  expect_near(1e-3 * (fixed + sum_of(report.at("blocks"), "dynamic_us")), report.at("dynamic_ms"));
  expect_near(report.at("static_ms").get<double>() / report.at("dynamic_ms").get<double>(),
              report.at("speedup"));
}

TEST_P(PredictEverywhere, IsTheSameEveryTime) {
  const auto once = run_program(predict({"--json"})), again = run_program(predict({"--json"}));
  ASSERT_EQ(once.exit_code, 0) << once.err;
  EXPECT_EQ(once.out, again.out);
}

TEST_P(PredictEverywhere, LatencyFallsWithTheRate) {
  std::vector<double> dynamic, fixed;
  for (const char* rate : {"1", "0.75", "0.5", "0.25", "0"}) {
    const json report = report_of(predict({"--rate", rate}));
    EXPECT_NEAR(report.at("macs_ratio").get<double>(), std::stod(rate), 0.21)
        << "halo, stem, head and masker";
    dynamic.push_back(report.at("dynamic_ms"));
    fixed.push_back(report.at("static_ms"));
  }
  EXPECT_TRUE(std::is_sorted(dynamic.rbegin(), dynamic.rend())) << testing::PrintToString(dynamic);
  EXPECT_LT(dynamic.back(), 0.7 * dynamic.front());
  EXPECT_THAT(fixed, Each(fixed.front()));
}

INSTANTIATE_TEST_SUITE_P(
    Hardware, PredictEverywhere,
    testing::Values(Prediction{"V100", {"--hardware", "v100"}},
                    Prediction{"V100OfThePaper", {"--hardware", "v100", "--model", "paper"}},
                    Prediction{"Tx2Fp16", {"--hardware", "tx2", "--precision", "fp16"}},
                    Prediction{"Cpu", {"--hardware", "cpu-avx2", "--threads", "2"}},
                    Prediction{"CpuInt8", {"--hardware", "cpu-int8-avx512_vnni", "--precision", "int8"}},
                    Prediction{"Cuda", {"--hardware", "cuda-h100", "--batch", "8"}},
                    Prediction{
                        "CudaFp16",
                        {"--hardware", "cuda-h100", "--precision", "fp16", "--schedule", "masker=separate"}}),
    [](const auto& prediction) { return std::string(prediction.param.name); });

class PredictTest : public ProgramTest {
 protected:
  /// Masks that the tiny model decides on for two inputs of 48 x 40 px, as `lasnet forward` writes them.
  MaskSet write_masks(const std::string& name) const {
    Random random(5);
    Tensor input({2, 3, 48, 40});
    for (float& value : input.data) value = static_cast<float>(random.normal());
    save_npy(input, folder_.path("x.npy"));
    const auto result = run_program({"forward", save_tiny_model(), "--input", folder_.path("x.npy"),
                                     "--output", folder_.path("y.npy"), "--masks", folder_.path(name)});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    MaskSet masks;
    for (const BlockSpec& block : tiny_model().spec.blocks) {
      masks[block.name] = load_npy_u8(folder_.path(name + "/" + block.name + ".npy"));
    }
    return masks;
  }
};

TEST_F(PredictTest, RecordedMasksCountInsteadOfARate) {
  const MaskSet masks = write_masks("masks");
  const std::vector<std::string> predict = {"predict",    folder_.path("model.safetensors"),
                                            "--hardware", "tx2",
                                            "--size",     "48x40",
                                            "--trace",    folder_.path("masks")};
  const json report = report_of(predict);
  EXPECT_TRUE(report.at("rate").is_null());
  EXPECT_EQ(report.at("batch"), 2);
  const NetworkLatency expected = predict_latency(tiny_model().spec, load_hardware("tx2"),
                                                  {.size = {48, 40}, .batch = 2, .masks = &masks});
  expect_near(report.at("dynamic_ms"), 1e3 * expected.dynamic_s);
  EXPECT_NE(report.at("dynamic_ms"), report.at("static_ms"));
  const Tensor input = load_npy_f32(folder_.path("x.npy"));
  expect_near(report.at("macs_ratio"), Session(tiny_model()).run(input).trace.macs_ratio());
}

TEST_F(PredictTest, MasksOfAnotherNetworkOrSizeAreRefused) {
  write_masks("masks");
  const auto refused = [&](const std::vector<std::string>& more) {
    return run_program(with({"predict", folder_.path("model.safetensors"), "--hardware", "tx2"}, more));
  };
  const auto size = refused({"--size", "64", "--trace", folder_.path("masks")});
  EXPECT_EQ(size.exit_code, 1);
  EXPECT_THAT(size.err, AllOf(HasSubstr("layer1.0"), HasSubstr("expected [2, ")));
  std::filesystem::remove(folder_.path("masks/layer3.1.npy"));
  const auto missing = refused({"--size", "48x40", "--trace", folder_.path("masks")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("layer3.1"));
  const auto absent = refused({"--trace", folder_.path("none")});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_THAT(absent.err, HasSubstr(folder_.path("none")));
  EXPECT_EQ(refused({"--trace", folder_.path("masks"), "--rate", "0.5"}).exit_code, 2);
}

TEST_F(PredictTest, AProfilesFileIsAsGoodAsItsName) {
  write_text(folder_.path("copy.toml"), hardware_to_toml(load_hardware("tx2")));
  EXPECT_EQ(report_of({"predict", "resnet18", "--hardware", folder_.path("copy.toml")}),
            report_of({"predict", "resnet18", "--hardware", "tx2"}));
}

TEST_F(PredictTest, ACpusProfileFromElsewhereIsWarnedOf) {
  std::string toml = hardware_to_toml(load_hardware("cpu-scalar"));
  toml.replace(toml.find("AMD EPYC"), 8, "Elbrus 8");
  write_text(folder_.path("elsewhere.toml"), toml);
  const auto result = run_program({"predict", "resnet18", "--hardware", folder_.path("elsewhere.toml")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("warning"), HasSubstr("cpu-scalar")));
}

TEST_F(PredictTest, ThePapersEquationsAreTheirOwnAndOfGpus) {
  const json paper = report_of({"predict", "resnet50", "--hardware", "v100", "--model", "paper"});
  const json standard = report_of({"predict", "resnet50", "--hardware", "v100"});
  EXPECT_EQ(paper.at("model"), "paper");
  EXPECT_EQ(standard.at("model"), "default");
  EXPECT_NE(paper.at("dynamic_ms"), standard.at("dynamic_ms"));
  const auto cpu = run_program({"predict", "resnet50", "--hardware", "cpu-avx2", "--model", "paper"});
  EXPECT_EQ(cpu.exit_code, 2);
  EXPECT_EQ(cpu.out, "");
  EXPECT_THAT(cpu.err, AllOf(HasSubstr("cpu-avx2"), HasSubstr("GPUs only")));
}

TEST_F(PredictTest, AFixedScheduleIsKeptAndNeverFaster) {
  const std::vector<std::string> predict = {"predict", "resnet50", "--hardware", "v100", "--rate", "0.3"};
  const json best = report_of(predict);
  for (const char* choice : {"masker=separate", "masker=with_conv1", "gather=copied", "scatter=separate"}) {
    const json fixed = report_of(with(predict, {"--schedule", choice}));
    for (const json& block : fixed.at("blocks")) EXPECT_THAT(block.at("schedule"), HasSubstr(choice));
    EXPECT_GE(fixed.at("dynamic_ms"), best.at("dynamic_ms")) << choice;
  }
  EXPECT_EQ(report_of(with(predict, {"--schedule", "auto"})), best);
}

TEST_F(PredictTest, TheTableSaysOfABlockWhatItsScheduleHasOtherwise) {
  const std::vector<std::string> predict = {"predict",    "resnet50",      "--hardware",
                                            "cpu-avx512", "--granularity", "4-4-2-1"};
  const auto result = run_program(predict);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = report_of(predict);
  // Patches of one pixel have no sums of their own: the last block of stage 4 departs from the first of
  // stage 1.
  EXPECT_THAT(report.at("blocks").at(0).at("schedule"), HasSubstr("masker=incremental"));
  EXPECT_THAT(report.at("blocks").at(15).at("schedule"), HasSubstr("masker=separate"));
  std::map<std::string, std::string> rows;
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);) rows[line.substr(0, line.find(' ', 2))] = line;
  EXPECT_THAT(rows["  layer1.0"], testing::Not(HasSubstr("masker=")));
  EXPECT_THAT(rows["  layer4.2"], HasSubstr("masker=separate"));
  EXPECT_THAT(result.out,
              HasSubstr("otherwise: " + report.at("blocks").at(0).at("schedule").get<std::string>()));
}

TEST_F(PredictTest, ATableForPeople) {
  const auto result = run_program({"predict", "resnet18", "--hardware", "v100"});
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  for (const char* text : {"V100", "layer4.1", "masker", "stem and head", "network"}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
}

class SearchTest : public ProgramTest {
 protected:
  static std::vector<std::string> search(const std::vector<std::string>& more = {}) {
    return with({"search", "resnet18", "--hardware", "v100"}, more);
  }
};

std::vector<int> granularity_of(const json& report) {
  return parse_granularity(report.at("granularity").get<std::string>());
}

TEST_F(SearchTest, JsonSaysWhatWasChosenAndFromWhat) {
  const json report = report_of(search({"--rate", "0.3", "--tolerance", "0.1"}));
  EXPECT_THAT(keys_of(report),
              IsSupersetOf({"hardware", "batch", "threads", "tolerance", "granularity", "rate", "macs_ratio",
                            "static_ms", "dynamic_ms", "speedup", "rates", "curves", "schedules"}));
  EXPECT_EQ(report.at("hardware"), "v100");
  EXPECT_EQ(report.at("rate"), 0.3);
  EXPECT_EQ(report.at("schedules").size(), 8u);
  EXPECT_EQ(report.at("schedules").at(7).at("name"), "layer4.1");
  const std::vector<int> granularity = granularity_of(report);
  ASSERT_EQ(granularity.size(), 4u);
  std::vector<double> least(4, INFINITY);
  std::map<int, int> chosen;
  for (const json& curve : report.at("curves")) {
    const int stage = curve.at("stage").get<int>() - 1;
    EXPECT_EQ(curve.at("name"), "stage " + std::to_string(stage + 1));
    EXPECT_EQ(curve.at("us").size(), report.at("rates").size());
    EXPECT_GT(curve.at("static_us").get<double>(), 0);
    EXPECT_GE(curve.at("break_even").get<double>(), 0);
    double& best = least.at(static_cast<size_t>(stage));
    if (!curve.at("coarse")) best = std::min(best, curve.at("us_at_rate").get<double>());
    if (!curve.at("chosen").get<bool>()) continue;
    EXPECT_TRUE(chosen.emplace(stage, curve.at("granularity")).second) << "one choice per stage";
  }
  for (const json& curve : report.at("curves")) {
    const int stage = curve.at("stage").get<int>() - 1;
    const bool good =
        !curve.at("coarse") && curve.at("us_at_rate") <= 1.1 * least.at(static_cast<size_t>(stage));
    EXPECT_EQ(good && curve.at("granularity") <= chosen.at(stage), curve.at("chosen")) << curve.dump();
  }
  EXPECT_THAT(granularity, ElementsAre(chosen.at(0), chosen.at(1), chosen.at(2), chosen.at(3)));
  const json predicted = report_of({"predict", "resnet18", "--hardware", "v100", "--rate", "0.3",
                                    "--granularity", report.at("granularity")});
  for (const char* key : {"static_ms", "dynamic_ms", "speedup"})
    expect_near(report.at(key), predicted.at(key));
}

TEST_F(SearchTest, NoGainIsSaid) {
  const auto slower = run_program({"search", "resnet50", "--hardware", "cuda-h100", "--rate", "0.9"});
  EXPECT_EQ(slower.exit_code, 0);
  EXPECT_THAT(slower.err, HasSubstr("no granularity is faster"));
  EXPECT_THAT(slower.out,
              AllOf(HasSubstr("x slower"), HasSubstr("a patch is the map"), Not(HasSubstr("lasnet train"))));
  EXPECT_EQ(run_program(search({"--rate", "0.3"})).err, "");
}

TEST_F(SearchTest, LayerSkippingIsACandidate) {
  const std::vector<std::string> candidates = {"--candidates", "2,4,layer", "--tolerance", "0"};
  const json report = report_of(with(search(candidates), {"--max-patch-share", "1"}));
  int layers = 0;
  for (const json& curve : report.at("curves")) {
    layers += curve.at("granularity") == "layer" ? 1 : 0;
    EXPECT_EQ(curve.at("granularity") == "layer", curve.at("patch_share") == 1) << curve.dump();
  }
  EXPECT_EQ(layers, 4);
  EXPECT_EQ(report.at("max_patch_share"), 1);
  EXPECT_EQ(report_of(with(search(candidates), {"--whole-maps"})), report);
  const auto shown = run_program(search(candidates));
  EXPECT_THAT(shown.out, AllOf(HasSubstr("layer"), HasSubstr("a patch is the map"), HasSubstr("saves")));
  EXPECT_THAT(granularity_of(report_of(search(candidates))), Each(testing::AnyOf(2, 4)));
}

TEST_F(SearchTest, StepsToLargerPatchesSayWhatTheyWouldSave) {
  const json report = report_of(search());
  std::map<std::string, double> chosen;
  for (const json& curve : report.at("curves")) {
    if (curve.at("chosen")) chosen[curve.at("name")] = curve.at("us_at_rate");
  }
  for (const json& curve : report.at("curves")) {
    const double kept = 1 - curve.at("saves").get<double>();
    EXPECT_NEAR(kept * chosen.at(curve.at("name")), curve.at("us_at_rate"), 1e-6) << curve.dump();
  }
}

TEST_F(PredictTest, LayerSkippingIsPredictedByEveryModel) {
  for (const std::vector<std::string>& on : {std::vector<std::string>{"v100"},
                                             {"v100", "--model", "paper"},
                                             {"cpu-avx2", "--batch", "8"},
                                             {"cuda-h100"}}) {
    const auto predict =
        with({"predict", "resnet50", "--granularity", "4-4-2-layer", "--rate", "0.5", "--hardware"}, on);
    const json report = report_of(predict);
    const json& block = report.at("blocks").at(14);
    EXPECT_EQ(block.at("granularity"), "layer");
    EXPECT_GT(block.at("dynamic_us"), 0.3 * block.at("static_us").get<double>()) << on[0];
    EXPECT_LT(block.at("dynamic_us"), 0.9 * block.at("static_us").get<double>()) << on[0];
    const auto shown = run_program(predict);
    EXPECT_THAT(shown.out, AllOf(HasSubstr("S 4-4-2-layer"), HasSubstr("layer4.1")));
    EXPECT_THAT(shown.err, Not(HasSubstr("larger than"))) << "it is meant";
  }
}

TEST_F(PredictTest, MacsBeyondTheStaticNetworksAreTheMaskers) {
  const auto predict = [](const char* rate) {
    return run_program({"predict", "resnet18", "--hardware", "v100", "--rate", rate}).out;
  };
  EXPECT_THAT(predict("1"), HasSubstr("maskers included, instead of 1.8"));
  EXPECT_THAT(predict("0.5"), HasSubstr("G of 1.8"));
}

TEST_F(PredictTest, OptionsOfACpuMeanNothingOnAGpu) {
  const auto result = run_program(
      {"predict", "resnet18", "--hardware", "v100", "--threads", "2", "--schedule", "traversal=row_bands"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("--threads: v100 is a GPU"), HasSubstr("row_bands: v100")));
}

TEST_F(PredictTest, AMapThatIsOnePatchHasNoBands) {
  const std::vector<std::string> bands = {"predict", "resnet50", "--schedule", "traversal=row_bands",
                                          "--granularity"};
  const auto with = [&](const std::string& granularity) {
    std::vector<std::string> arguments = bands;
    arguments.push_back(granularity);
    return run_program(arguments);
  };
  EXPECT_EQ(with("layer").exit_code, 2);
  EXPECT_THAT(with("layer").err, AllOf(HasSubstr("traversal=row_bands"), HasSubstr("layer")));
  EXPECT_EQ(with("4-4-2-layer").exit_code, 0);
  EXPECT_THAT(with("4-4-2-layer").err, HasSubstr("3 of 16 dynamic blocks"));
  EXPECT_THAT(with("4-4-2-1").err, Not(HasSubstr("row_bands")));
}

TEST_F(PredictTest, AGpuThatWasNotMeasuredOrIsNotThereIsSaid) {
  const auto result = run_program({"predict", "resnet18", "--hardware", "cuda"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("--hardware cuda: "), HasSubstr("the times are those of cuda-h100")));
}

TEST_F(PredictTest, PatchesLargerThanTheirMapAreSaid) {
  const auto predict = [](const char* granularity) {
    return run_program({"predict", "resnet18", "--hardware", "v100", "--granularity", granularity});
  };
  const auto beyond = predict("64-4-2-1");
  EXPECT_EQ(beyond.exit_code, 0);
  EXPECT_THAT(beyond.err, AllOf(HasSubstr("layer1.0: S = 64"),
                                HasSubstr("56 x 56 for images of 224 x 224 px"), HasSubstr("1 other block")));
  EXPECT_THAT(predict("4-4-2-8").err, HasSubstr("layer4.0: S = 8"));
  EXPECT_EQ(predict("56-28-14-7").err, "");
}

TEST_F(PredictTest, TimesAreInMillisecondsHoweverShort) {
  for (const char* hardware : {"cuda-h100", "tx2", "v100"}) {
    for (const std::string command : {"predict", "search"}) {
      const auto result = run_program({command, "resnet18", "--hardware", hardware});
      EXPECT_THAT(result.out, Not(HasSubstr(" us"))) << hardware;
      EXPECT_THAT(result.out, testing::ContainsRegex("[0-9]\\.[0-9][0-9][0-9] ms"));
    }
  }
}

TEST_F(PredictTest, WhatTheProfileRestsOnIsSaid) {
  for (const std::string command : {"predict", "search"}) {
    const auto published = run_program({command, "resnet18", "--hardware", "v100"});
    EXPECT_THAT(published.out, AllOf(HasSubstr("batch 128"), HasSubstr("published: LASNet"),
                                     HasSubstr("not measured"), HasSubstr("no kernel of lasnet ran for it")));
    const auto measured = run_program({command, "resnet18", "--hardware", "cuda-h100"});
    EXPECT_THAT(measured.out, AllOf(HasSubstr("measured on an NVIDIA H200"), Not(HasSubstr("not measured"))));
    EXPECT_EQ(report_of({command, "resnet18", "--hardware", "v100"}).at("measured"), false);
    EXPECT_EQ(report_of({command, "resnet18", "--hardware", "cpu-avx2"}).at("measured"), true);
    const auto generic = run_program({command, "resnet18", "--hardware", "cpu-neon"});
    EXPECT_THAT(generic.out, AllOf(HasSubstr("generic AArch64"), HasSubstr("not measured")));
    EXPECT_THAT(generic.err, HasSubstr("not measured on any processor"));
    EXPECT_EQ(report_of({command, "resnet18", "--hardware", "cpu-neon"}).at("measured"), false);
  }
}

TEST_F(SearchTest, AMacRatioIsMet) {
  const json report = report_of(search({"--macs", "0.5"}));
  EXPECT_NEAR(report.at("macs_ratio").get<double>(), 0.5, 1e-3);
  EXPECT_GT(report.at("rate"), 0.0);
  EXPECT_LT(report.at("rate"), 0.5) << "halo and fixed layers are computed too";
}

TEST_F(SearchTest, ABudgetGivesTheLargestRateWithinIt) {
  const double budget = 0.95 * report_of(search({"--rate", "0.5"})).at("dynamic_ms").get<double>();
  const json report = report_of(search({"--budget-ms", std::to_string(budget)}));
  EXPECT_LE(report.at("dynamic_ms"), budget);
  const std::string beyond = std::to_string(report.at("rate").get<double>() + 0.005);
  const json slower = report_of({"predict", "resnet18", "--hardware", "v100", "--rate", beyond,
                                 "--granularity", report.at("granularity")});
  EXPECT_GT(slower.at("dynamic_ms"), budget);
}

TEST_F(SearchTest, ABudgetThatTheStaticNetworkFitsIsSaid) {
  const json report = report_of(search({"--budget-ms", "1000"}));
  EXPECT_EQ(report.at("static_fits_budget"), true);
  EXPECT_TRUE(report.at("train").is_null()) << "there is nothing to train for";
  const auto result = run_program(search({"--budget-ms", "1000"}));
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("the static network already fits the budget"), Not(HasSubstr("lasnet train"))));
  const std::string less = std::to_string(0.9 * report.at("static_ms").get<double>());
  EXPECT_EQ(report_of(search({"--budget-ms", less})).at("static_fits_budget"), false);
  EXPECT_TRUE(report_of(search({"--rate", "0.5"})).at("static_fits_budget").is_null());
}

TEST_F(SearchTest, TheChoiceEndsInTheCommandThatTrainsIt) {
  const json report = report_of(search({"--macs", "0.5", "--width", "0.5"}));
  EXPECT_EQ(report.at("train"), "lasnet train --data DIR --arch resnet18 --width 0.5 --granularity " +
                                    report.at("granularity").get<std::string>() + " --target 0.5 -o OUT");
  EXPECT_THAT(run_program(search({"--macs", "0.5", "--width", "0.5"})).out,
              HasSubstr(report.at("train").get<std::string>()));
  const json of_file = report_of({"search", save_tiny_model(), "--hardware", "v100", "--size", "224"});
  EXPECT_THAT(of_file.at("train").get<std::string>(),
              AllOf(HasSubstr("--init " + folder_.path("model.safetensors")), HasSubstr("--size 224"),
                    Not(HasSubstr("--arch"))));
}

/// Maskers of a file are kept by training, unless it is told not to.
TEST_F(SearchTest, MaskersOfAnotherGranularityAreLeftOut) {
  const auto train_for = [&](const std::string& candidates) {
    return report_of({"search", save_tiny_model(), "--hardware", "v100", "--size", "224", "--candidates",
                      candidates, "--whole-maps"})
        .at("train")
        .get<std::string>();
  };
  EXPECT_THAT(train_for("8, 14"), HasSubstr(" --fresh-maskers -o OUT"));
  const Model fourteen = tiny_model({14, 14, 14, 14});
  save_model(fourteen, folder_.path("14.safetensors"));
  EXPECT_THAT(report_of({"search", folder_.path("14.safetensors"), "--hardware", "v100", "--size", "224",
                         "--candidates", "14", "--whole-maps"})
                  .at("train")
                  .get<std::string>(),
              Not(HasSubstr("--fresh-maskers")));
}

TEST_F(SearchTest, ATooSmallBudgetIsRefusedWithTheLeastThatWouldDo) {
  const auto refused = run_program(search({"--budget-ms", "0.001"}));
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, AllOf(HasSubstr("budget of 0.001 ms"), HasSubstr("v100")));
  const size_t takes = refused.err.find("takes ");
  ASSERT_NE(takes, std::string::npos) << refused.err;
  const double least = std::stod(refused.err.substr(takes + 6));
  EXPECT_GT(least, 0.001);
  const auto under = run_program(search({"--budget-ms", std::to_string(0.99 * least)}));
  EXPECT_EQ(under.exit_code, 1);
  EXPECT_LE(report_of(search({"--budget-ms", std::to_string(1.01 * least)})).at("dynamic_ms"), 1.01 * least);
}

TEST_F(SearchTest, UnreachableMacRatiosAreRefusedWithTheRange) {
  const auto refused = run_program(search({"--macs", "0.01"}));
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("0.01"), HasSubstr(" to ")));
}

TEST_F(SearchTest, OneGranularityPerBlock) {
  const json report = report_of(search({"--per-block", "--candidates", "2,4"}));
  EXPECT_EQ(granularity_of(report).size(), 8u);
  std::map<std::string, int> chosen;
  for (const json& curve : report.at("curves")) {
    chosen[curve.at("name")] += curve.at("chosen").get<bool>() ? 1 : 0;
  }
  EXPECT_EQ(chosen.size(), 8u);
  for (const auto& [name, count] : chosen) EXPECT_EQ(count, 1) << name;
  EXPECT_EQ(chosen.count("layer2.1"), 1u);
}

TEST_F(SearchTest, OnlyCandidatesAreChosen) {
  const json report = report_of(search({"--candidates", "5,3"}));
  EXPECT_THAT(granularity_of(report), Each(testing::AnyOf(3, 5)));
  for (const json& curve : report.at("curves")) {
    EXPECT_THAT(curve.at("granularity").get<int>(), testing::AnyOf(3, 5));
  }
}

TEST_F(SearchTest, PlotsACurvePerCandidateAndStage) {
  const auto path = folder_.path("curves.svg");
  const auto result = run_program(search({"--candidates", "2,4", "--plot", path}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("granularity"), HasSubstr("chosen"), HasSubstr("faster up to r"),
                                HasSubstr("stage 4")));
  EXPECT_THAT(result.err, HasSubstr(path));
  const std::string svg = read_text(path);
  EXPECT_THAT(svg, AllOf(HasSubstr("<svg"), HasSubstr("</svg>"), HasSubstr("stage 1"), HasSubstr("stage 4")));
  EXPECT_THAT(
      svg, AllOf(HasSubstr("S = 2"), HasSubstr("S = 4"), HasSubstr("static"), HasSubstr("activation rate")));
  size_t rings = 0;
  const std::string ring = "r=\"7\" fill=\"none\"";
  for (size_t at = svg.find(ring); at != std::string::npos; at = svg.find(ring, at + 1)) ++rings;
  EXPECT_EQ(rings, 4u) << "the choice of every stage";
  EXPECT_EQ(run_program(search({"--plot", folder_.path("curves.png")})).exit_code, 2);
  const auto refused = run_program(search({"--plot", folder_.path("none/curves.svg")}));
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr("none/curves.svg"));
}

/// A damaged copy of the profile of the V100.
struct BadProfile {
  const char* name;
  const char* from;  ///< in the good one
  const char* to;
  const char* message;
};

void PrintTo(const BadProfile& profile, std::ostream* out) { *out << profile.name; }

class BadProfiles : public ProgramTest, public testing::WithParamInterface<BadProfile> {};

TEST_P(BadProfiles, AreRefusedNamingFileAndKey) {
  std::string toml = hardware_to_toml(load_hardware("v100"));
  const std::string from = GetParam().from;
  ASSERT_NE(toml.find(from), std::string::npos);
  toml.replace(toml.find(from), from.size(), GetParam().to);
  const auto path = folder_.path("bad.toml");
  write_text(path, toml);
  for (const char* command : {"predict", "search"}) {
    const auto result = run_program({command, "resnet18", "--hardware", path});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(HasSubstr(path), HasSubstr(GetParam().message)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadProfiles,
    testing::Values(BadProfile{"NegativeBandwidth", "bandwidth_bytes_per_s = ", "bandwidth_bytes_per_s = -",
                               "gpu.bandwidth_bytes_per_s"},
                    BadProfile{"UnknownKey", "[gpu]", "[gpu]\nbandwith = 1", "gpu.bandwith"},
                    BadProfile{"MissingKey", "launch_s", "#", "gpu.launch_s"},
                    BadProfile{"TextForANumber", "overlap = false", "overlap = \"no\"", "gpu.overlap"},
                    BadProfile{"UnknownKind", "\"gpu\"", "\"tpu\"", "'kind' is 'tpu'"},
                    BadProfile{"NoToml", "[gpu]", "{gpu}", ":6: "}),
    [](const auto& profile) { return std::string(profile.param.name); });

struct WrongPrediction {
  const char* name;
  std::vector<std::string> arguments;
  const char* message;
  int exit_code = 2;
};

void PrintTo(const WrongPrediction& use, std::ostream* out) { *out << use.name; }

class WrongPredictions : public testing::TestWithParam<WrongPrediction> {};

TEST_P(WrongPredictions, SayWhy) {
  const auto result = run_program(GetParam().arguments);
  EXPECT_EQ(result.exit_code, GetParam().exit_code);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(GetParam().message));
}

std::vector<std::string> predict(const std::vector<std::string>& more) {
  return with({"predict", "resnet18", "--hardware", "v100"}, more);
}

std::vector<std::string> search(const std::vector<std::string>& more) {
  return with({"search", "resnet18", "--hardware", "v100"}, more);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, WrongPredictions,
    testing::Values(
        WrongPrediction{"NoModel", {"predict"}, "MODEL"},
        WrongPrediction{"MisspeltModel", {"predict", "resnet5O"}, "did you mean resnet50"},
        WrongPrediction{
            "MisspeltHardware", {"predict", "resnet18", "--hardware", "v10"}, "did you mean v100"},
        WrongPrediction{"UnknownHardware", {"search", "resnet18", "--hardware", "abacus"}, "known: "},
        WrongPrediction{"GranularityZero", predict({"--granularity", "4-0-2-1"}), "4-0-2-1"},
        WrongPrediction{"GranularityOfThreeStages", predict({"--granularity", "4-4-2"}), "granularity"},
        WrongPrediction{"RateBeyondOne", predict({"--rate", "1.5"}), "--rate"},
        WrongPrediction{"RateBelowZero", predict({"--rate", "-0.1"}), "--rate"},
        WrongPrediction{"RateNotANumber", search({"--rate", "often"}), "often"},
        WrongPrediction{"BatchZero", predict({"--batch", "0"}), "--batch"},
        WrongPrediction{"ThreadsZero", predict({"--threads", "0"}), "--threads"},
        WrongPrediction{"SmallSize", predict({"--size", "16"}), "from 32"},
        WrongPrediction{"Schedule", predict({"--schedule", "nonsense"}), "nonsense"},
        WrongPrediction{"Masker", predict({"--schedule", "masker=fast"}),
                        "separate, incremental or with_conv1"},
        WrongPrediction{"Equations", predict({"--model", "exact"}), "default or paper"},
        WrongPrediction{"Precision", predict({"--precision", "fp8"}), "fp8"},
        WrongPrediction{"PrecisionOfACpu",
                        {"predict", "resnet18", "--hardware", "cpu-avx2", "--precision", "fp16"},
                        "compute in fp32"},
        WrongPrediction{"Int8OfFp32Kernels",
                        {"predict", "resnet18", "--hardware", "cpu-avx2", "--precision", "int8"},
                        "compute in fp32"},
        WrongPrediction{"Fp32OfInt8Kernels",
                        {"predict", "resnet18", "--hardware", "cpu-int8-avx512_vnni"},
                        "compute in int8"},
        WrongPrediction{
            "Int8OfAGpu", {"search", "resnet18", "--hardware", "tx2", "--precision", "int8"}, "tx2 is a GPU"},
        WrongPrediction{"SchedulesOfInt8",
                        {"predict", "resnet18", "--hardware", "cpu-int8-avx512_vnni", "--precision", "int8",
                         "--schedule", "gather=copied"},
                        "int8 kernels run"},
        WrongPrediction{"CalibrateFp16", {"calibrate", "--precision", "fp16"}, "fp32 or int8"},
        WrongPrediction{"CalibrateInt8OfAGpu",
                        {"calibrate", "--device", "cuda", "--precision", "int8"},
                        "--precision is of --device cpu"},
        WrongPrediction{"CandidateZero", search({"--candidates", "2,0"}), "2,0"},
        WrongPrediction{"CandidatesMissing", search({"--candidates", "2,,4"}), "2,,4"},
        WrongPrediction{"PatchShareZero", search({"--max-patch-share", "0"}), "--max-patch-share"},
        WrongPrediction{"PatchShareAboveOne", search({"--max-patch-share", "1.5"}), "--max-patch-share"},
        WrongPrediction{"PatchShareTwice", search({"--max-patch-share", "1", "--whole-maps"}),
                        "--whole-maps"},
        WrongPrediction{"RateNan", predict({"--rate", "nan"}), "'nan' is not a number from 0 to 1"},
        WrongPrediction{"BudgetNan", search({"--budget-ms", "nan"}), "greater than 0"},
        WrongPrediction{"BudgetInfinite", search({"--budget-ms", "inf"}), "greater than 0"},
        WrongPrediction{"BudgetZero", search({"--budget-ms", "0"}), "--budget-ms"},
        WrongPrediction{"Tolerance", search({"--tolerance", "-1"}), "--tolerance"},
        WrongPrediction{"RateAndMacs", search({"--rate", "0.5", "--macs", "0.5"}), "--rate"},
        WrongPrediction{"PlotAsPng", search({"--plot", "curves.png"}), "ends in .svg"},
        WrongPrediction{"ValidatePlotAsPng", {"validate-predictor", "--plot", "p.png"}, "ends in .svg"},
        WrongPrediction{"MacsAndBudget", search({"--macs", "0.5", "--budget-ms", "9"}), "--macs"},
        WrongPrediction{"StageAndBlock", search({"--per-stage", "--per-block"}), "--per-stage"},
        WrongPrediction{"CalibrateUnknownDevice", {"calibrate", "--device", "tpu"}, "tpu"},
        WrongPrediction{"CalibrateNoTime", {"calibrate", "--seconds", "1"}, "--seconds"},
        WrongPrediction{"CalibrateUnknownIsa", {"calibrate", "--isa", "sse9"}, "sse9"},
        WrongPrediction{"CalibrateCuda", {"calibrate", "--device", "cuda"}, "calibrate --device cuda: ", 1},
        WrongPrediction{"ValidateOnce", {"validate-predictor", "--repeat", "1"}, "--repeat"},
        WrongPrediction{"ValidateAGpu", {"validate-predictor", "--hardware", "v100"}, "v100", 1},
        WrongPrediction{"ValidateUnknown", {"validate-predictor", "--hardware", "v10"}, "did you mean v100"}),
    [](const auto& use) { return std::string(use.param.name); });

}  // namespace
}  // namespace lasnet::test
