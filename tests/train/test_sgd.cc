// The optimiser against libtorch's own, and the schedules.
#include <gtest/gtest.h>
#include <torch/optim.h>

#include "lasnet/error.h"
#include "train/sgd.h"

namespace lasnet {
namespace {

ModelSpec tiny_spec() {
  ArchConfig arch{
      .name = "resnet18", .width = 0.125, .classes = 2, .stem = StemKind::small, .granularity = {1, 1, 1, 1}};
  return make_spec(arch);
}

/// Gradients that differ between parameters and steps.
void set_gradients(const MaskedNet& net, int step) {
  double scale = 1;
  for (const NamedTensor& parameter : net.parameters()) {
    torch::Tensor tensor = parameter.tensor;
    tensor.mutable_grad() = (tensor.detach() + 1) * (0.1 * scale / (step + 1));
    scale = -scale * 0.9;
  }
}

TEST(Sgd, UpdatesAsLibtorchsNesterovSgd) {
  ModelSpec spec = tiny_spec();
  Weights weights = random_weights(spec, 1);
  MaskedNet ours(spec, weights), theirs(spec, weights);
  Sgd sgd(ours, {.momentum = 0.9, .weight_decay = 0.01, .masker_lr_multiplier = 0.1});
  std::vector<torch::Tensor> maskers, others;
  for (const NamedTensor& parameter : theirs.parameters()) {
    (theirs.is_masker(parameter.name) ? maskers : others).push_back(parameter.tensor);
  }
  ASSERT_EQ(maskers.size(), 16u);
  auto options = [](double lr) {
    return torch::optim::SGDOptions(lr).momentum(0.9).nesterov(true).weight_decay(0.01);
  };
  torch::optim::SGD reference_maskers(maskers, options(0.05 * 0.1));
  torch::optim::SGD reference_others(others, options(0.05));
  for (int step = 0; step < 4; ++step) {
    set_gradients(ours, step);
    set_gradients(theirs, step);
    sgd.step(0.05);
    reference_maskers.step();
    reference_others.step();
  }
  for (size_t i = 0; i < ours.parameters().size(); ++i) {
    EXPECT_TRUE(torch::allclose(ours.parameters()[i].tensor, theirs.parameters()[i].tensor, 1e-5, 1e-7))
        << ours.parameters()[i].name;
  }
}

TEST(Sgd, MomentumCanBeCarriedOver) {
  ModelSpec spec = tiny_spec();
  Weights weights = random_weights(spec, 1);
  MaskedNet straight(spec, weights), first(spec, weights);
  Sgd whole(straight, {});
  Sgd before(first, {});
  for (int step = 0; step < 2; ++step) {
    set_gradients(straight, step);
    whole.step(0.1);
    set_gradients(first, step);
    before.step(0.1);
  }
  MaskedNet second(spec, first.weights());
  Sgd after(second, {});
  after.set_momentum(before.momentum());
  set_gradients(straight, 2);
  whole.step(0.1);
  set_gradients(second, 2);
  after.step(0.1);
  EXPECT_EQ(straight.weights(), second.weights());
}

TEST(Sgd, MomentumOfAnotherNetworkIsRefused) {
  ModelSpec spec = tiny_spec();
  MaskedNet net(spec, random_weights(spec, 1));
  Sgd sgd(net, {});
  EXPECT_THROW(sgd.set_momentum({{"no.such.weight", Tensor({1})}}), Error);
  EXPECT_THROW(sgd.set_momentum({{"fc.bias", Tensor({3})}}), Error);
}

TEST(Schedules, CosineStartsAtThePeakAndEndsNearZero) {
  EXPECT_DOUBLE_EQ(cosine_lr(0.4, 0, 100, 0), 0.4);
  EXPECT_DOUBLE_EQ(cosine_lr(0.4, 50, 100, 0), 0.2);
  EXPECT_LT(cosine_lr(0.4, 99, 100, 0), 0.001);
}

TEST(Schedules, WarmUpRisesLinearlyToThePeak) {
  EXPECT_DOUBLE_EQ(cosine_lr(0.4, 0, 100, 4), 0.1);
  EXPECT_DOUBLE_EQ(cosine_lr(0.4, 3, 100, 4), 0.4);
  EXPECT_DOUBLE_EQ(cosine_lr(0.4, 4, 100, 4), 0.4);
}

TEST(Schedules, TemperatureDecaysExponentiallyBetweenItsEnds) {
  EXPECT_DOUBLE_EQ(exponential_decay(5.0, 0.1, 0, 101), 5.0);
  EXPECT_NEAR(exponential_decay(5.0, 0.1, 100, 101), 0.1, 1e-12);
  EXPECT_NEAR(exponential_decay(5.0, 0.1, 50, 101), std::sqrt(5.0 * 0.1), 1e-12);
}

}  // namespace
}  // namespace lasnet
