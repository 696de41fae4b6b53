// The fixtures by which lasnet.torch is tested are what the trainer computes today.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/param_name.h"
#include "support/random_model.h"
#include "train/torch_fixture.h"

namespace lasnet {
namespace test {

void PrintTo(const TorchCase& c, std::ostream* out) { *out << c.name; }

}  // namespace test

namespace {

class TorchFixture : public testing::TestWithParam<test::TorchCase> {};

TEST_P(TorchFixture, IsWhatTheTrainerComputes) {
  const std::string path = fmt::format("{}/{}.safetensors", LASNET_TORCH_DATA, GetParam().name);
  const Safetensors stored = read_safetensors(path), computed = test::torch_fixture(GetParam());
  EXPECT_EQ(stored.metadata, computed.metadata)
      << "make it again: dump_masked_net tests/python/torch_module/data";
  ASSERT_EQ(stored.tensors.size(), computed.tensors.size());
  for (const auto& [name, tensor] : computed.tensors) {
    ASSERT_TRUE(stored.tensors.contains(name)) << name;
    EXPECT_LE(test::relative_error(stored.tensors.at(name), tensor), 1e-4) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, TorchFixture, testing::ValuesIn(test::torch_cases()), test::ParamName());

}  // namespace
}  // namespace lasnet
