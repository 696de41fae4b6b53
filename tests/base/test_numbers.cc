// Numbers and lists in text.
#include <gmock/gmock.h>

#include <cstdint>

#include "base/numbers.h"

namespace lasnet::test {
namespace {

using testing::ElementsAre;

TEST(ParseNumber, TakesTheWholeTextOrNothing) {
  EXPECT_EQ(parse_number<int>("-12"), -12);
  EXPECT_EQ(parse_number<double>("0.25"), 0.25);
  for (const char* text : {"", " 1", "1 ", "+1", "1.0", "0x1", "1,2", "one"})
    EXPECT_EQ(parse_number<int>(text), std::nullopt) << text;
  EXPECT_EQ(parse_number<double>("0,25"), std::nullopt);
}

TEST(ParseNumber, RefusesWhatDoesNotFit) {
  EXPECT_EQ(parse_number<int64_t>("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parse_number<int64_t>("9223372036854775808"), std::nullopt);
  EXPECT_EQ(parse_number<uint8_t>("256"), std::nullopt);
  EXPECT_EQ(parse_number<unsigned>("-1"), std::nullopt);
}

TEST(ShortestDecimal, IsWhatAPersonWouldWrite) {
  EXPECT_EQ(shortest_decimal(0.485f), 0.485);
  EXPECT_EQ(shortest_decimal(-3), -3.0);
  EXPECT_EQ(static_cast<float>(shortest_decimal(1.17549435e-38f)), 1.17549435e-38f);
}

TEST(Split, HasOnePartMoreThanSeparators) {
  EXPECT_THAT(split("4-4-2-1", '-'), ElementsAre("4", "4", "2", "1"));
  EXPECT_THAT(split("a", '-'), ElementsAre("a"));
  EXPECT_THAT(split("", '-'), ElementsAre(""));
  EXPECT_THAT(split("-a--", '-'), ElementsAre("", "a", "", ""));
}

}  // namespace
}  // namespace lasnet::test
