#include <bit>
#include <cmath>
#include <cstring>

#include "base/float_formats.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string file_of(const std::string& header, const std::string& data) {
  uint64_t length = header.size();
  std::string prefix(8, '\0');
  std::memcpy(prefix.data(), &length, 8);
  return prefix + header + data;
}

Safetensors parse(const std::string& file) {
  return parse_safetensors(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "x.safetensors");
}

Safetensors random_content(uint64_t seed) {
  Random random(seed);
  Safetensors content;
  content.metadata = {{"format", "pt"}, {"quoted \"key\"", "a\nb"}};
  for (const auto& [name, shape] : {std::pair{"scalar", Shape{}},
                                    {"empty", Shape{0, 4}},
                                    {"b.weight", Shape{3, 1, 2}},
                                    {"a", Shape{7}}}) {
    Tensor tensor(shape);
    for (float& value : tensor.data) value = static_cast<float>(random.normal());
    content.tensors[name] = tensor;
  }
  return content;
}

TEST(Safetensors, RoundTripsBitForBit) {
  TemporaryDir dir;
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    Safetensors content = random_content(1);
    for (auto& [name, tensor] : content.tensors) {
      for (float& value : tensor.data) {  // what the format can hold
        if (dtype == DType::f16) value = f16_to_f32(f32_to_f16(value));
        if (dtype == DType::bf16) value = bf16_to_f32(f32_to_bf16(value));
      }
    }
    write_safetensors(content, dir / "x", dtype);
    Safetensors back = read_safetensors(dir / "x");
    EXPECT_EQ(back.tensors, content.tensors) << to_string(dtype);
    EXPECT_EQ(back.metadata, content.metadata);
  }
}

TEST(Safetensors, KeepsEveryFloatIncludingNanPayloads) {
  TemporaryDir dir;
  Safetensors content;
  Tensor& tensor = content.tensors["x"] = Tensor({4});
  tensor.data = {std::bit_cast<float>(0x7fc12345), std::bit_cast<float>(0xff800000), -0.0f, 1e-42f};
  write_safetensors(content, dir / "x", DType::f32);
  Tensor back = read_safetensors(dir / "x").tensors.at("x");
  EXPECT_EQ(std::memcmp(back.data.data(), tensor.data.data(), 16), 0);
}

TEST(Safetensors, AlignsTensorsToEightBytes) {
  TemporaryDir dir;
  write_safetensors(random_content(2), dir / "x", DType::f32);
  uint64_t length = 0;
  std::memcpy(&length, read_text(dir / "x").data(), 8);
  EXPECT_EQ(length % 8, 0u);
}

TEST(Safetensors, ConvertsDoublesAndSkipsIntegers) {
  std::string header = R"({"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},)"
                       R"("steps":{"dtype":"I64","shape":[],"data_offsets":[16,24]},)"
                       R"("flag":{"dtype":"BOOL","shape":[1],"data_offsets":[24,25]}})";
  double values[] = {0.1, -3e200};
  std::string data(reinterpret_cast<const char*>(values), 16);
  Safetensors content = parse(file_of(header, data + std::string(9, '\x01')));
  EXPECT_EQ(content.tensors.size(), 1u);
  EXPECT_EQ(content.tensors.at("d").data[0], 0.1f);
  EXPECT_TRUE(std::isinf(content.tensors.at("d").data[1]));
}

TEST(Safetensors, AcceptsAnEmptyFileOfTensorsAndPaddedHeaders) {
  EXPECT_TRUE(parse(file_of("{}", "")).tensors.empty());
  EXPECT_TRUE(parse(file_of("{}      ", "")).tensors.empty());
  EXPECT_EQ(parse(file_of(R"({"__metadata__":{"a":"b"}})", "")).metadata.at("a"), "b");
}

TEST(Safetensors, RefusesEveryTruncationAndTrailingBytes) {
  TemporaryDir dir;
  write_safetensors(random_content(3), dir / "x", DType::f32);
  std::string file = read_text(dir / "x");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_ERROR(parse(file.substr(0, size)), HasSubstr("x.safetensors")) << size;
  }
  EXPECT_ERROR(parse(file + "x"), HasSubstr("the file holds"));
}

TEST(Safetensors, RefusesLyingHeaderLengths) {
  for (uint64_t length :
       {uint64_t{3}, uint64_t{100'000'001}, UINT64_MAX, UINT64_MAX - 7, uint64_t{1} << 63}) {
    std::string file = file_of("{}", "");
    std::memcpy(file.data(), &length, 8);
    EXPECT_ERROR(parse(file), HasSubstr("header of")) << length;
  }
  EXPECT_ERROR(parse("This is a text file, not a model."), HasSubstr("not a safetensors file"));
}

TEST(Safetensors, RefusesHeadersThatAreNoSuchJson) {
  for (const char* header :
       {"",
        " {}",
        "[]",
        "{",
        "{}}",
        "{\"x\":1}",
        "{\"x\":null}",
        "{\"x\":{}}",
        "{\"x\":[]}",
        "{\"__metadata__\":1}",
        "{\"__metadata__\":{\"a\":1}}",
        "{\"__metadata__\":{\"a\":{}}}",
        "{\"__metadata__\":[]}",
        "{\"x\":\"\xff\"}",
        R"({"x":{"dtype":"F32","shape":[1]}})",
        R"({"x":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})",
        R"({"x":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}})",
        R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})",
        R"({"x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})",
        R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}})"}) {
    EXPECT_ERROR(parse(file_of(header, "1234")), HasSubstr("x.safetensors: safetensors header:")) << header;
  }
  std::string deep(50'000, '[');
  EXPECT_ERROR(parse(file_of("{\"x\":" + deep, "")), HasSubstr("unexpected an array"));
}

TEST(Safetensors, RefusesDuplicates) {
  std::string entry = R"("x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_ERROR(parse(file_of("{" + entry + "," + entry + "}", "1234")), HasSubstr("'x' appears twice"));
  EXPECT_ERROR(parse(file_of(R"({"__metadata__":{},"__metadata__":{}})", "")),
               HasSubstr("'__metadata__' appears twice"));
  EXPECT_ERROR(parse(file_of(R"({"__metadata__":{"a":"1","a":"2"}})", "")),
               HasSubstr("'a' of '__metadata__'"));
  EXPECT_ERROR(
      parse(file_of(R"({"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234")),
      HasSubstr("'dtype' of 'x' appears twice"));
}

/// A header of F32 tensors a, b, ... of one value each at these offsets.
std::string offsets_header(const std::vector<std::pair<int, int>>& offsets) {
  std::string header = "{";
  for (size_t i = 0; i < offsets.size(); ++i) {
    header += i == 0 ? "" : ",";
    header += std::string("\"") + static_cast<char>('a' + i) +
              R"(":{"dtype":"F32","shape":[1],"data_offsets":[)" + std::to_string(offsets[i].first) + "," +
              std::to_string(offsets[i].second) + "]}";
  }
  return header + "}";
}

TEST(Safetensors, RefusesHolesOverlapsAndOffsetsBeyondTheFile) {
  EXPECT_EQ(parse(file_of(offsets_header({{4, 8}, {0, 4}}), "12345678")).tensors.size(), 2u);
  EXPECT_ERROR(parse(file_of(offsets_header({{0, 4}, {8, 12}}), "123456781234")),
               HasSubstr("a hole or an overlap"));
  EXPECT_ERROR(parse(file_of(offsets_header({{4, 8}}), "12345678")), HasSubstr("expected 0"));
  EXPECT_ERROR(parse(file_of(offsets_header({{0, 4}, {0, 4}}), "12345678")),
               HasSubstr("a hole or an overlap"));
  EXPECT_ERROR(parse(file_of(offsets_header({{0, 4}, {2, 6}}), "123456")), HasSubstr("a hole or an overlap"));
  EXPECT_ERROR(parse(file_of(offsets_header({{0, 4}, {4, 8}}), "1234")), HasSubstr("(truncated)"));
  EXPECT_ERROR(parse(file_of(offsets_header({{4, 0}}), "1234")), HasSubstr("data_offsets are [4, 0]"));
  EXPECT_ERROR(parse(file_of(offsets_header({{0, 8}}), "12345678")), HasSubstr("needs 4 bytes"));
}

TEST(Safetensors, RefusesUnknownTypesAndOverflowingShapes) {
  EXPECT_ERROR(parse(file_of(R"({"x":{"dtype":"F9","shape":[1],"data_offsets":[0,1]}})", "1")),
               AllOf(HasSubstr("'x'"), HasSubstr("unknown dtype 'F9'")));
  EXPECT_ERROR(
      parse(file_of(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "")),
      HasSubstr("does not fit 64 bits"));
  EXPECT_ERROR(
      parse(file_of(R"({"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}})",
                    "1234")),
      HasSubstr("(truncated)"));
}

TEST(Safetensors, NarrowFormatsBesideTheWeightsAreSkipped) {
  const Safetensors content = parse(file_of(
      R"({"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F4","shape":[3],"data_offsets":[4,6]},)"
      R"("c":{"dtype":"C64","shape":[1],"data_offsets":[6,14]},"w":{"dtype":"F16","shape":[1],"data_offsets":[14,16]}})",
      std::string(14, '\0') + std::string("\x00\x3c", 2)));
  ASSERT_EQ(content.tensors.size(), 1u);
  EXPECT_EQ(content.tensors.at("w").data, std::vector<float>{1});
  EXPECT_ERROR(parse(file_of(R"({"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,5]}})", "12345")),
               HasSubstr("needs 4 bytes"));
}

TEST(Safetensors, RefusesToNarrowWhatDoesNotFit) {
  TemporaryDir dir;
  Safetensors content;
  content.tensors["bn.running_var"] = Tensor({1}, 1e6f);
  EXPECT_ERROR(write_safetensors(content, dir / "x", DType::f16),
               AllOf(HasSubstr("bn.running_var"), HasSubstr("too large for F16")));
  EXPECT_EQ(dir.entries(), 0);
  write_safetensors(content, dir / "x", DType::bf16);
  EXPECT_NEAR(read_safetensors(dir / "x").tensors.at("bn.running_var").data[0], 1e6f, 1e6f / 256);
}

TEST(Safetensors, LeavesTheOldFileOnAFullDisk) {
  TemporaryDir dir;
  Safetensors content = random_content(4);
  write_safetensors(content, dir / "x", DType::f32);
  std::string before = read_text(dir / "x");
  content.tensors["large"] = Tensor({100'000}, 1.0f);
  {
    FullDisk full(100'000);
    EXPECT_ERROR(write_safetensors(content, dir / "x", DType::f32), HasSubstr("writing failed"));
  }
  EXPECT_EQ(read_text(dir / "x"), before);
  EXPECT_EQ(dir.entries(), 1);
}

}  // namespace
}  // namespace lasnet::test
