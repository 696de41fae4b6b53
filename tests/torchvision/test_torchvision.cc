// Static networks against logits of torchvision's own implementation (data/, made by make_fixtures.py).
#include <gtest/gtest.h>

#include "formats/npy.h"
#include "torchvision/networks.h"

namespace lasnet {
namespace {

class Torchvision : public testing::TestWithParam<const char*> {};

TEST_P(Torchvision, StaticNetworkGivesTheSameLogits) {
  Model model = test::torchvision_model(GetParam());
  Session session(model, {.threads = 2});
  for (MapSize size : test::kTorchvisionSizes) {
    Tensor expected =
        load_npy_f32(std::string(TORCHVISION_DATA) + "/" + test::torchvision_case(GetParam(), size) + ".npy");
    EXPECT_LE(test::relative_error(session.run(test::torchvision_input(size)).logits, expected), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Torchvision, testing::ValuesIn(test::kTorchvisionNetworks),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace lasnet
