// `lasnet quantize`, and --precision int8 of the other commands.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "fixtures.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "lasnet/engine.h"
#include "program.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class QuantizeTest : public ProgramTest {
 protected:
  void SetUp() override {
    model_ = save_tiny_model();
    write_image_folder(data_, 12, 2);
  }

  ProgramResult quantize(const std::vector<std::string>& more = {}) const {
    return run_program(with({"quantize", model_, "--images", data_ + "/train", "-o", out_}, more));
  }

  std::string model_;
  std::string data_ = folder_.path("data"), out_ = folder_.path("int8.safetensors");
};

TEST_F(QuantizeTest, MakesAModelThatRunsInInt8) {
  const auto made = quantize({"--json"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.json().at("images"), 20);  // of 24, one in five is held out
  EXPECT_EQ(made.json().at("checked_images"), 4);
  EXPECT_EQ(made.json().at("method"), "mse");
  EXPECT_TRUE(load_model(out_).quantization.has_value());

  const auto run = report_of({"run", out_, save_photo("disc.png"), "--precision", "int8", "--json"});
  EXPECT_EQ(run.at("images").size(), 1u);
  const auto evaluated = report_of({"eval", out_, data_, "--precision", "int8", "--json"});
  EXPECT_EQ(evaluated.at("images"), 4);
  EXPECT_EQ(run_program({"bench", out_, "--macs", "0.5", "--repeat", "1", "--precision", "int8"}).exit_code,
            0);
  EXPECT_EQ(run_program({"run", out_, save_photo("disc.png")}).exit_code, 0) << "in fp32";
}

TEST_F(QuantizeTest, ForwardGivesTheLibrarysLogitsOnEveryInstructionSet) {
  ASSERT_EQ(quantize().exit_code, 0);
  const Tensor x = random_input(2, {48, 48}, 1);
  save_npy(x, folder_.path("x.npy"));
  const Tensor expected = Session(load_model(out_), {.precision = Precision::int8}).run(x).logits;
  for (const Isa isa : available_isas()) {
    ASSERT_EQ(run_program({"forward", out_, "--precision", "int8", "--isa", to_string(isa), "--input",
                           folder_.path("x.npy"), "--output", folder_.path("y.npy")})
                  .exit_code,
              0);
    EXPECT_EQ(load_npy_f32(folder_.path("y.npy")), expected) << to_string(isa);
  }
}

TEST_F(QuantizeTest, InspectShowsScalesAndClipping) {
  ASSERT_EQ(quantize({"--method", "percentile"}).exit_code, 0);
  const auto facts = report_of({"inspect", out_, "--json"}).at("quantization");
  EXPECT_EQ(facts.at("method"), "percentile");
  EXPECT_GT(facts.at("maps").at("conv1").at("scale"), 0);
  EXPECT_GE(facts.at("maps").at("layer2.0.conv1").at("clipped"), 0);
  EXPECT_THAT(run_program({"inspect", out_}).out, HasSubstr("scales by percentile on 20 images"));
  EXPECT_TRUE(report_of({"inspect", model_, "--json"}).at("quantization").is_null());
}

TEST_F(QuantizeTest, TuningKeepsInt8) {
  ASSERT_EQ(quantize().exit_code, 0);
  const std::string tuned = folder_.path("tuned.safetensors");
  const std::vector<std::string> tune = {"tune",     out_, data_,         "-o",  tuned,
                                         "--points", "2",  "--precision", "int8"};
  const auto result = run_program(tune);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(load_model(tuned).quantization, load_model(out_).quantization);
  const auto refused = run_program(with(tune, {"--dtype", "fp16"}));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--dtype fp16"));
}

TEST_F(QuantizeTest, WarnsOfFewImages) {
  const auto result = quantize({"--count", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("scales were chosen on 1 image; expected 16 or more"));
}

TEST_F(QuantizeTest, WarnsOfImagesOfAnotherKind) {
  const std::string grey = folder_.path("grey");
  fs::create_directory(grey);
  const Image image{.width = 64, .height = 64, .rgb = std::vector<uint8_t>(3 * 64 * 64, 124)};
  for (int i = 0; i < 20; ++i) save_png(image, fmt::format("{}/{}.png", grey, i));
  const auto result =
      run_program({"quantize", model_, "--images", grey, "--check", data_ + "/train", "-o", out_});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("the scale of the map"), HasSubstr("% of its values")));
}

TEST_F(QuantizeTest, RefusesBeforeAnythingIsWritten) {
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& message, int code) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_FALSE(fs::exists(out_));
  };
  refused({"quantize", model_, "--images", data_, "-o", folder_.path("int8.pth")}, ".safetensors", 2);
  refused({"quantize", model_, "--images", folder_.path("nothing"), "-o", out_}, "nothing", 1);
  refused({"quantize", model_, "--images", data_, "--method", "magic", "-o", out_},
          "expected minmax, percentile or mse", 2);
  std::ofstream(data_ + "/train/disc/broken.png") << "no picture";
  refused({"quantize", model_, "--images", data_ + "/train", "-o", out_}, "broken.png", 1);
  EXPECT_EQ(quantize({"--skip-unreadable"}).exit_code, 0);
  fs::remove(out_);
  fs::remove(data_ + "/train/disc/broken.png");
  Safetensors nan = read_safetensors(model_);
  nan.tensors.at("conv1.weight").data[0] = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(nan, folder_.path("nan.safetensors"), DType::f32);
  refused({"quantize", folder_.path("nan.safetensors"), "--images", data_, "-o", out_}, "NaN", 1);
}

TEST_F(QuantizeTest, RefusesInt8WhereThereIsNone) {
  const std::string photo = save_photo("disc.png");
  const auto plain = run_program({"run", model_, photo, "--precision", "int8"});
  EXPECT_EQ(plain.exit_code, 1);
  EXPECT_THAT(plain.err, HasSubstr("the model has no int8 weights"));
  ASSERT_EQ(quantize().exit_code, 0);
  const auto cuda = run_program({"run", out_, photo, "--precision", "int8", "--backend", "cuda"});
  EXPECT_EQ(cuda.exit_code, 2);
  EXPECT_THAT(cuda.err, HasSubstr("use the cpu backend"));
  const auto schedule =
      run_program({"run", out_, photo, "--precision", "int8", "--schedule", "gather=copied"});
  EXPECT_EQ(schedule.exit_code, 1);
  EXPECT_THAT(schedule.err, HasSubstr("whole_map_above alone can be chosen"));
  const auto again =
      run_program({"quantize", out_, "--images", data_, "-o", folder_.path("again.safetensors")});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, HasSubstr("quantized already"));
  const auto half = run_program({"convert", out_, folder_.path("half.safetensors"), "--dtype", "fp16"});
  EXPECT_EQ(half.exit_code, 1);
  EXPECT_THAT(half.err, HasSubstr("stays fp32"));
}

TEST_F(QuantizeTest, InfoNamesTheKernels) {
  const auto facts = report_of({"info", "--json"});
  EXPECT_EQ(facts.at("int8_kernels").at(0), "scalar");
}

}  // namespace
}  // namespace lasnet::test
