// Lists of names in messages.
#include <gmock/gmock.h>

#include "base/names.h"

namespace lasnet::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> numbered(int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back("n" + std::to_string(i));
  return names;
}

TEST(SomeOf, ShowsFiveAndCountsTheRest) {
  EXPECT_EQ(some_of({}), "none");
  EXPECT_EQ(some_of({"a"}), "a");
  EXPECT_EQ(some_of(numbered(6)), "n0, n1, n2, n3, n4, n5");  // "1 more" would be no shorter
  EXPECT_EQ(some_of(numbered(7)), "n0, n1, n2, n3, n4 ... 2 more");
  EXPECT_EQ(some_of(numbered(1000)), "n0, n1, n2, n3, n4 ... 995 more");
}

TEST(SomeOf, NamesWithCommasAreToldApart) {
  EXPECT_EQ(some_of({"tench, Tinca tinca", "goldfish"}), "'tench, Tinca tinca', 'goldfish'");
}

TEST(MissingFrom, KeepsTheOrderOfTheFirst) {
  EXPECT_THAT(missing_from({"c", "a", "b"}, {"a", "d"}), ElementsAre("c", "b"));
  EXPECT_THAT(missing_from({"a"}, {"b", "a"}), IsEmpty());
}

}  // namespace
}  // namespace lasnet::test
