// Model files with int8 weights: written and read without a change, and refused where anything does not fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>

#include "formats/metadata.h"
#include "formats/quantization.h"
#include "formats/safetensors.h"
#include "support/expect_error.h"
#include "support/quantized_model.h"
#include "support/temporary_dir.h"

namespace lasnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Model small_model() {
  return test::quantized_model(test::narrow_arch("resnet50", "4-4-2-1", 0.125), 1, {32, 32});
}

TEST(QuantizedFile, ReadsWhatWasWritten) {
  const test::TemporaryDir dir;
  const Model model = small_model();
  save_model(model, dir / "q.safetensors");
  const Model read = load_model(dir / "q.safetensors");
  EXPECT_EQ(read.quantization, model.quantization);
  EXPECT_EQ(read.weights, model.weights);
  EXPECT_EQ(read.spec, model.spec);
  const Tensor x = test::random_input(1, {32, 32}, 3);
  EXPECT_EQ(Session(read, {.precision = Precision::int8}).run(x).logits,
            Session(model, {.precision = Precision::int8}).run(x).logits);
}

TEST(QuantizedFile, IsHalfTheSizeOfFp16) {
  const test::TemporaryDir dir;
  Model model = test::random_model(test::narrow_arch("resnet50", "4-4-2-1", 0.5), 1);
  save_model(model, dir / "half.safetensors", DType::f16);
  save_model(quantize(model, test::random_images(1, {32, 32}, 2)), dir / "q.safetensors");
  const auto half = static_cast<double>(std::filesystem::file_size(dir / "half.safetensors"));
  EXPECT_LT(static_cast<double>(std::filesystem::file_size(dir / "q.safetensors")), 0.52 * half);
}

TEST(QuantizedFile, KeepsInt8AlongsideOperatingPoints) {
  const test::TemporaryDir dir;
  Model model = small_model();
  const size_t blocks = model.spec.blocks.size();
  model.operating_points = {{.macs_ratio = 0.5,
                             .top1 = 0.5,
                             .thresholds = std::vector<float>(blocks),
                             .rates = std::vector<double>(blocks, 0.5),
                             .predicted_ms = {}}};
  save_model(model, dir / "q.safetensors");
  const Model read = load_model(dir / "q.safetensors");
  EXPECT_EQ(read.operating_points, model.operating_points);
  EXPECT_EQ(read.quantization, model.quantization);
}

TEST(QuantizedFile, OtherGranularitiesGetFreshMaskers) {
  const test::TemporaryDir dir;
  const Model model = small_model();
  save_model(model, dir / "q.safetensors");
  ArchConfig arch = model.spec.arch;
  arch.granularity = {};
  const Model read = load_model(dir / "q.safetensors", arch);
  EXPECT_EQ(read.quantization, model.quantization);
  const Tensor x = test::random_input(1, {32, 32}, 3);
  EXPECT_EQ(Session(read, {.precision = Precision::int8}).run(x).logits,
            Session(model, {.precision = Precision::int8}).run(x, {.dense = true}).logits);
}

TEST(QuantizedFile, StaysInt8) {
  const test::TemporaryDir dir;
  EXPECT_ERROR(save_model(small_model(), dir / "q.safetensors", DType::f16), HasSubstr("stays fp32"));
  EXPECT_FALSE(std::filesystem::exists(dir / "q.safetensors"));
}

/// The model as a file, with a change that is refused when it is read.
void expect_refused(const std::function<void(Safetensors&)>& change, const std::string& message) {
  const test::TemporaryDir dir;
  const Model model = small_model();
  Safetensors content = quantized_content(model);
  content.metadata[kMetadataKey] = write_metadata(model);
  change(content);
  write_safetensors(content, dir / "q.safetensors", DType::f32);
  EXPECT_ERROR(load_model(dir / "q.safetensors"), HasSubstr(message));
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

TEST(QuantizedFile, RefusesTensorsThatDoNotFit) {
  expect_refused([](Safetensors& c) { c.int8_tensors.erase("layer1.0.conv1.weight"); },
                 "'layer1.0.conv1.weight' [8, 8, 1, 1] of a quantized model is missing");
  expect_refused([](Safetensors& c) { c.tensors.erase("layer1.0.conv1.weight_scale"); }, "is missing");
  expect_refused([](Safetensors& c) { c.tensors["layer1.0.conv1.weight_scale"] = Tensor({9}); },
                 "is F32 [9]; expected F32 [8]");
  expect_refused(
      [](Safetensors& c) {
        c.int8_tensors["layer1.0.conv1.weight"] = Array<int8_t>({8, 8});
      },
      "is I8 [8, 8]; expected I8 [8, 8, 1, 1]");
  expect_refused(
      [](Safetensors& c) {
        c.int8_tensors.erase("layer1.0.conv1.weight");
        c.tensors["layer1.0.conv1.weight"] = Tensor({8, 8, 1, 1});
      },
      "is F32 [8, 8, 1, 1]; expected I8 [8, 8, 1, 1]");
  expect_refused([](Safetensors& c) { c.tensors["bn1.weight"] = Tensor({8}); },
                 "unexpected tensor 'bn1.weight'");
}

TEST(QuantizedFile, RefusesValuesThatCannotBe) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float scale : {0.0f, -1.0f, infinity, std::numeric_limits<float>::quiet_NaN()}) {
    expect_refused([&](Safetensors& c) { c.tensors["conv1.weight_scale"].data[1] = scale; },
                   "layer 'conv1': channel 1 has scale");
  }
  expect_refused([&](Safetensors& c) { c.tensors["conv1.bias"].data[1] = infinity; },
                 "channel 1 has bias inf");
  expect_refused([&](Safetensors& c) { c.tensors["conv1.bias"].data[1] = 1e30f; },
                 "its scale or its bias is wrong");
  expect_refused([](Safetensors& c) { c.tensors["fc.weight_scale"].data[0] = 3e38f; },
                 "layer 'fc': channel 0 can reach");
  expect_refused([](Safetensors& c) { c.int8_tensors["conv1.weight"].data[0] = -128; }, "a weight is -128");
  expect_refused([](Safetensors& c) { c.tensors["layer2.0.downsample.0.weight_scale"].data[0] *= 1.5f; },
                 "are summed, but channel 0 has units");
  expect_refused([](Safetensors& c) { c.tensors["layer1.0.masker.conv2.weight"].data[0] = NAN; },
                 "not finite");
}

TEST(QuantizedFile, RefusesScalesThatBytesCannotFollow) {
  const Model model = test::quantized_model(test::narrow_arch("regnet_y_400mf", "4-4-2-1", 0.125), 1);
  Model inputs = model, excited = model;
  inputs.quantization->maps.at(kQuantizedInput).scale = 1e-42f;
  EXPECT_ERROR(make_executable(inputs, Backend::cpu, std::nullopt, std::nullopt, Precision::int8),
               HasSubstr("whose inverse is finite"));
  const std::string& name = model.spec.blocks.front().squeeze_excite->name;
  excited.quantization->maps.at(name).scale = 1e-20f;
  EXPECT_ERROR(make_executable(excited, Backend::cpu, std::nullopt, std::nullopt, Precision::int8),
               HasSubstr("times the scale of '" + name));
}

TEST(QuantizedFile, RefusesMetadataThatDoesNotFit) {
  const auto metadata = [](const std::string& from, const std::string& to) {
    return [=](Safetensors& c) { replace(c.metadata[kMetadataKey], from, to); };
  };
  expect_refused(metadata(R"("quantization":{"version":1)", R"("quantization":{"version":2)"),
                 "quantization: version 2, this program reads version 1");
  expect_refused(metadata(R"("method":"mse")", R"("method":"magic")"), "expected minmax, percentile or mse");
  expect_refused(metadata(R"("images":3)", R"("images":0)"), "images: expected an integer from 1");
  expect_refused(metadata(R"("maps":{"conv1")", R"("maps":{"other")"), "the map 'conv1' is missing");
  expect_refused(
      metadata(R"("conv1":{"scale":)", R"("conv1":{"scale":0,"zero":0,"clipped":0},"x":{"scale":)"),
      "unexpected map 'x'");
  expect_refused(metadata(R"("conv1":{"scale":)", R"("conv1":{"scale":-)"), "the map 'conv1' has scale -");
}

TEST(QuantizedFile, WithoutItsMetadataIsNoNetwork) {
  expect_refused(
      [](Safetensors& c) {
        Model plain = test::random_model(test::narrow_arch("resnet50", "4-4-2-1", 0.125), 1);
        c.metadata[kMetadataKey] = write_metadata(plain);
      },
      "missing");
}

}  // namespace
}  // namespace lasnet
