// Numbers at the edges: NaN, infinity, subnormals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/denormals.h"
#include "lasnet/error.h"
#include "support/expect_error.h"
#include "support/param_name.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kHuge = 3e38f;

ArchConfig small(const std::string& name) {
  return {.name = name, .width = 0.25, .classes = 10, .granularity = {4, 4, 2, 1}};
}

struct EngineCase {
  Backend backend;
  std::optional<Isa> isa;
};

std::vector<EngineCase> engines() {
  std::vector<EngineCase> cases = {{Backend::reference, {}}};
  for (Isa isa : available_isas()) cases.push_back({Backend::cpu, isa});
  return cases;
}

void PrintTo(const EngineCase& c, std::ostream* out) {
  *out << (c.isa ? to_string(*c.isa) : to_string(c.backend));
}

class EveryEngine : public testing::TestWithParam<EngineCase> {
 protected:
  Session session(const Model& model) const {
    return Session(model, {.backend = GetParam().backend, .isa = GetParam().isa});
  }
  std::string failure(const Model& model, const Tensor& x) const {
    return test::error_of([&] { session(model).run(x, {.check_finite = true}); });
  }
};

/// Every place of an input whose size is no multiple of a vector's, also by check_input alone.
TEST(CheckInput, FindsTheFirstValueThatIsNotFinite) {
  Session session(test::random_model(small("resnet18"), 1));
  const float infinity = std::numeric_limits<float>::infinity();
  for (size_t at : {0, 1, 37 * 33, 2 * 3 * 37 * 33 - 1}) {
    for (float value : {kNan, -kNan, infinity, -infinity}) {
      Tensor x = test::random_input(2, {37, 33}, 2);
      x.data[at] = value;
      EXPECT_THAT(
          [&] { session.run(x, {.check_input = true}); },
          testing::ThrowsMessage<Error>(HasSubstr(std::isnan(value) ? "input: NaN" : "input: infinity")))
          << at;
      x.data[at] = std::copysign(std::numeric_limits<float>::max(), value);
      session.run(x, {.check_input = true});
    }
  }
}

TEST_P(EveryEngine, AcceptsFiniteNetworks) {
  for (const char* name : {"resnet50", "regnet_y_400mf"}) {
    Model model = test::random_model(small(name), 1);
    EXPECT_EQ(failure(model, test::random_input(2, {64, 48}, 2)), "no error");
  }
}

TEST_P(EveryEngine, NamesTheInputValueThatIsNotFinite) {
  Model model = test::random_model(small("resnet18"), 1);
  Tensor x = test::random_input(2, {32, 40}, 2);
  x.data[((1 * 3 + 2) * 32 + 5) * 40 + 7] = kNan;
  EXPECT_THAT(failure(model, x), HasSubstr("input: NaN at image 1, channel 2, row 5, column 7"));
}

/// A layer that overflows is named, and not one that it poisons.
TEST_P(EveryEngine, NamesTheFirstLayerThatOverflows) {
  Model model = test::random_model(small("resnet50"), 1);
  for (float& value : model.weights.at("layer2.1.conv3.weight").data) value = value > 0 ? kHuge : -kHuge;
  std::string message = failure(model, test::random_input(1, {64, 64}, 2));
  EXPECT_THAT(message, HasSubstr("layer2.1"));
  EXPECT_THAT(message, HasSubstr("while every layer before it was finite"));
}

TEST_P(EveryEngine, WithoutTheCheckNanReachesTheLogits) {
  Model model = test::random_model(small("resnet18"), 1);
  Tensor x = test::random_input(2, {32, 32}, 2);
  std::fill_n(x.data.begin(), x.size() / 2, kNan);
  Result result = session(model).run(x, {.dense = true});
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_TRUE(std::isnan(result.logits.data[i])) << i;
    EXPECT_TRUE(std::isfinite(result.logits.data[10 + i])) << "the other image is not touched";
  }
}

TEST_P(EveryEngine, NegativeVarianceIsRefused) {
  Model model = test::random_model(small("resnet18"), 1);
  model.weights.at("layer1.0.bn2.running_var").data[3] = -1;
  EXPECT_THAT(failure(model, test::random_input(1, {32, 32}, 2)),
              HasSubstr("layer1.0.bn2: channel 3 has running_var -1"));
}

INSTANTIATE_TEST_SUITE_P(Engines, EveryEngine, testing::ValuesIn(engines()), test::ParamName());

/// A network whose first layer scales by 1e-40 computes with subnormals throughout.
Model subnormal_model() {
  Model model = test::random_model(small("resnet18"), 1);
  for (auto& [name, tensor] : model.weights) {
    if (name.ends_with(".bias") || name.ends_with(".running_mean")) {
      std::fill(tensor.data.begin(), tensor.data.end(), 0.0f);
    }
  }
  for (float& value : model.weights.at("bn1.weight").data) value = 1e-40f;
  return model;
}

TEST(Subnormals, CountAsZeroInTheKernelsOnEveryThread) {
  Model model = subnormal_model();
  Tensor x = test::random_input(1, {64, 64}, 2);
  auto largest = [](const Tensor& logits) {
    float value = 0;
    for (float logit : logits.data) value = std::max(value, std::abs(logit));
    return value;
  };
  EXPECT_GT(largest(Session(model, {.backend = Backend::reference}).run(x, {.dense = true}).logits), 0.0f);
  for (Isa isa : available_isas()) {
    for (int threads : {1, 3}) {
      Session session(model, {.isa = isa, .threads = threads});
      EXPECT_EQ(largest(session.run(x, {.dense = true}).logits), 0.0f) << to_string(isa) << " " << threads;
    }
  }
}

TEST(Subnormals, TheCallersSettingIsRestored) {
  volatile float tiny = 1e-40f;
  Model model = subnormal_model();
  Session(model).run(test::random_input(1, {32, 32}, 2));
  EXPECT_GT(tiny * 1.0f, 0.0f);
  {
    FlushDenormals flush;
    EXPECT_EQ(tiny * 1.0f, 0.0f);
  }
  EXPECT_GT(tiny * 1.0f, 0.0f);
}

}  // namespace
}  // namespace lasnet
