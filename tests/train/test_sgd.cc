// The optimiser against libtorch's own, and the schedules.
#include <gtest/gtest.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim.h>

#include "lasnet/error.h"
#include "train/adamw.h"
#include "train/sgd.h"
#include "train/weight_average.h"

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

TEST(AdamW, UpdatesAsLibtorchs) {
  const ModelSpec spec = tiny_spec();
  const Weights weights = random_weights(spec, 1);
  MaskedNet ours(spec, weights), theirs(spec, weights);
  auto adamw = make_optimizer(TrainOptimizer::adamw, ours, {.momentum = 0.9, .weight_decay = 0.05});
  std::vector<torch::Tensor> parameters;
  for (const NamedTensor& parameter : theirs.parameters()) parameters.push_back(parameter.tensor);
  torch::optim::AdamW reference(parameters, torch::optim::AdamWOptions(0.01).weight_decay(0.05));
  for (int step = 0; step < 4; ++step) {
    set_gradients(ours, step);
    set_gradients(theirs, step);
    adamw->step(0.01);
    reference.step();
    if (step == 1) {  // carried over
      const Weights state = adamw->state();
      adamw = make_optimizer(TrainOptimizer::adamw, ours, {.momentum = 0.9, .weight_decay = 0.05});
      adamw->set_state(state);
    }
  }
  for (size_t i = 0; i < ours.parameters().size(); ++i) {
    EXPECT_TRUE(torch::allclose(ours.parameters()[i].tensor, theirs.parameters()[i].tensor, 1e-5, 1e-6))
        << ours.parameters()[i].name;
  }
}

TEST(AdamW, RefusesAStateThatIsNotItsOwn) {
  const ModelSpec spec = tiny_spec();
  const MaskedNet net(spec, random_weights(spec, 1));
  AdamW adamw(net, {});
  adamw.set_state({});
  EXPECT_THROW(adamw.set_state({{"conv1.weight", Tensor({1})}}), Error);
  EXPECT_THROW(adamw.set_state({{"adamw.steps", Tensor({1}, 1)}, {"conv1.weight/mean", Tensor({1})}}), Error);
  EXPECT_THROW(adamw.set_state({{"adamw.steps", Tensor({1}, 1)}, {"other/mean", Tensor({1})}}), Error);
}

TEST(WeightAverage, IsTheExponentialOneAndCanBeExchanged) {
  const ModelSpec spec = tiny_spec();
  MaskedNet net(spec, random_weights(spec, 1));
  WeightAverage average(net, 0.9);
  torch::Tensor head = net.parameters().back().tensor;
  const torch::Tensor start = head.detach().clone();
  for (const double value : {1.0, 2.0}) {
    {
      const torch::NoGradGuard no_gradient;
      head.fill_(value);
    }
    average.update();
  }
  const torch::Tensor expected = 0.9 * (0.9 * start + 0.1 * 1) + 0.1 * 2;
  const Weights state = average.state();
  {
    const AveragedScope averaged(&average);
    EXPECT_TRUE(torch::allclose(head, expected, 1e-5, 1e-6));
  }
  EXPECT_TRUE(torch::allclose(head, torch::full_like(head, 2)));
  WeightAverage other(net, 0.9);
  other.set_state(state);
  EXPECT_EQ(other.state(), state);
  EXPECT_THROW(other.set_state({}), Error);
}

TEST(ClipGradients, IsLibtorchs) {
  const ModelSpec spec = tiny_spec();
  const MaskedNet ours(spec, random_weights(spec, 1)), theirs(spec, random_weights(spec, 1));
  std::vector<torch::Tensor> parameters;
  for (const NamedTensor& parameter : theirs.parameters()) parameters.push_back(parameter.tensor);
  for (const double max_norm : {0.5, 1e9}) {
    set_gradients(ours, 0);
    set_gradients(theirs, 0);
    EXPECT_NEAR(clip_gradients(ours.parameters(), max_norm),
                torch::nn::utils::clip_grad_norm_(parameters, max_norm), 1e-3);
    for (size_t i = 0; i < parameters.size(); ++i)
      EXPECT_TRUE(torch::allclose(ours.parameters()[i].tensor.grad(), parameters[i].grad(), 1e-5, 1e-8));
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
  after.set_state(before.state());
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
  EXPECT_THROW(sgd.set_state({{"no.such.weight", Tensor({1})}}), Error);
  EXPECT_THROW(sgd.set_state({{"fc.bias", Tensor({3})}}), Error);
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
