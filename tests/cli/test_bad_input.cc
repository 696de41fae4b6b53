// Files that are not what they should be: a clear error, exit code 1, nothing on standard output, nothing
// written.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "fixtures.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "lasnet/engine.h"
#include "program.h"
#include "support/sanitized.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class BadInputTest : public ProgramTest {
 protected:
  void expect_refused(const std::vector<std::string>& arguments, const std::string& message) const {
    const auto before = folder_.entries();
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, StartsWith("error:"));
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(folder_.entries(), before);
  }

  void expect_model_refused(const std::string& path, const std::string& message) const {
    expect_refused({"inspect", path, "--json"}, message);
  }

  void expect_image_refused(const std::string& path, const std::string& message) const {
    expect_refused({"run", save_tiny_model(), path, "--json", "--overlay", folder_.path("out")}, message);
  }
};

TEST_F(BadInputTest, MissingModel) {
  expect_model_refused(folder_.path("none.safetensors"), "none.safetensors");
}

TEST_F(BadInputTest, TruncatedModel) {
  const auto path = save_tiny_model();
  const std::string bytes = read_text(path);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    write_text(path, bytes.substr(0, size));
    expect_model_refused(path, path);
  }
}

TEST_F(BadInputTest, ModelWhoseHeaderLies) {
  const auto path = save_tiny_model();
  std::string bytes = read_text(path);
  for (const uint64_t length : {uint64_t{0}, uint64_t{1} << 33, UINT64_MAX}) {
    std::memcpy(bytes.data(), &length, sizeof length);
    write_text(path, bytes);
    expect_model_refused(path, path);
  }
  write_text(path, read_text(path) + "surplus");
  expect_model_refused(path, path);
}

TEST_F(BadInputTest, ModelWithMissingWrongOrNonFiniteTensors) {
  const auto path = save_tiny_model();
  const Safetensors whole = read_safetensors(path);

  Safetensors missing = whole;
  missing.tensors.erase("layer2.0.conv1.weight");
  write_safetensors(missing, path, DType::f32);
  expect_model_refused(path, "layer2.0.conv1.weight");

  Safetensors misshapen = whole;
  misshapen.tensors["fc.bias"] = Tensor({3});
  write_safetensors(misshapen, path, DType::f32);
  expect_model_refused(path, "fc.bias");

  Safetensors poisoned = whole;
  poisoned.tensors["layer1.0.bn1.weight"].data[0] = std::nanf("");
  write_safetensors(poisoned, path, DType::f32);
  expect_model_refused(path, "layer1.0.bn1.weight");
}

TEST_F(BadInputTest, ImagesThatAreNone) {
  write_text(folder_.path("text.jpg"), "Once upon a time");
  expect_image_refused(folder_.path("text.jpg"), "text.jpg");
  write_text(folder_.path("empty.png"), "");
  expect_image_refused(folder_.path("empty.png"), "empty.png");
  expect_image_refused(folder_.path("absent.png"), "absent.png");
  expect_image_refused(folder_.path(), folder_.path());
  const auto photo = save_photo("photo.png");
  const std::string bytes = read_text(photo);
  write_text(photo, bytes.substr(0, bytes.size() / 2));
  expect_image_refused(photo, "photo.png");
}

TEST_F(BadInputTest, OneBadImageAmongGoodOnesStopsBeforeAnythingIsWritten) {
  const auto model = save_tiny_model(), good = save_photo("good.png");
  write_text(folder_.path("bad.png"), "no picture");
  expect_refused({"run", model, good, folder_.path("bad.png"), "--overlay", folder_.path("out")}, "bad.png");
}

TEST_F(BadInputTest, OverlayFolderThatIsAFile) {
  const auto model = save_tiny_model(), photo = save_photo("a.png");
  write_text(folder_.path("out"), "in the way");
  expect_refused({"run", model, photo, "--overlay", folder_.path("out")}, "out");
}

TEST_F(BadInputTest, OverlayOnAFullDisk) {
  const auto model = save_tiny_model(), photo = save_photo("a.png");
  std::filesystem::create_directories(folder_.path("out"));
  const auto result = run_program({"run", model, photo, "--json", "--overlay", folder_.path("out")},
                                  {.file_size_limit = 512});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("a.heat.png"));
  EXPECT_EQ(folder_.entries("out"), std::vector<std::string>{});
}

TEST_F(BadInputTest, InstructionSetThatTheMachineLacks) {
  const auto available = available_isas();
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::neon}) {
    if (std::find(available.begin(), available.end(), isa) != available.end()) continue;
    const auto model = save_tiny_model(), photo = save_photo("a.png");
    expect_refused({"run", model, photo, "--isa", to_string(isa)}, to_string(isa));
  }
}

class LogitsNotFinite : public ProgramTest {
 protected:
  /// Of finite weights.
  std::string save_overflowing_model() const {
    Model model = tiny_model();
    for (float& weight : model.weights.at("fc.weight").data) weight = 3e38f;
    for (float& weight : model.weights.at("conv1.weight").data) weight *= 100;
    const auto path = folder_.path("large.safetensors");
    save_model(model, path);
    return path;
  }
};

TEST_F(LogitsNotFinite, AreNoClassOfAPhotograph) {
  const auto model = save_overflowing_model(), photo = save_photo("a.png");
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--json"}}) {
    const auto result = run_program(with({"run", model, photo}, more));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.out, testing::Not(HasSubstr("%")));
    EXPECT_THAT(result.err, HasSubstr(photo + ": its logits are not finite numbers"));
  }
}

TEST_F(LogitsNotFinite, EndAnEvaluationAtTheFirstPhotograph) {
  const auto model = save_overflowing_model();
  write_image_folder(folder_.path("data"), 1, 2);
  const auto result = run_program({"eval", model, folder_.path("data"), "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("data/val/disc/0.png: its logits are not finite numbers"));
}

TEST_F(LogitsNotFinite, AreWrittenBesideAWarning) {
  const auto model = save_overflowing_model(), input = folder_.path("x.npy"), output = folder_.path("y.npy");
  Tensor x({2, 3, 48, 48});
  std::fill(x.data.begin() + x.size() / 2, x.data.end(), 1.0f);
  save_npy(x, input);
  const auto result = run_program({"forward", model, "--input", input, "--output", output});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr(input + ": image"));
  EXPECT_THAT(result.err, HasSubstr("not finite numbers"));
  EXPECT_TRUE(std::filesystem::exists(output));
  const auto bench = run_program({"bench", model, "--macs", "0.5", "--repeat", "1"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.err, HasSubstr("some of the logits were not finite"));
}

/// More than the machine has, be its limit what it may: refused before inputs of that size are made.
TEST_F(BadInputTest, ABatchBeyondTheMemoryIsRefusedBeforeTheWork) {
  if (kSanitized) GTEST_SKIP() << "sanitizers do not run under a limit of memory";
  const auto result = run_program({"bench", "resnet18", "--batch", "1025", "--threads", "1"},
                                  {.memory_limit = int64_t{1} << 30});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("a batch of 1025 images of 224 x 224 px needs"));
  EXPECT_THAT(result.err, HasSubstr("--batch"));
  EXPECT_LT(result.cpu_seconds, 5);
}

TEST_F(BadInputTest, TensorsThatAreNone) {
  const auto model = save_tiny_model();
  write_text(folder_.path("x.npy"), "\x93NUMPY but not really");
  expect_refused({"forward", model, "--input", folder_.path("x.npy"), "--output", folder_.path("y.npy")},
                 "x.npy");
  expect_refused({"forward", model, "--input", folder_.path("none.npy"), "--output", folder_.path("y.npy")},
                 "none.npy");
}

}  // namespace
}  // namespace lasnet::test
