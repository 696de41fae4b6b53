#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base64.h"
#include "infer_request.h"
#include "request_error.h"
#include "support/expect_error.h"

namespace lasnet::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kMaxValues = 1000;

InferRequest parse(std::string_view body, const std::optional<std::string>& length = std::nullopt) {
  return parse_infer_request(body, length, kMaxValues);
}

/// A body whose JSON says `json` and which ends with `tail`.
InferRequest parse_binary(const std::string& json, const std::string& tail) {
  static std::string body;  // views are into it
  body = json + tail;
  return parse(body, std::to_string(json.size()));
}

std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string counted(const std::string& text) {
  const auto length = static_cast<uint32_t>(text.size());
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

TEST(InferRequest, ReadsTensorsOutOfJson) {
  const InferRequest request = parse(
      R"({"id": "7", "parameters": {"macs": 0.5, "dense": false}, "future": [1, {"a": null}],
          "inputs": [{"data": [1, -2.5, 3e1, 4], "name": "input", "datatype": "FP32", "shape": [2, 2]}],
          "outputs": [{"name": "logits"}, {"name": "scores", "parameters": {"binary_data": true, "classification": 3}}]})");
  EXPECT_EQ(request.id, "7");
  EXPECT_EQ(request.parameters.at("macs"), 0.5);
  ASSERT_EQ(request.inputs.size(), 1U);
  EXPECT_EQ(request.inputs[0].shape, (Shape{2, 2}));
  EXPECT_THAT(request.inputs[0].floats, ElementsAre(1, -2.5f, 30, 4));
  ASSERT_EQ(request.outputs.size(), 2U);
  EXPECT_FALSE(request.outputs[0].binary);
  EXPECT_TRUE(request.outputs[1].binary);
  EXPECT_EQ(request.outputs[1].classification, 3);
}

TEST(InferRequest, FlattensNestedData) {
  const InferRequest request = parse(
      R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2, 2], "data": [[[1, 2], [3, 4]]]}]})");
  EXPECT_THAT(request.inputs[0].floats, ElementsAre(1, 2, 3, 4));
}

TEST(InferRequest, KeepsTheDataOfSeveralInputsApart) {
  const InferRequest request = parse(
      R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [1]},
                     {"name": "b", "shape": [2], "data": [2, 3], "datatype": "FP32"}]})");
  EXPECT_THAT(request.inputs[0].floats, ElementsAre(1));
  EXPECT_THAT(request.inputs[1].floats, ElementsAre(2, 3));
}

TEST(InferRequest, ReadsFilesInBase64) {
  const std::string file("\x00\xff\x89PNG", 6);
  const InferRequest request =
      parse(R"({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [")" +
            cli::to_base64(file) + R"("]}]})");
  EXPECT_THAT(request.inputs[0].elements(), ElementsAre(file));
}

TEST(InferRequest, ReadsBinaryTensorsInOrder) {
  const InferRequest request = parse_binary(
      R"({"parameters": {"binary_data_output": true}, "outputs": [{"name": "logits"}],
          "inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
                     {"name": "b", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}}]})",
      bytes_of({1, 2}) + counted("one") + counted(""));
  EXPECT_EQ(request.inputs[0].raw, bytes_of({1, 2}));
  EXPECT_THAT(request.inputs[1].elements(), ElementsAre("one", ""));
  EXPECT_TRUE(request.outputs[0].binary);
}

TEST(InferRequest, ABodyMayBeAnImage) {
  const InferRequest request = parse("\xff\xd8 some file", "0");
  ASSERT_EQ(request.inputs.size(), 1U);
  EXPECT_EQ(request.inputs[0].name, "image");
  EXPECT_THAT(request.inputs[0].elements(), ElementsAre("\xff\xd8 some file"));
  EXPECT_ERROR(parse("", "0"), HasSubstr("body"));
}

/// What is wrong, and what the message has to name.
struct Wrong {
  const char* name;
  const char* body;
  const char* field;
};
class WrongRequest : public testing::TestWithParam<Wrong> {};

TEST_P(WrongRequest, IsRefusedByField) {
  try {
    parse(GetParam().body);
    FAIL() << "was accepted";
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), kBadRequest);
    EXPECT_THAT(error.what(), HasSubstr(GetParam().field));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongRequest,
    testing::Values(
        Wrong{"empty", "", "body"}, Wrong{"no_json", "hello", "body"},
        Wrong{"cut", R"({"inputs": [{"na)", "body"}, Wrong{"twice", "{}{}", "body"},
        Wrong{"array", "[]", "body"}, Wrong{"number", "7", "body"},
        Wrong{"not_utf8", "{\"id\": \"\xff\"}", "body"}, Wrong{"huge_number", R"({"id": 1e999})", "body"},
        Wrong{"duplicate_key", R"({"id": "a", "id": "b"})", "'id'"}, Wrong{"id", R"({"id": 7})", "body.id"},
        Wrong{"inputs", R"({"inputs": {}})", "inputs"}, Wrong{"input", R"({"inputs": [7]})", "inputs[0]"},
        Wrong{"no_name", R"({"inputs": [{"datatype": "FP32", "shape": [1]}]})", "inputs[0].name"},
        Wrong{"datatype", R"({"inputs": [{"name": "a", "datatype": 7, "shape": [1]}]})",
              "inputs[0].datatype"},
        Wrong{"no_shape", R"({"inputs": [{"name": "a", "datatype": "FP32"}]})", "inputs[0].shape"},
        Wrong{"zero", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [0], "data": []}]})",
              "inputs[0].shape"},
        Wrong{"negative", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [-1]}]})",
              "inputs[0].shape"},
        Wrong{"fraction", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1.5]}]})",
              "inputs[0].shape"},
        Wrong{
            "overflow",
            R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [2000000000, 2000000000, 2000000000], "data": [1]}]})",
            "inputs[0].shape"},
        Wrong{"rank",
              R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1,1,1,1,1,1,1,1,1], "data": [1]}]})",
              "inputs[0].shape"},
        Wrong{"too_few", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "data": [1]}]})",
              "inputs[0].data"},
        Wrong{"no_data", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1]}]})",
              "inputs[0].data"},
        Wrong{"null_data", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [null]}]})",
              "inputs[0].data"},
        Wrong{"bool_data", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [true]}]})",
              "inputs[0].data"},
        Wrong{"object_data", R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [{}]}]})",
              "inputs[0].data"},
        Wrong{"mixed_data",
              R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "data": [1, "2"]}]})",
              "inputs[0].data"},
        Wrong{"data_twice", R"({"inputs": [{"data": [1], "data": [1]}]})", "data"},
        Wrong{"deep_data", R"({"inputs": [{"data": [[[[[[[[[1]]]]]]]]]}]})", "inputs[0].data"},
        Wrong{"texts_for_numbers",
              R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": ["AA=="]}]})",
              "inputs[0].data"},
        Wrong{"numbers_for_texts",
              R"({"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": [1]}]})",
              "inputs[0].data"},
        Wrong{"no_base64", R"({"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": ["?"]}]})",
              "inputs[0].data"},
        Wrong{"parameters", R"({"parameters": []})", "parameters"},
        Wrong{"nested_parameter", R"({"parameters": {"macs": [1]}})", "parameters.macs"},
        Wrong{"null_parameter", R"({"parameters": {"macs": null}})", "parameters.macs"},
        Wrong{"binary_output", R"({"parameters": {"binary_data_output": 1}})",
              "parameters.binary_data_output"},
        Wrong{
            "shared_memory",
            R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"shared_memory_region": "x"}}]})",
            "shared_memory_region"},
        Wrong{
            "size_is_text",
            R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": "4"}}]})",
            "binary_data_size"},
        Wrong{
            "size_beyond",
            R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]})",
            "binary_data_size"},
        Wrong{"outputs", R"({"outputs": 7})", "outputs"},
        Wrong{"output", R"({"outputs": ["logits"]})", "outputs[0]"},
        Wrong{"output_name", R"({"outputs": [{}]})", "outputs[0].name"},
        Wrong{"classification", R"({"outputs": [{"name": "a", "parameters": {"classification": -1}}]})",
              "outputs[0].parameters.classification"}),
    [](const auto& wrong) { return wrong.param.name; });

TEST(InferRequest, BinarySizesHaveToAddUp) {
  const std::string json =
      R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}]})";
  EXPECT_ERROR(parse_binary(json, bytes_of({1, 2, 3})), HasSubstr("4 bytes behind"));
  EXPECT_ERROR(parse_binary(json, bytes_of({1})), HasSubstr("binary_data_size"));
  const std::string odd =
      R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 7}}]})";
  EXPECT_ERROR(parse_binary(odd, "1234567"), HasSubstr("expected 2 FP32 values"));
  const std::string both =
      R"({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [1], "parameters": {"binary_data_size": 4}}]})";
  EXPECT_ERROR(parse_binary(both, "1234"), HasSubstr("expected one of them"));
}

TEST(InferRequest, RawTextsHaveToFit) {
  const auto json = [](size_t size) {
    return fmt::format(
        R"({{"inputs": [{{"name": "a", "datatype": "BYTES", "shape": [1], "parameters": {{"binary_data_size": {}}}}}]}})",
        size);
  };
  EXPECT_ERROR(parse_binary(json(3), "abc"), HasSubstr("3 bytes behind"));
  EXPECT_ERROR(parse_binary(json(5), std::string("\xff\xff\xff\xff", 4) + "a"),
               HasSubstr("claims 4294967295 bytes"));
  EXPECT_ERROR(parse_binary(json(10), counted("a") + counted("b")), HasSubstr("2 values; expected 1"));
}

TEST(InferRequest, SaysHowImageFilesAreSent) {
  for (const std::string& file : {std::string("\xff\xd8\xff\xe0 JPEG"), std::string("\x89PNG\r\n"),
                                  std::string("RIFF\0\0\0\0WEBP", 12)})
    EXPECT_ERROR(parse(file), HasSubstr("Inference-Header-Content-Length: 0"));
  EXPECT_ERROR(parse("RIFF"), HasSubstr("no JSON"));
}

TEST(InferRequest, TheHeaderHasToFitTheBody) {
  for (const char* const length : {"-1", "3", "1e1", "", "99999999999999999999"})
    EXPECT_ERROR(parse("{}", length), HasSubstr("Inference-Header-Content-Length")) << length;
}

TEST(InferRequest, MemoryIsBounded) {
  std::string many = R"({"inputs": [{"data": [0)";
  for (size_t i = 0; i < kMaxValues; ++i) many += ",0";
  EXPECT_ERROR(parse(many + "]}]}"), HasSubstr("more than 1000 values"));
  std::string others = R"({"x": [0)";
  for (int i = 0; i < 5000; ++i) others += ",0";
  EXPECT_ERROR(parse(others + "]}"), HasSubstr("JSON values"));
  EXPECT_ERROR(parse(std::string(100'000, '[')), HasSubstr("nested"));
  EXPECT_ERROR(parse(R"({"inputs": [{"data": )" + std::string(100'000, '[')), HasSubstr("nested"));
}

}  // namespace
}  // namespace lasnet::serve
