// The fixtures by which lasnet.torch is tested are what the trainer computes today.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/param_name.h"
#include "train/torch_fixture.h"

namespace lasnet {
namespace test {

void PrintTo(const TorchCase& c, std::ostream* out) { *out << c.name; }

}  // namespace test

namespace {

/// The largest absolute value of a tensor; of the gradient of a masker's bias, in which most cancels, also
/// its weight's.
double scale(const Weights& tensors, const std::string& name) {
  double largest = 1e-30;
  for (const float value : tensors.at(name).data) largest = std::max(largest, std::abs(double{value}));
  const size_t bias = name.find(".masker.conv2.bias");
  return bias == std::string::npos
             ? largest
             : std::max(largest, scale(tensors, name.substr(0, bias) + ".masker.conv2.weight"));
}

double error(const Weights& stored, const Weights& computed, const std::string& name) {
  const Tensor &a = stored.at(name), &b = computed.at(name);
  if (a.shape != b.shape) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.data.size(); ++i)
    largest = std::max(largest, std::abs(double{a.data[i]} - b.data[i]));
  return largest / scale(stored, name);
}

class TorchFixture : public testing::TestWithParam<test::TorchCase> {};

// Another processor adds in another order. That flips ReLUs, which gradients feel more than values.
TEST_P(TorchFixture, IsWhatTheTrainerComputes) {
  const std::string path = fmt::format("{}/{}.safetensors", LASNET_TORCH_DATA, GetParam().name);
  const Safetensors stored = read_safetensors(path), computed = test::torch_fixture(GetParam());
  EXPECT_EQ(stored.metadata.at("case"), computed.metadata.at("case"))
      << "make it again: dump_masked_net tests/python/torch_module/data";
  ASSERT_EQ(stored.tensors.size(), computed.tensors.size());
  for (const auto& [name, tensor] : computed.tensors) {
    ASSERT_TRUE(stored.tensors.contains(name)) << name;
    EXPECT_LE(error(stored.tensors, computed.tensors, name), name.starts_with("gradient.") ? 5e-2 : 2e-4)
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, TorchFixture, testing::ValuesIn(test::torch_cases()), test::ParamName());

}  // namespace
}  // namespace lasnet
