// `lasnet report` as its users run it: what it refuses, what it writes, and how it goes on after an
// interruption.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "fixtures.h"
#include "program.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kParts[] = {"regions", "prediction", "speed", "ablations", "blocks", "knob", "machine"};

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ReportRefuses : public ProgramTest {
 protected:
  void SetUp() override { write_image_folder(folder_.path("images"), 2, 2); }

  /// Expects an error that says this, and that nothing was written.
  void expect_refused(const std::vector<std::string>& arguments, int exit_code,
                      const testing::Matcher<std::string>& says) {
    const auto result = run_program(with(with({"report"}, arguments), {"-o", folder_.path("out")}));
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_THAT(result.err, says);
    EXPECT_FALSE(fs::exists(folder_.path("out")));
  }

  std::string model_ = save_tiny_model();
};

TEST_F(ReportRefuses, AStaticModel) {
  save_model(tiny_model({}), folder_.path("static.safetensors"));
  expect_refused({folder_.path("static.safetensors"), "--images", folder_.path("images/val")}, 2,
                 AllOf(HasSubstr("static network"), HasSubstr("lasnet train")));
}

TEST_F(ReportRefuses, AnArchitecture) {
  expect_refused({"resnet50", "--images", folder_.path("images/val")}, 2, HasSubstr("give a model file"));
}

TEST_F(ReportRefuses, AFolderWithoutImages) {
  fs::create_directory(folder_.path("empty"));
  expect_refused({model_, "--images", folder_.path("empty")}, 1, HasSubstr("empty"));
  expect_refused({model_, "--images", folder_.path("absent")}, 1, HasSubstr("absent"));
}

TEST_F(ReportRefuses, LabelsThatAreNotTheModels) {
  fs::rename(folder_.path("images/val/disc"), folder_.path("images/val/cat"));
  expect_refused({model_, "--images", folder_.path("images/val")}, 1,
                 AllOf(HasSubstr("cat"), HasSubstr("disc")));
}

TEST_F(ReportRefuses, ABrokenPhotograph) {
  std::ofstream(folder_.path("images/val/disc/0.png")) << "no picture";
  expect_refused({model_, "--images", folder_.path("images/val")}, 1, HasSubstr("0.png"));
}

TEST_F(ReportRefuses, UnknownHardware) {
  expect_refused({model_, "--images", folder_.path("images/val"), "--hardware", "tx2,v10"}, 2,
                 AllOf(HasSubstr("v10"), HasSubstr("v100")));
}

TEST_F(ReportRefuses, TimesOfAnotherModel) {
  std::ofstream(folder_.path("peers.json")) << R"({"network": "resnet50", "peers": []})";
  expect_refused({model_, "--images", folder_.path("images/val"), "--peers", folder_.path("peers.json")}, 1,
                 AllOf(HasSubstr("peers.json"), HasSubstr("resnet50")));
}

TEST_F(ReportRefuses, QuickAndFullTogether) {
  expect_refused({model_, "--images", folder_.path("images/val"), "--quick", "--full"}, 2,
                 HasSubstr("--full"));
}

TEST_F(ReportRefuses, AFolderThatCannotBeMade) {
  std::ofstream(folder_.path("file")) << "in the way";
  const auto result =
      run_program({"report", model_, "--images", folder_.path("images/val"), "-o", folder_.path("file/out")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("file/out"));
}

/// One report for all tests of it.
class ReportTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    write_image_folder(path("images"), 1, 4);
    save_png(resize(tiny_photo(0, 7), 150, 60), path("images/val/disc/wide.png"));
    save_model(tiny_model(), path("model.safetensors"));
    made_ = new ProgramResult(run({"--quick", "--json"}));
  }
  static void TearDownTestSuite() {
    delete made_;
    delete folder_;
  }
  void SetUp() override { ASSERT_EQ(made_->exit_code, 0) << made_->err; }

  static std::string path(const std::string& name) { return folder_->path(name); }
  static std::string out(const std::string& name) { return path("out/" + name); }
  static ProgramResult run(const std::vector<std::string>& more) {
    return run_program(with({"report", path("model.safetensors"), "--images", path("images/val"), "-o",
                             path("out"), "--hardware", "v100,tx2"},
                            more));
  }
  static json document(const std::string& part) {
    return json::parse(text_of(out("data/" + part + ".json")));
  }

  static TemporaryFolder* folder_;
  static ProgramResult* made_;
};
TemporaryFolder* ReportTest::folder_ = nullptr;
ProgramResult* ReportTest::made_ = nullptr;

TEST_F(ReportTest, WritesThePageAndWhatIsBehindIt) {
  const std::string page = text_of(out("index.html"));
  for (const char* part : kParts) {
    EXPECT_THAT(page, HasSubstr(fmt::format("<section id=\"{}\"", part)));
    EXPECT_TRUE(fs::exists(out(fmt::format("data/{}.json", part)))) << part;
  }
  for (const char* figure : {"prediction", "scatter", "predicted_v100", "predicted_tx2", "density",
                             "accuracy", "granularity", "knob"})
    EXPECT_THAT(text_of(out(fmt::format("figures/{}.svg", figure))), HasSubstr("<svg")) << figure;
  for (const std::string& entry : folder_->entries("out")) EXPECT_THAT(entry, Not(HasSubstr(".tmp")));
}

TEST_F(ReportTest, ThePageIsOneSmallFile) {
  const std::string page = text_of(out("index.html"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  const std::regex elsewhere(R"re((src|href)="(https?:|//)|url\(|@import|fetch\(|XMLHttpRequest)re");
  std::smatch found;
  EXPECT_FALSE(std::regex_search(page, found, elsewhere)) << found.str();
  size_t pictures = 0;
  for (size_t at = page.find("data:image/"); at != std::string::npos; at = page.find("data:image/", at + 1))
    pictures += page.find('"', at) - at;
  EXPECT_GT(pictures, 0);
  EXPECT_LE(page.size() - pictures, 300'000);
}

TEST_F(ReportTest, JsonHasEveryDocument) {
  const json all = made_->json();
  for (const char* part : kParts) {
    EXPECT_EQ(all.at(part), document(part).at("data")) << part;
    EXPECT_GT(all.at("seconds").at(part), 0.0) << part;
  }
}

TEST_F(ReportTest, AccuracyIsMeasuredWhereThereAreLabels) {
  const json accuracy = made_->json().at("speed").at("accuracy");
  EXPECT_TRUE(accuracy.at("measured"));
  EXPECT_EQ(accuracy.at("images"), 9);
  const json eval = report_of({"eval", path("model.safetensors"), path("images/val"), "--json"});
  EXPECT_DOUBLE_EQ(accuracy.at("entries").at(1).at("top1"), eval.at("top1").get<double>());
}

TEST_F(ReportTest, IsWhatBenchMeasuresWithTheSameOptions) {
  for (const json& run : made_->json().at("speed").at("runs")) {
    std::vector<std::string> arguments;
    std::istringstream words(run.at("reproduce").get<std::string>());
    for (std::string word; words >> word;) arguments.push_back(word);
    arguments.erase(arguments.begin());  // the program's name
    const json bench = report_of(with(arguments, {"--json"}));
    for (const char* key :
         {"macs_ratio", "theory_speedup", "input", "threads", "photographs", "repeat", "reproduce"})
      EXPECT_EQ(run.at(key), bench.at(key)) << key;
    EXPECT_EQ(run.at("dense").at("quartiles_ms").at("median"), run.at("dense").at("median_ms"));
  }
}

TEST_F(ReportTest, PredictsWhatValidatePredictorDoes) {
  const json prediction = made_->json().at("prediction");
  const json validation =
      report_of({"validate-predictor", "--network", path("model.safetensors"), "--repeat", "2", "--json"});
  std::vector<double> here, there;
  for (const json& stage : prediction.at("stages")) {
    for (const json& curve : stage.at("curves")) {
      for (const json& point : curve.at("points")) here.push_back(point.at("predicted_ms"));
    }
  }
  for (const json& choice : validation.at("granularities").at("choices")) {
    for (const json& option : choice.at("options"))
      there.push_back(1e-3 * option.at("predicted_us").get<double>());
  }
  std::ranges::sort(here);
  std::ranges::sort(there);
  ASSERT_EQ(here.size(), there.size());
  for (size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(here[i], there[i], 1e-9 * there[i]);
}

TEST_F(ReportTest, TimesOfOperationsAddUpToBlocks) {
  const json blocks = made_->json().at("blocks");
  ASSERT_FALSE(blocks.at("blocks").empty());
  double dense = blocks.at("dense_outside_ms");
  for (const json& block : blocks.at("blocks")) {
    EXPECT_GT(block.at("dense").at("conv1"), 0.0);
    EXPECT_EQ(block.at("dense").at("masker"), 0.0);
    EXPECT_GT(block.at("sparse").at("masker"), 0.0);
    for (const auto& [kind, ms] : block.at("dense").items()) dense += ms.get<double>();
  }
  EXPECT_NEAR(dense, blocks.at("dense_ms"), 0.3 * blocks.at("dense_ms").get<double>());
}

TEST_F(ReportTest, ResumeMeasuresOnlyWhatIsMissing) {
  const json knob = document("knob"), speed = document("speed");
  fs::remove(out("index.html"));
  std::ofstream(out("data/knob.json")) << "{";  // as a disk may leave it
  const auto resumed = run({"--quick", "--resume"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("6 of 7 parts are kept"));
  EXPECT_TRUE(fs::exists(out("index.html")));
  EXPECT_EQ(document("speed"), speed);
  EXPECT_EQ(document("knob").at("data").at("points").size(), knob.at("data").at("points").size());
}

TEST_F(ReportTest, ResumeKeepsNothingOfOtherOptions) {
  fs::copy(path("out"), path("other"), fs::copy_options::recursive);
  const auto arguments = std::vector<std::string>{"report",     path("model.safetensors"),
                                                  "--images",   path("images/val"),
                                                  "-o",         path("other"),
                                                  "--hardware", "v100",
                                                  "--quick",    "--resume"};
  const auto resumed = run_program(arguments);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("0 of 7 parts are kept"));
}

TEST_F(ReportTest, AKilledReportKeepsWhatItMeasured) {
  const std::vector<std::string> arguments = {"report",     path("model.safetensors"),
                                              "--images",   path("images/val"),
                                              "-o",         path("killed"),
                                              "--hardware", "v100",
                                              "--quick"};
  const auto killed = run_program(
      arguments,
      {.interrupt_when = [](const std::string&) { return fs::exists(path("killed/data/speed.json")); },
       .interrupt_signal = SIGKILL});
  ASSERT_EQ(killed.exit_code, 128 + SIGKILL) << killed.err;
  EXPECT_FALSE(fs::exists(path("killed/index.html")));
  const std::string speed = text_of(path("killed/data/speed.json"));
  const auto resumed = run_program(with(arguments, {"--resume"}));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, testing::ContainsRegex("[3-7] of 7 parts are kept"));
  EXPECT_EQ(text_of(path("killed/data/speed.json")), speed);
  EXPECT_TRUE(fs::exists(path("killed/index.html")));
}

/// What bench/peers/compare.py writes, as far as it is read.
constexpr const char* kPeers =
    R"({"network": "model.safetensors", "date": "2026-12-01", "processor": "Some CPU", "threads": 2,
  "batch": 1, "precision": "fp32", "macs_ratio": 0.5, "rounds": 7,
  "dense": {"min_ms": 19, "median_ms": 20, "sparse_speedup": {"q1": 1.9, "median": 2, "q3": 2.1}},
  "sparse": {"min_ms": 9, "median_ms": 10, "sparse_speedup": {"q1": 1, "median": 1, "q3": 1}},
  "peers": [{"name": "openvino", "version": "2026.1", "min_ms": 29, "median_ms": 30,
             "sparse_speedup": {"q1": 2.9, "median": 3, "q3": 3.1}}]})";

TEST_F(ReportTest, TimesOfOtherEnginesJoinAFinishedReport) {
  const std::string speed = text_of(out("data/speed.json"));
  std::ofstream(path("peers.json")) << kPeers;
  const auto resumed = run({"--quick", "--resume", "--peers", path("peers.json"), "--json"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("7 of 7 parts are kept"));
  EXPECT_EQ(text_of(out("data/speed.json")), speed);
  EXPECT_EQ(resumed.json().at("speed").at("peers").at(0).at("networks").size(), 3);
  EXPECT_THAT(text_of(out("index.html")),
              AllOf(HasSubstr("openvino 2026.1, dense"), HasSubstr("Not measured in this run"),
                    HasSubstr("Some CPU")));
  EXPECT_THAT(text_of(out("data/peers.csv")), HasSubstr("\"openvino 2026.1, dense\",29,30,2.9,3,3.1\n"));
}

/// By itself, so that ctest shows it as skipped where there is no browser.
class ReportInABrowser : public ReportTest {};

TEST_F(ReportInABrowser, Works) {
  if (std::string(LASNET_TEST_PYTHON).empty()) GTEST_SKIP() << "there is no python3";
  const std::string command = fmt::format("'{}' '{}' '{}' '{}'", LASNET_TEST_PYTHON, LASNET_CHECK_PAGE,
                                          path("out"), LASNET_SCREENSHOTS);
  const int status = std::system(command.c_str());
  if (WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "chromium is not installed: scripts/install-deps.sh --clients";
  EXPECT_EQ(status, 0) << "what is wrong is said above";
}

}  // namespace
}  // namespace lasnet::test
