// `lasnet calibrate` and `validate-predictor` at their least: they measure, so nothing depends on what comes
// out.
#include <gmock/gmock.h>

#include <filesystem>

#include "engine/hardware_facts.h"
#include "fixtures.h"
#include "lasnet/engine.h"
#include "program.h"

namespace lasnet::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class CalibrateTest : public ProgramTest {};

TEST_F(CalibrateTest, WritesAProfileThatPredictReads) {
  const auto path = folder_.path("here.toml");
  const json report = report_of({"calibrate", "--seconds", "5", "-o", path});
  EXPECT_EQ(report.at("output"), path);
  EXPECT_GT(report.at("fit").at("points"), 0);
  EXPECT_GT(report.at("held_out").at("points"), 0);
  const HardwareProfile profile = load_hardware(path);
  EXPECT_EQ(to_string(cpu_of(profile).isa), report.at("isa"));
  for (int unit = 0; unit < kWorkUnits; ++unit) {
    const std::string name = to_string(static_cast<WorkUnit>(unit));
    EXPECT_EQ(cpu_of(profile).cost(static_cast<WorkUnit>(unit)), report.at("seconds_per").at(name));
  }
  const auto predicted = run_program({"predict", "resnet18", "--hardware", path, "--json"});
  EXPECT_EQ(predicted.exit_code, 0);
  EXPECT_EQ(predicted.err, "") << "made on this machine";
  EXPECT_GT(predicted.json().at("dynamic_ms"), 0.0);
}

TEST_F(CalibrateTest, AnUnwritableOutputIsNamed) {
  write_text(folder_.path("file"), "in the way");
  const auto result =
      run_program({"calibrate", "--seconds", "5", "-o", folder_.path("file/here.toml"), "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(folder_.path("file")));
  EXPECT_LT(result.cpu_seconds, 3) << "refused before measuring";
}

TEST_F(CalibrateTest, FoldersThatAreMissingAreNamedBeforeMeasuring) {
  const auto path = folder_.path("none/p.svg");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"calibrate", "--seconds", "5", "-o", path},
        std::vector<std::string>{"validate-predictor", "--quick", "--plot", path}}) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, testing::AllOf(HasSubstr(path), HasSubstr("folder")));
    EXPECT_LT(result.cpu_seconds, 3);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path("none")));
}

TEST_F(CalibrateTest, AGpuThatIsNotThereIsNamedBeforeAnythingIsWritten) {
  if (!cuda_devices().empty()) GTEST_SKIP() << "there is one";
  const auto path = folder_.path("gpu.toml");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"calibrate", "--device", "cuda", "-o", path},
        std::vector<std::string>{"validate-predictor", "--device", "cuda"},
        std::vector<std::string>{"validate-predictor", "--hardware", "cuda"},
        std::vector<std::string>{"validate-predictor", "--hardware", "cuda-h100"}}) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err,
                testing::AllOf(HasSubstr(cuda_unavailable_reason()), HasSubstr("without --device")));
    EXPECT_THAT(result.err, testing::Not(HasSubstr("warning")))
        << "of the times that would have been compared";
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ValidatePredictor, TheDeviceAndTheHardwareMustAgree) {
  const auto other = run_program({"validate-predictor", "--device", "cuda", "--hardware", "cpu-scalar"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("--device cuda"));
  const auto published = run_program({"validate-predictor", "--hardware", "h100"});
  EXPECT_EQ(published.exit_code, 1);
  EXPECT_THAT(published.err, HasSubstr("published GPU"));
  const auto isa = run_program({"calibrate", "--device", "cuda", "--isa", "scalar"});
  EXPECT_EQ(isa.exit_code, 2);
}

TEST(ValidatePredictor, JsonComparesBlocksChoicesAndNetworks) {
  const json report = report_of({"validate-predictor", "--quick", "--repeat", "2"});
  for (const char* group : {"resnet", "regnet"}) EXPECT_GT(report.at(group).at("points"), 0) << group;
  EXPECT_GE(report.at("noise"), 0.0);
  for (const json& point : report.at("points")) {
    EXPECT_GT(point.at("measured_us"), 0.0);
    EXPECT_GT(point.at("predicted_us"), 0.0);
  }
  for (const char* list : {"granularities", "schedules", "granularities_and_schedules"}) {
    const json& choices = report.at(list);
    EXPECT_GE(choices.at("regret_max"), choices.at("regret_mean")) << list;
    EXPECT_FALSE(choices.at("choices").empty()) << list;
    for (const json& choice : choices.at("choices")) {
      std::vector<std::string> names;
      for (const json& option : choice.at("options")) names.push_back(option.at("name"));
      EXPECT_THAT(names, testing::Contains(choice.at("chosen").get<std::string>()));
      EXPECT_THAT(names, testing::Contains(choice.at("best").get<std::string>()));
      EXPECT_GE(choice.at("regret"), 0.0);
    }
  }
  for (const json& choice : report.at("granularities").at("choices")) {
    EXPECT_THAT(choice.at("chosen").get<std::string>(), testing::AnyOf("S 1", "S 4", "S 7"));
  }
  EXPECT_GT(report.at("idle").at("points"), 0);
  ASSERT_EQ(report.at("networks").size(), 1u);
  EXPECT_EQ(report.at("networks").at(0).at("network"), "resnet50");
}

}  // namespace
}  // namespace lasnet::test
