// `lasnet tune`, and the budgets and thresholds that the other commands take.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "fixtures.h"
#include "formats/npy.h"
#include "lasnet/engine.h"
#include "lasnet/operating_point.h"
#include "program.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class TuneTest : public ProgramTest {
 protected:
  void SetUp() override {
    model_ = save_tiny_model();
    write_image_folder(data_, 1, 6);
  }

  /// The tiny model with three points, of which the middle one is the trained network.
  std::string save_tuned_model() const {
    Model model = tiny_model();
    for (const double macs : {0.3, 0.5, 0.7}) {
      model.operating_points.push_back(
          {.macs_ratio = macs,
           .top1 = macs,
           .thresholds = std::vector<float>(8, static_cast<float>(0.5 - macs) / 5),
           .rates = std::vector<double>(8, macs),
           .predicted_ms = {{"tx2", 10 * macs}}});
    }
    save_model(model, folder_.path("tuned.safetensors"));
    return folder_.path("tuned.safetensors");
  }

  std::string save_static_model() const {
    const Model model =
        random_model({.name = "resnet18", .width = 0.125, .classes = 2, .stem = StemKind::small}, 1);
    save_model(model, folder_.path("static.safetensors"));
    return folder_.path("static.safetensors");
  }

  std::string save_backbone() const {
    const Model model = random_model({.name = "resnet18",
                                      .width = 0.125,
                                      .classes = 0,
                                      .stem = StemKind::small,
                                      .granularity = {4, 4, 2, 1}},
                                     1);
    save_model(model, folder_.path("backbone.safetensors"));
    return folder_.path("backbone.safetensors");
  }

  ProgramResult tune(const std::vector<std::string>& more = {}) const {
    return run_program(with({"tune", model_, data_, "-o", out_, "--points", "4", "--images", "6"}, more));
  }

  std::string model_;
  std::string data_ = folder_.path("data"), out_ = folder_.path("out.safetensors");
};

TEST_F(TuneTest, StoresPointsThatEvaluationFindsAgain) {
  const auto result = tune({"--json", "--hardware", "tx2", "--hardware", "v100", "--dtype", "fp16"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("report the accuracy on other images"));
  const auto points = result.json().at("points");
  ASSERT_GE(points.size(), 1u);
  EXPECT_EQ(result.json().at("images"), 12);
  const Model tuned = load_model(out_);
  ASSERT_EQ(tuned.operating_points.size(), points.size());
  EXPECT_THAT(tuned.training_json, HasSubstr("\"deciding_images\":6"));
  for (const auto& point : points) {
    EXPECT_TRUE(point.at("predicted_ms").contains("tx2") && point.at("predicted_ms").contains("v100"));
    const auto ratio = point.at("macs_ratio").get<double>();
    const auto found = report_of({"eval", out_, data_, "--macs", fmt::format("{}", ratio)});
    EXPECT_NEAR(found.at("macs_ratio").get<double>(), ratio, 1e-3);
    EXPECT_NEAR(found.at("top1").get<double>(), point.at("top1").get<double>(), 1e-9);
  }
  const auto inspected = report_of({"inspect", out_});
  EXPECT_EQ(inspected.at("operating_points"), points);
  EXPECT_THAT(run_program({"inspect", out_}).out, AllOf(HasSubstr("operating points"), HasSubstr("on tx2")));
}

TEST_F(TuneTest, WithoutABudgetTheNetworkIsWhatItWas) {
  ASSERT_EQ(tune().exit_code, 0);
  EXPECT_EQ(report_of({"eval", out_, data_}).at("macs_ratio"),
            report_of({"eval", model_, data_}).at("macs_ratio"));
}

TEST_F(TuneTest, RefusesBeforeItWorks) {
  const auto expect_refusal = [&](const std::vector<std::string>& arguments, int code,
                                  const std::string& text) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, code) << text;
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_FALSE(fs::exists(out_));
  };
  expect_refusal({"tune", save_static_model(), data_, "-o", out_}, 1, "static network");
  expect_refusal({"tune", model_, data_, "-o", model_}, 2, "is the model that is tuned");
  expect_refusal({"tune", model_, data_, "-o", folder_.path("out.pth")}, 2, ".safetensors");
  expect_refusal({"tune", model_, data_}, 2, "--output");
  expect_refusal({"tune", model_, folder_.path("nowhere"), "-o", out_}, 1, "nowhere");
  expect_refusal({"tune", model_, data_, "-o", folder_.path("no/out.safetensors")}, 1, "no/out.safetensors");
  expect_refusal({"tune", model_, data_, "-o", out_, "--points", "1"}, 2, "--points");
  expect_refusal({"tune", model_, data_, "-o", out_, "--hardware", "tx3"}, 2, "tx2");
  fs::create_directories(folder_.path("flat"));
  save_photo("flat/a.png");
  expect_refusal({"tune", model_, folder_.path("flat"), "-o", out_}, 1, "flat");
  expect_refusal({"tune", save_backbone(), data_, "-o", out_}, 1, "backbone.safetensors: a backbone without");
}

TEST_F(TuneTest, UnreadableImagesAreRefusedOrCounted) {
  std::ofstream(folder_.path("data/val/disc/a-broken.png")) << "no picture";
  std::ofstream(folder_.path("data/val/stripes/broken.png")) << "no picture";
  const auto refused = tune();
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("broken.png"), HasSubstr("--skip-unreadable")));
  EXPECT_FALSE(fs::exists(out_));

  const auto counted = tune({"--skip-unreadable", "--json"});
  ASSERT_EQ(counted.exit_code, 0) << counted.err;
  EXPECT_THAT(counted.err,
              AllOf(HasSubstr("left out: "), HasSubstr("a-broken.png"), HasSubstr("stripes/broken.png")));
  EXPECT_EQ(counted.json().at("images"), 12);
  EXPECT_EQ(counted.json().at("unreadable").size(), 2u);
  const auto facts = nlohmann::json::parse(load_model(out_).training_json).at("tuning");
  EXPECT_EQ(facts.at("images"), 12);
  EXPECT_EQ(facts.at("deciding_images"), 6);
  EXPECT_THAT(tune({"--skip-unreadable"}).out, HasSubstr("points on 12 images"));
}

TEST_F(TuneTest, AThresholdIsTheLibrarys) {
  const Tensor input = random_input(2, {48, 48}, 3);
  save_npy(input, folder_.path("x.npy"));
  Session session(tiny_model());
  for (const auto& [text, thresholds] :
       {std::pair{"0.05", std::vector<float>{0.05f}},
        {"-inf", {-INFINITY}},
        {"0,0.1,0,0,0,-0.1,0,inf", {0, 0.1f, 0, 0, 0, -0.1f, 0, INFINITY}}}) {
    const auto result =
        run_program({"forward", model_, "--input", folder_.path("x.npy"), "--output", folder_.path("y.npy"),
                     "--masks", folder_.path("masks"), std::string("--threshold=") + text});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Result expected = session.run(input, {.thresholds = thresholds});
    EXPECT_EQ(load_npy_f32(folder_.path("y.npy")), expected.logits) << text;
    for (const BlockTrace& block : expected.trace.blocks)
      EXPECT_EQ(load_npy_u8(folder_.path("masks/" + block.name + ".npy")), block.mask) << text;
  }
}

TEST_F(TuneTest, EveryCommandTakesAThreshold) {
  const std::string photo = save_photo("a.png");
  const auto run_ratio = [&](const std::vector<std::string>& more) {
    return report_of(with({"run", model_, photo, "--repeat", "1"}, more))
        .at("images")[0]
        .at("macs_ratio")
        .get<double>();
  };
  EXPECT_GT(run_ratio({"--threshold=-inf"}), 1);
  EXPECT_LT(run_ratio({"--threshold", "inf"}), run_ratio({}));
  const auto eval_rate = [&](const std::vector<std::string>& more) {
    return report_of(with({"eval", model_, data_}, more)).at("blocks")[0].at("rate").get<double>();
  };
  EXPECT_EQ(eval_rate({"--threshold=-inf"}), 1);
  EXPECT_EQ(eval_rate({"--threshold", "inf"}), 0);
  const auto bench = report_of({"bench", model_, "--images", data_, "--repeat", "1", "--threshold", "inf"});
  EXPECT_EQ(bench.at("blocks")[0].at("rate"), 0);
  EXPECT_EQ(bench.at("masks"), "own");
  EXPECT_EQ(bench.at("thresholds")[0], "inf") << "JSON has no such number";
  EXPECT_THAT(bench.at("reproduce"), HasSubstr("--threshold=inf"));
}

TEST_F(TuneTest, BudgetsChooseAPoint) {
  const std::string tuned = save_tuned_model(), photo = save_photo("a.png");
  const auto thresholds = [&](const std::vector<std::string>& more) {
    return report_of(with({"run", tuned, photo, "--repeat", "1"}, more)).at("thresholds")[0].get<float>();
  };
  EXPECT_NEAR(thresholds({"--macs", "0.3"}), 0.04, 1e-6);
  EXPECT_NEAR(thresholds({"--macs", "0.6"}), -0.02, 1e-6);
  EXPECT_NEAR(thresholds({"--macs", "1"}), -0.04, 1e-6);
  EXPECT_NEAR(thresholds({"--budget-ms", "1e6", "--hardware", "tx2"}), -0.04, 1e-6);
  EXPECT_NEAR(thresholds({"--budget-ms", "1e6"}), -0.04, 1e-6);
  const auto of_run =
      report_of({"run", tuned, photo, "--repeat", "1", "--macs", "0.4"}).at("operating_point");
  EXPECT_NEAR(of_run.at("macs_ratio").get<double>(), 0.4, 1e-6);
  EXPECT_NEAR(of_run.at("top1").get<double>(), 0.4, 1e-6);
  EXPECT_EQ(report_of({"eval", tuned, data_, "--macs", "0.4"}).at("operating_point"), of_run);
  EXPECT_FALSE(report_of({"eval", tuned, data_, "--threshold", "1"}).contains("operating_point"));
  const auto scalar =
      run_program({"run", tuned, photo, "--repeat", "1", "--isa", "scalar", "--budget-ms", "1e6"});
  EXPECT_THAT(scalar.err, HasSubstr("on cpu-scalar")) << "not on the kernels that are not asked for";
  const auto said = run_program({"run", tuned, photo, "--repeat", "1", "--macs", "0.5"});
  EXPECT_THAT(said.err, AllOf(HasSubstr("50.0 %"), HasSubstr("top-1 50.0 %")));
  const auto bench =
      report_of({"bench", tuned, "--images", data_, "--repeat", "1", "--masks", "own", "--macs", "0.3"});
  EXPECT_NEAR(bench.at("thresholds")[0].get<float>(), 0.04, 1e-6);
  EXPECT_THAT(bench.at("reproduce"), HasSubstr("--masks own --macs 0.3"));
}

TEST_F(TuneTest, BudgetsThatCannotBeMetAreRefused) {
  const std::string tuned = save_tuned_model(), photo = save_photo("a.png");
  const auto expect_refusal = [&](const std::vector<std::string>& arguments, int code,
                                  const std::string& text) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, code) << text;
    EXPECT_THAT(result.err, HasSubstr(text));
  };
  expect_refusal({"run", tuned, photo, "--macs", "0.2"}, 1, "0.3000");
  expect_refusal({"run", tuned, photo, "--budget-ms", "1e-6", "--hardware", "tx2"}, 1, "tx2");
  expect_refusal({"run", tuned, photo, "--budget-ms", "9", "--backend", "reference"}, 2, "--macs");
  expect_refusal({"run", tuned, photo, "--budget-ms", "9", "--no-crop"}, 2, "no common size");
  expect_refusal({"run", tuned, photo, "--macs", "nan"}, 2, "--macs");
  expect_refusal({"run", tuned, photo, "--budget-ms", "-1"}, 2, "--budget-ms");
  expect_refusal({"run", tuned, photo, "--macs", "0.5", "--budget-ms", "5"}, 2, "--budget-ms");
  expect_refusal({"run", tuned, photo, "--macs", "0.5", "--threshold", "1"}, 2, "--threshold");
  expect_refusal({"run", tuned, photo, "--hardware", "tx2"}, 2, "--budget-ms");
  expect_refusal({"run", model_, photo, "--macs", "0.5"}, 1, "lasnet tune");
  expect_refusal({"run", model_, photo, "--threshold", "a"}, 2, "expected a number");
  expect_refusal({"run", model_, photo, "--threshold", "1,"}, 2, "expected a number");
  expect_refusal({"run", model_, photo, "--threshold", "nan", "--overlay", folder_.path("o")}, 2, "NaN");
  expect_refusal({"run", model_, photo, "--threshold", "1,2", "--overlay", folder_.path("o")}, 2,
                 "resnet18 has 8 blocks");
  EXPECT_FALSE(fs::exists(folder_.path("o")));
  expect_refusal({"run", save_static_model(), photo, "--threshold", "1"}, 2, "static network");
  expect_refusal({"bench", tuned, "--images", data_, "--macs", "0.5", "--threshold", "1"}, 2, "own masks");
  expect_refusal({"bench", tuned, "--images", data_, "--masks", "own", "--rate", "0.5"}, 2, "--rate");
  expect_refusal({"bench", "resnet18", "--masks", "own"}, 2, "random weights");
}

TEST_F(TuneTest, ConvertKeepsThePointsOfTheSameNetwork) {
  const std::string tuned = save_tuned_model();
  ASSERT_EQ(run_program({"convert", tuned, out_, "--dtype", "fp16"}).exit_code, 0);
  EXPECT_EQ(load_model(out_).operating_points, load_model(tuned).operating_points);
  const auto dropped = run_program({"convert", tuned, out_, "--granularity", "2-2-2-1"});
  ASSERT_EQ(dropped.exit_code, 0);
  EXPECT_THAT(dropped.err, AllOf(HasSubstr("its 3 operating points are left out"), HasSubstr("lasnet tune")));
  EXPECT_TRUE(load_model(out_).operating_points.empty());
  EXPECT_EQ(run_program({"convert", model_, out_, "--dtype", "fp16"}).err, "");
}

TEST_F(TuneTest, PredictionsOfAPointHaveItsRates) {
  const std::string tuned = save_tuned_model();
  const auto predict = [&](const std::vector<std::string>& more) {
    return report_of(with({"predict", tuned, "--hardware", "tx2"}, more));
  };
  const auto point = predict({"--macs", "0.5"}), rate = predict({"--rate", "0.5"});
  EXPECT_NEAR(point.at("dynamic_ms").get<double>(), rate.at("dynamic_ms").get<double>(), 1e-9);
  EXPECT_NEAR(point.at("operating_point").at("macs_ratio").get<double>(), 0.5, 1e-6);
  EXPECT_TRUE(point.at("rate").is_null());
  EXPECT_FALSE(rate.contains("operating_point"));
  EXPECT_THAT(run_program({"predict", tuned, "--hardware", "tx2", "--macs", "0.5"}).out,
              HasSubstr("operating point of 50.0 % of the MACs"));
  EXPECT_THAT(run_program({"predict", model_, "--macs", "0.5"}).err, HasSubstr("has no operating points"));
  EXPECT_EQ(run_program({"predict", tuned, "--macs", "0.5", "--rate", "0.5"}).exit_code, 2);
}

TEST_F(TuneTest, ThresholdsThatAreTheSameEverywhereAreNotShown) {
  const std::string tuned = save_tuned_model();
  EXPECT_THAT(run_program({"inspect", tuned}).out, HasSubstr("thresholds"));
  Model model = load_model(tuned);
  for (OperatingPoint& point : model.operating_points) point.thresholds.assign(8, 0);
  save_model(model, tuned);
  EXPECT_THAT(run_program({"inspect", tuned}).out,
              AllOf(HasSubstr("operating points"), Not(HasSubstr("thresholds"))));
}

TEST_F(TuneTest, ASweepMeasuresEveryPointAndTheStaticNetwork) {
  const std::string tuned = save_tuned_model(), sweep = folder_.path("sweep");
  const auto report = report_of({"eval", tuned, data_, "--sweep", sweep});
  const auto& points = report.at("points");
  ASSERT_EQ(points.size(), 4u);
  EXPECT_EQ(report.at("images"), 12);
  EXPECT_EQ(report.at("repeats"), 3);
  for (size_t i = 0; i < 3; ++i) {
    const auto alone =
        report_of({"eval", tuned, data_, "--macs", fmt::format("{}", 0.3 + 0.2 * static_cast<double>(i))});
    EXPECT_NEAR(points[i].at("macs_ratio").get<double>(), alone.at("macs_ratio").get<double>(), 1e-3);
    EXPECT_EQ(points[i].at("top1"), alone.at("top1"));
    EXPECT_GT(points[i].at("ms_per_image"), 0);
    EXPECT_FALSE(points[i].at("dense"));
  }
  EXPECT_TRUE(points[3].at("dense"));
  EXPECT_NEAR(points[3].at("macs_ratio").get<double>(), 1, 1e-9);
  std::ifstream csv(sweep + "/tuned.csv");
  std::string line;
  std::getline(csv, line);
  EXPECT_EQ(line, "masks,macs_ratio,top1,top5,ms_per_image");
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(csv), {}, '\n'), 4);
  EXPECT_GT(fs::file_size(sweep + "/tuned.svg"), 1000u);
  EXPECT_THAT(run_program({"eval", tuned, data_, "--sweep", sweep, "--repeat", "2"}).out,
              AllOf(HasSubstr("without masks"), HasSubstr("medians of 2 runs"), HasSubstr("tuned.csv")));

  const auto bad = run_program({"eval", tuned, data_, "--sweep", sweep, "--macs", "0.5"});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.err, HasSubstr("--sweep"));
  const auto without = run_program({"eval", model_, data_, "--sweep", folder_.path("none")});
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_THAT(without.err, HasSubstr("lasnet tune"));
  EXPECT_FALSE(fs::exists(folder_.path("none")));
}

}  // namespace
}  // namespace lasnet::test
