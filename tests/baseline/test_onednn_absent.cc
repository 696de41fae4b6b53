// A build without oneDNN says so.
#include <gmock/gmock.h>

#include "baseline/baseline.h"
#include "support/expect_error.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

TEST(Onednn, WithoutTheLibrarySaysWhatToInstall) {
  Model model = random_model({.name = "resnet18", .width = 0.125, .classes = 3}, 1);
  EXPECT_ERROR(make_onednn_baselines(model, {1, {32, 32}}, 1), testing::HasSubstr("libdnnl-dev"));
}

}  // namespace
}  // namespace lasnet::test
