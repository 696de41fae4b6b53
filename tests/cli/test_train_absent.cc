// `lasnet train` in a build without training.
#include <gmock/gmock.h>

#include "program.h"

namespace lasnet::test {
namespace {

TEST(TrainAbsent, SaysSoAndWhatToDo) {
  const auto result = run_program({"train", "--data", "x", "--arch", "resnet18", "-o", "y"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, testing::HasSubstr("LASNET_TRAIN=ON"));
  EXPECT_EQ(run_program({"info", "--json"}).json().at("training"), false);
}

}  // namespace
}  // namespace lasnet::test
