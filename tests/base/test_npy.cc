#include <cstring>

#include "base/random.h"
#include "formats/npy.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// A version 1.0 file with this header text and these bytes of values.
std::string npy_file(const std::string& header, const std::string& values) {
  std::string length = {static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  return std::string("\x93NUMPY\x01\x00", 8) + length + header + values;
}

Tensor parse_f32(const std::string& file) {
  return parse_npy_f32(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "x.npy");
}

ByteTensor parse_u8(const std::string& file) {
  return parse_npy_u8(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "x.npy");
}

TEST(Npy, RoundTripsBitForBit) {
  TemporaryDir dir;
  Random random(1);
  for (const Shape& shape : {Shape{}, Shape{5}, Shape{0, 3}, Shape{2, 3, 4, 5}}) {
    Tensor floats(shape);
    ByteTensor bytes(shape);
    for (float& value : floats.data) value = static_cast<float>(random.normal());
    for (uint8_t& value : bytes.data) value = static_cast<uint8_t>(random.below(256));
    save_npy(floats, dir / "f.npy");
    save_npy(bytes, dir / "b.npy");
    EXPECT_EQ(load_npy_f32(dir / "f.npy"), floats);
    EXPECT_EQ(load_npy_u8(dir / "b.npy"), bytes);
    std::string file = read_text(dir / "f.npy");
    EXPECT_EQ((file.size() - floats.data.size() * 4) % 64, 0u);  // values are aligned
  }
}

TEST(Npy, WritesNumpysOwnHeader) {
  TemporaryDir dir;
  ByteTensor array({3});
  array.data = {7, 8, 9};
  save_npy(array, dir / "x.npy");
  std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }";
  header.append(117 - header.size(), ' ');
  EXPECT_EQ(read_text(dir / "x.npy"), npy_file(header + "\n", "\x07\x08\x09"));
}

TEST(Npy, ReadsEveryVersionKeyOrderAndBooleans) {
  std::string header = "{\"shape\": (1 ,2) ,'fortran_order':False, 'descr': '|b1'}   \n";
  std::string version1 = npy_file(header, std::string("\x01\x00", 2));
  EXPECT_EQ(parse_u8(version1).shape, (Shape{1, 2}));
  EXPECT_EQ(parse_u8(version1).data, (std::vector<uint8_t>{1, 0}));
  for (char version : {2, 3}) {
    std::string later = version1;
    later[6] = version;
    later.insert(10, 2, '\0');  // the length has 4 bytes
    EXPECT_EQ(parse_u8(later), parse_u8(version1));
  }
}

TEST(Npy, RefusesEveryTruncation) {
  TemporaryDir dir;
  save_npy(Tensor({2, 3}, 1.5f), dir / "x.npy");
  std::string file = read_text(dir / "x.npy");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_ERROR(parse_f32(file.substr(0, size)), HasSubstr("x.npy")) << size;
  }
  EXPECT_ERROR(parse_f32(file + "x"), HasSubstr("does not agree"));
}

TEST(Npy, RefusesOtherTypesAndOrders) {
  std::string big_endian = npy_file("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", "1234");
  EXPECT_ERROR(parse_f32(big_endian), HasSubstr("dtype '>f4', expected '<f4' (numpy.float32)"));
  std::string fortran = npy_file("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", "1234");
  EXPECT_ERROR(parse_f32(fortran), HasSubstr("Fortran order"));
  std::string record = npy_file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "1234");
  EXPECT_ERROR(parse_f32(record), HasSubstr("structured"));
  EXPECT_ERROR(parse_u8(npy_file("{'descr': '|i1', 'fortran_order': False, 'shape': (1,)}", "1")),
               HasSubstr("expected '|u1'"));
}

TEST(Npy, RefusesMalformedHeaders) {
  for (const char* header :
       {"", "{", "{}", "[]", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'other': 'x'}",
        "{'descr: <f4, fortran_order: False, shape: (1,)}"}) {
    EXPECT_ERROR(parse_f32(npy_file(header, "1234")), HasSubstr("x.npy: malformed .npy header")) << header;
  }
  EXPECT_ERROR(parse_f32("a text file, not an array"), HasSubstr("not a .npy file"));
}

TEST(Npy, RefusesShapesBeyondTheFileBeforeAllocating) {
  for (const char* shape : {"(1000000000000,)", "(4611686018427387904,)", "(3037000500, 3037000500)",
                            "(9223372036854775807, 9223372036854775807)", "(99999999999999999999,)"}) {
    std::string header = std::string("{'descr': '<f4', 'fortran_order': False, 'shape': ") + shape + "}";
    EXPECT_ERROR(parse_f32(npy_file(header, "1234")), HasSubstr("x.npy")) << shape;
  }
}

TEST(Npy, LeavesTheOldFileOnAFullDisk) {
  TemporaryDir dir;
  save_npy(Tensor({2}, 1.0f), dir / "x.npy");
  {
    FullDisk full(1000);
    EXPECT_ERROR(save_npy(Tensor({1000}, 2.0f), dir / "x.npy"), HasSubstr("writing failed"));
  }
  EXPECT_EQ(load_npy_f32(dir / "x.npy"), Tensor({2}, 1.0f));
  EXPECT_EQ(dir.entries(), 1);
}

}  // namespace
}  // namespace lasnet::test
