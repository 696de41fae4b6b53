// `lasnet inspect` against the library's own accounting.
#include <gmock/gmock.h>

#include "fixtures.h"
#include "formats/safetensors.h"
#include "lasnet/geometry.h"
#include "program.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;

class InspectTest : public ProgramTest {};

TEST_F(InspectTest, JsonDescribesTheFile) {
  const auto result = run_program({"inspect", save_tiny_model(), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = result.json();
  const Model model = tiny_model();
  EXPECT_EQ(json.at("arch").at("name"), "resnet18");
  EXPECT_EQ(json.at("arch").at("granularity"), "4-4-2-1");
  EXPECT_EQ(json.at("arch").at("stem"), "small");
  EXPECT_EQ(json.at("class_names"), model.class_names);
  EXPECT_EQ(json.at("preprocessing").at("crop"), 48);
  EXPECT_EQ(json.at("macs"), static_macs(model.spec, {48, 48}));

  int64_t macs = json.at("fixed_macs");
  for (const auto& block : json.at("blocks")) macs += block.at("macs").get<int64_t>();
  EXPECT_EQ(macs, json.at("macs")) << "blocks, stem and head are the network";
}

TEST_F(InspectTest, ParametersAreThoseOfTheWeights) {
  const auto json = run_program({"inspect", save_tiny_model(), "--json"}).json();
  int64_t parameters = 0;
  for (const TensorSpec& tensor : required_tensors(tiny_model().spec)) {
    // Running statistics and step counters are no parameters.
    if (tensor.name.find("running_") == std::string::npos) parameters += element_count(tensor.shape);
  }
  const int64_t maskers = json.at("masker_parameters");
  EXPECT_GT(maskers, 0);
  EXPECT_EQ(json.at("parameters").get<int64_t>() + maskers, parameters);
  int64_t of_blocks = 0;
  for (const auto& block : json.at("blocks")) of_blocks += block.at("masker_parameters").get<int64_t>();
  EXPECT_EQ(of_blocks, maskers);
}

TEST_F(InspectTest, CountsOfParametersAreThosePublished) {
  for (const char* granularity : {"static", "4-4-2-1"}) {
    EXPECT_EQ(report_of({"inspect", "regnet_y_400mf", "--granularity", granularity}).at("parameters"),
              4'344'144);
    EXPECT_EQ(report_of({"inspect", "resnet18", "--granularity", granularity}).at("parameters"), 11'689'512);
  }
}

TEST_F(InspectTest, PreprocessingCanBeSaid) {
  const auto json = report_of({"inspect", save_tiny_model(), "--mean", "raw", "--crop", "40"});
  EXPECT_EQ(json.at("preprocessing").at("mean"), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(json.at("preprocessing").at("std"), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(json.at("preprocessing").at("crop"), 40);
  EXPECT_EQ(json.at("input"), (std::vector<int>{40, 40}));
}

TEST_F(InspectTest, MacsFollowTheInputSize) {
  const auto json = run_program({"inspect", save_tiny_model(), "--json", "--input-size", "100"}).json();
  EXPECT_EQ(json.at("macs"), static_macs(tiny_model().spec, {100, 100}));
}

TEST_F(InspectTest, TextHasALinePerBlock) {
  const auto result = run_program({"inspect", save_tiny_model()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const BlockSpec& block : tiny_model().spec.blocks) EXPECT_THAT(result.out, HasSubstr(block.name));
  EXPECT_THAT(result.out, HasSubstr("disc, stripes"));
}

TEST_F(InspectTest, AnArchitectureNeedsNoFile) {
  const auto json = report_of({"inspect", "resnet50", "--granularity", "4-4-2-1"});
  EXPECT_EQ(json.at("arch").at("granularity"), "4-4-2-1");
  EXPECT_EQ(json.at("macs"), static_macs(make_spec({.name = "resnet50"}), {224, 224}));
  EXPECT_EQ(report_of({"inspect", "resnet50"}).at("parameters"), 25'557'032) << "torchvision's";
  const auto text = run_program({"inspect", "regnet_y_400mf", "--classes", "7"});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("classes        7"));
}

TEST_F(InspectTest, MapsAndDilatedStages) {
  const auto maps = report_of({"inspect", "resnet50"}).at("maps");
  ASSERT_EQ(maps.size(), 5u);
  EXPECT_EQ(maps.at(2), (nlohmann::json{{"name", "layer2"}, {"channels", 512}, {"stride", 8}}));
  const auto dilated = report_of({"inspect", "resnet50", "--dilated-stages", "2"});
  EXPECT_EQ(dilated.at("arch").at("dilated_stages"), 2);
  EXPECT_EQ(dilated.at("maps").at(4).at("stride"), 8);
  EXPECT_THAT(run_program({"inspect", "resnet50", "--dilated-stages", "2"}).out,
              HasSubstr("layer4 (2048 channels, 1/8)"));
  const auto refused = run_program({"inspect", "resnet18", "--dilated-stages", "1"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("bottleneck"));
  EXPECT_EQ(run_program({"inspect", "resnet50", "--dilated-stages", "4"}).exit_code, 2);
}

TEST_F(InspectTest, AFileWithoutDescriptionNeedsAnArchitecture) {
  const Model model = tiny_model({});
  const auto path = folder_.path("plain.safetensors");
  write_safetensors({model.weights, {}}, path, DType::f32);
  const auto bare = run_program({"inspect", path, "--json"});
  EXPECT_EQ(bare.exit_code, 1);
  EXPECT_THAT(bare.err, HasSubstr("--arch"));
  EXPECT_EQ(run_program({"inspect", path, "--granularity", "1-1-1-1"}).exit_code, 1);

  const auto named = run_program({"inspect", path, "--json", "--arch", "resnet18", "--width", "0.125",
                                  "--classes", "2", "--stem", "small", "--granularity", "2-2-2-1"});
  ASSERT_EQ(named.exit_code, 0) << named.err;
  EXPECT_EQ(named.json().at("arch").at("granularity"), "2-2-2-1");
}

TEST_F(InspectTest, WrongArchitecturesAreWrongUse) {
  const auto model = save_tiny_model();
  const auto unknown = run_program({"inspect", model, "--arch", "resnet19"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("resnet18"));
  EXPECT_EQ(run_program({"inspect", model, "--granularity", "4-4-2"}).exit_code, 2);
}

}  // namespace
}  // namespace lasnet::test
