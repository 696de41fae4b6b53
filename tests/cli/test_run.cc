// `lasnet run` against the library.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>

#include "fixtures.h"
#include "lasnet/engine.h"
#include "lasnet/report.h"
#include "program.h"
#include "support/sanitized.h"

namespace lasnet::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RunTest : public ProgramTest {
 protected:
  /// What the library makes of a photograph.
  Result expected(const std::string& photo, Preprocessing preprocessing = tiny_model().preprocessing) const {
    Session session(tiny_model());
    return session.run(to_input(resize_and_crop(load_image(photo), preprocessing), preprocessing));
  }
};

std::vector<std::string> keys(const nlohmann::json& object) {
  std::vector<std::string> names;
  for (const auto& [key, value] : object.items()) names.push_back(key);
  return names;
}

TEST_F(RunTest, JsonHasTheDocumentedFieldsAndTheLibrarysValues) {
  const auto model = save_tiny_model(), photo = save_photo("a.png");
  const auto result = run_program({"run", model, photo, "--json", "--top", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = result.json();
  EXPECT_THAT(keys(json), ElementsAre("images", "model"));
  EXPECT_EQ(json.at("model"), model);
  ASSERT_EQ(json.at("images").size(), 1u);
  const auto& image = json.at("images").at(0);
  EXPECT_THAT(keys(image), ElementsAre("blocks", "dense_ms", "dynamic_ms", "file", "macs_ratio", "speedup",
                                       "speedup_quartiles", "top"));
  EXPECT_EQ(image.at("file"), photo);
  EXPECT_LE(image.at("speedup_quartiles").at(0), image.at("speedup_quartiles").at(1));
  EXPECT_GT(image.at("dense_ms"), 0.0);
  EXPECT_GT(image.at("dynamic_ms"), 0.0);

  const Result library = expected(photo);
  EXPECT_NEAR(image.at("macs_ratio").get<double>(), library.trace.macs_ratio(), 1e-9);
  const auto& logits = library.logits.data;
  const size_t best = logits[1] > logits[0] ? 1 : 0;
  ASSERT_EQ(image.at("top").size(), 2u);
  EXPECT_EQ(image.at("top").at(0).at("class"), tiny_model().class_names[best]);
  EXPECT_NEAR(image.at("top").at(0).at("probability").get<double>(),
              1 / (1 + std::exp(-std::abs(logits[1] - logits[0]))), 1e-5);

  ASSERT_EQ(image.at("blocks").size(), library.trace.blocks.size());
  for (size_t i = 0; i < library.trace.blocks.size(); ++i) {
    const auto& block = image.at("blocks").at(i);
    EXPECT_THAT(keys(block), ElementsAre("dilated_rate", "granularity", "macs", "ms", "name", "rate"));
    EXPECT_EQ(block.at("name"), library.trace.blocks[i].name);
    EXPECT_EQ(block.at("granularity"), library.trace.blocks[i].granularity);
    EXPECT_NEAR(block.at("rate").get<double>(), library.trace.blocks[i].rate, 1e-9);
    EXPECT_NEAR(block.at("dilated_rate").get<double>(), library.trace.blocks[i].dilated_rate, 1e-9);
    EXPECT_NEAR(block.at("macs").get<double>(), library.trace.blocks[i].macs, 1e-3);
  }
}

TEST_F(RunTest, TheSpeedUpIsThatOfTheTimesBesideIt) {
  for (const char* repeat : {"1", "2", "7"}) {
    const auto json = report_of({"run", save_tiny_model(), save_photo("a.png"), "--repeat", repeat});
    const auto& image = json.at("images").at(0);
    EXPECT_DOUBLE_EQ(image.at("speedup"),
                     image.at("dense_ms").get<double>() / image.at("dynamic_ms").get<double>());
  }
}

TEST_F(RunTest, AStaticNetworkIsNotComparedWithItself) {
  const auto path = folder_.path("static.safetensors"), a = save_photo("a.png", 0),
             b = save_photo("b.png", 1);
  save_model(tiny_model({}), path);
  const auto result = run_program({"run", path, a, b});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::ContainsRegex("computed all .* MACs;  [0-9.]+ ms"));
  for (const char* text : {"dense", "faster", "slower", "speed-up", "halo", "100.0 %"}) {
    EXPECT_THAT(result.out, testing::Not(HasSubstr(text)));
  }
  const auto image = report_of({"run", path, a}).at("images").at(0);
  EXPECT_GT(image.at("dynamic_ms"), 0.0);
  for (const char* key : {"dense_ms", "speedup", "speedup_quartiles"})
    EXPECT_TRUE(image.at(key).is_null()) << key;
}

TEST_F(RunTest, BlocksThatComputeNothingAreSaidToBeSkipped) {
  Model model = tiny_model();
  init_maskers(model.spec, 2, -1e6f, model.weights);
  const auto path = folder_.path("idle.safetensors");
  save_model(model, path);
  const auto result = run_program({"run", path, save_photo("a.png")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::ContainsRegex("layer1.0 +4 +skipped +0.0 %"));
  EXPECT_THAT(result.out, testing::ContainsRegex("layer2.0 +4 +shortcut only +0.0 %"));
}

TEST_F(RunTest, LayerSkippingIsNamedWhereverSIsShown) {
  const auto path = folder_.path("layer.safetensors");
  save_model(tiny_model({4, 4, 2, kWholeMapGranularity}), path);
  const auto photo = save_photo("a.png");
  const auto shown = run_program({"run", path, photo, "--overlay", folder_.path("out")});
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, testing::ContainsRegex("layer4.1 +layer "));
  EXPECT_THAT(shown.err, testing::Not(HasSubstr("larger than")));
  const auto blocks = run_program({"run", path, photo, "--json"}).json().at("images").at(0).at("blocks");
  EXPECT_EQ(blocks.at(5).at("granularity"), 2);
  EXPECT_EQ(blocks.at(7).at("granularity"), "layer");
  EXPECT_THAT(run_program({"inspect", path}).out,
              testing::AllOf(HasSubstr("4-4-2-layer"), testing::ContainsRegex("layer4.0 +layer ")));
  EXPECT_EQ(report_of({"inspect", path}).at("blocks").at(7).at("granularity"), "layer");
}

TEST_F(RunTest, TheTableIsExplained) {
  const auto help = run_program({"run", "--help"}).out;
  for (const char* term : {"S ", "computed ", "with halo "}) EXPECT_THAT(help, HasSubstr(term));
}

TEST_F(RunTest, PreprocessingCanBeSaid) {
  const auto photo = save_photo("a.png");
  Preprocessing preprocessing = tiny_model().preprocessing;
  preprocessing.mean = {0, 0, 0};
  preprocessing.std = {1, 1, 1};
  preprocessing.crop = 40;
  const auto image =
      report_of({"run", save_tiny_model(), photo, "--mean", "raw", "--crop", "40"}).at("images").at(0);
  EXPECT_NEAR(image.at("macs_ratio").get<double>(), expected(photo, preprocessing).trace.macs_ratio(), 1e-9);
}

/// Every single map fits, and all of them together do not.
TEST_F(RunTest, MemoryIsEstimatedBeforeTheWork) {
  if (kSanitized) GTEST_SKIP() << "sanitizers do not run under a limit of memory";
  constexpr int64_t kLimit = 900'000'000;
  const auto result = run_program({"run", save_tiny_model(), save_photo("a.png"), "--input-size", "4096"},
                                  {.memory_limit = kLimit});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              testing::AllOf(HasSubstr("a batch of 1 images of 4096 x 4096 px needs"),
                             HasSubstr("GiB are available"), HasSubstr("smaller batch, input size")));
}

TEST_F(RunTest, TextNamesTheClassesAndSummarisesSeveralPhotographs) {
  const auto a = save_photo("a.png", 0), b = save_photo("b.png", 1);
  const auto result = run_program({"run", save_tiny_model(), a, b});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const auto& text : {a, b, std::string("disc"), std::string("stripes"), std::string("layer4.1"),
                           std::string("speed-up")}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
  EXPECT_THAT(result.out, testing::Not(HasSubstr("\x1b"))) << "no colours where output is not a terminal";
}

TEST_F(RunTest, OverlayWritesTheLibrarysPictures) {
  const auto photo = save_photo("photos/a.png");
  const auto result =
      run_program({"run", save_tiny_model(), photo, "--overlay", folder_.path("out/deep"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(folder_.entries("out/deep"), ElementsAre("a.heat.png", "a.masks.png"));
  const Image shown = visible_part(load_image(photo), tiny_model().preprocessing);
  const auto top = result.json().at("images").at(0).at("top").at(0);
  const PictureOptions options{.input = {48, 48},
                               .title = fmt::format("{} {:.1f} %", top.at("class").get<std::string>(),
                                                    100 * top.at("probability").get<double>())};
  const Trace trace = expected(photo).trace;
  EXPECT_EQ(load_image(folder_.path("out/deep/a.heat.png")), heat_map(shown, trace, options));
  EXPECT_EQ(load_image(folder_.path("out/deep/a.masks.png")), mask_sheet(shown, trace, options));
}

TEST_F(RunTest, OverlaysOfOneNameAreNamedByMoreOfTheirPaths) {
  const auto a = save_photo("x/a.png"), b = save_photo("y/a.png");
  const auto result = run_program({"run", save_tiny_model(), a, b, "--overlay", folder_.path("out")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(folder_.entries("out"),
              ElementsAre("x_a.png.heat.png", "x_a.png.masks.png", "y_a.png.heat.png", "y_a.png.masks.png"));
  const auto twice = run_program({"run", save_tiny_model(), a, a, "--overlay", folder_.path("no")});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_THAT(twice.err, HasSubstr("have the same name"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("no")));
}

TEST_F(RunTest, AGranularityThatTheModelIsNotMadeForIsPointedOut) {
  const auto model = save_tiny_model(), photo = save_photo("a.png");
  for (const std::string granularity : {"2-2-2-2", "static"}) {
    const auto result = run_program({"run", model, photo, "--granularity", granularity});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("granularity " + granularity + ": " + model + " is made for"));
  }
  EXPECT_EQ(run_program({"run", model, photo}).err, "");
}

TEST_F(RunTest, AnArchitectureIsNoModelFile) {
  const auto result = run_program({"run", "resnet50", save_photo("a.png")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("an architecture has no weights"));
  for (const std::string command : {"run", "forward", "eval", "bench", "inspect"}) {
    std::vector<std::string> arguments = {command, "ResNet5O"};
    if (command == "run" || command == "eval") arguments.push_back(folder_.path());
    if (command == "forward") arguments.insert(arguments.end(), {"--input", "x.npy", "--output", "y.npy"});
    const auto mistyped = run_program(arguments);
    EXPECT_EQ(mistyped.exit_code, 2) << command;
    EXPECT_THAT(mistyped.err, HasSubstr("did you mean resnet50?")) << command;
  }
  EXPECT_EQ(run_program({"run", "none.safetensors", folder_.path()}).exit_code, 1);
}

TEST_F(RunTest, OverlayOfAStaticNetworkIsRefused) {
  const auto path = folder_.path("static.safetensors");
  save_model(tiny_model({}), path);
  const auto result = run_program({"run", path, save_photo("a.png"), "--overlay", folder_.path("out")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("static"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("out")));
}

TEST_F(RunTest, OtherInputSizes) {
  const auto photo = folder_.path("wide.png");
  save_png(resize(tiny_photo(0, 3), 120, 60), photo);
  Preprocessing larger = tiny_model().preprocessing;
  larger.resize = 112;
  larger.crop = 96;
  Preprocessing whole = tiny_model().preprocessing;
  whole.resize = 48;
  whole.crop = 0;
  const auto model = save_tiny_model();
  const auto sized = run_program({"run", model, photo, "--json", "--input-size", "96"});
  ASSERT_EQ(sized.exit_code, 0) << sized.err;
  EXPECT_NEAR(sized.json()["images"][0]["macs_ratio"].get<double>(),
              expected(photo, larger).trace.macs_ratio(), 1e-9);
  const auto uncropped = run_program({"run", model, photo, "--json", "--no-crop"});
  ASSERT_EQ(uncropped.exit_code, 0) << uncropped.err;
  EXPECT_NEAR(uncropped.json()["images"][0]["macs_ratio"].get<double>(),
              expected(photo, whole).trace.macs_ratio(), 1e-9);
}

TEST_F(RunTest, EveryBackendAndInstructionSetAgrees) {
  const auto model = save_tiny_model(), photo = save_photo("a.png");
  const auto wanted = run_program({"run", model, photo, "--json", "--backend", "reference"}).json();
  for (const Isa isa : available_isas()) {
    for (const char* threads : {"1", "3"}) {
      const auto result =
          run_program({"run", model, photo, "--json", "--isa", to_string(isa), "--threads", threads});
      ASSERT_EQ(result.exit_code, 0) << result.err;
      const auto got = result.json();
      EXPECT_NEAR(got["images"][0]["top"][0]["probability"].get<double>(),
                  wanted["images"][0]["top"][0]["probability"].get<double>(), 1e-4);
    }
  }
}

}  // namespace
}  // namespace lasnet::test
