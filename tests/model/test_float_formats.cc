#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/float_formats.h"
#include "base/random.h"

namespace lasnet::test {
namespace {

/// The definition of a binary floating-point format, independent of bit tricks.
double value_of(uint16_t bits, int exponent_bits, int mantissa_bits) {
  int bias = (1 << (exponent_bits - 1)) - 1;
  int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  int mantissa = bits & ((1 << mantissa_bits) - 1);
  double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

struct Format {
  const char* name;
  int exponent_bits, mantissa_bits;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
};

void PrintTo(const Format& format, std::ostream* out) { *out << format.name; }

class FloatFormats : public ::testing::TestWithParam<Format> {};

TEST_P(FloatFormats, WidensEveryValueExactly) {
  const Format& format = GetParam();
  for (int bits = 0; bits < 65536; ++bits) {
    double expected = value_of(static_cast<uint16_t>(bits), format.exponent_bits, format.mantissa_bits);
    float got = format.widen(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << bits;
      EXPECT_TRUE(std::isnan(format.widen(format.narrow(got)))) << bits;
    } else {
      EXPECT_EQ(got, expected) << bits;
      EXPECT_EQ(format.narrow(got), bits);  // and back, bit for bit
    }
  }
}

TEST_P(FloatFormats, RoundsToNearestTiesToEven) {
  const Format& format = GetParam();
  for (int bits = 0; bits + 1 < (((1 << format.exponent_bits) - 1) << format.mantissa_bits); ++bits) {
    auto below = static_cast<uint16_t>(bits), above = static_cast<uint16_t>(bits + 1);
    float middle = static_cast<float>(
        (static_cast<double>(format.widen(below)) + static_cast<double>(format.widen(above))) / 2);
    uint16_t even = below % 2 == 0 ? below : above;
    float infinity = std::numeric_limits<float>::infinity();
    EXPECT_EQ(format.narrow(middle), even);
    EXPECT_EQ(format.narrow(-middle), even | 0x8000);
    EXPECT_EQ(format.narrow(std::nextafter(middle, -infinity)), below);
    EXPECT_EQ(format.narrow(std::nextafter(middle, infinity)), above);
  }
}

INSTANTIATE_TEST_SUITE_P(All, FloatFormats,
                         ::testing::Values(Format{"f16", 5, 10, f16_to_f32, f32_to_f16},
                                           Format{"bf16", 8, 7, bf16_to_f32, f32_to_bf16}),
                         [](const auto& format) { return format.param.name; });

TEST(FloatFormatLimits, RoundToInfinityOnlyBeyondTheLargest) {
  EXPECT_EQ(f32_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65519.99f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(1e-30f), 0);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace lasnet::test
