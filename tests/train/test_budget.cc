// Whether maskers come to the budget: the forecast before a run and the verdict after it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lasnet/latency.h"
#include "train/budget.h"

namespace lasnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// The demo model's recipe (models/demo.toml), which came to 0.52 for 0.5.
MaskerTraining demo_schedule() {
  return {.bias = 5, .steps = 28 * 103, .lr = 0.04 * 64 / 256, .blocks = 8, .dynamic_share = 0.95};
}
TrainConfig demo_config() {
  TrainConfig config;
  config.lambda_flops = 20;
  config.masker_lr_multiplier = 5;
  config.straight_through_dilation = true;
  return config;
}

TEST(MaskerForecast, TrustsARecipeThatWorked) {
  EXPECT_EQ(forecast_rate(demo_config(), demo_schedule()), 0.5);
  EXPECT_THAT(masker_forecast(demo_config(), demo_schedule()), IsEmpty());
}

TEST(MaskerForecast, TrustsThePapersScheduleOnImageNet) {
  const MaskerTraining schedule{
      .bias = 5, .steps = 100 * 5004, .lr = 0.02, .blocks = 16, .dynamic_share = 0.95, .gradient_share = 0.7};
  EXPECT_THAT(masker_forecast({}, schedule), IsEmpty());
}

TEST(MaskerForecast, WarnsOfMaskersThatCannotMoveWithinTheirSteps) {
  MaskerTraining schedule = demo_schedule();
  schedule.steps = 50;
  TrainConfig config = demo_config();
  config.masker_lr_multiplier = 0.1;
  EXPECT_GT(forecast_rate(config, schedule), 0.95);
  EXPECT_THAT(masker_forecast(config, schedule),
              AllOf(HasSubstr("50 steps at `masker_lr_multiplier` 0.1 are too few"), HasSubstr("bias of 5"),
                    HasSubstr("target of 50 %"), HasSubstr("give `masker_lr_multiplier`")));
}

TEST(MaskerForecast, ATargetThatIsMetFromTheStartNeedsNoStep) {
  const TrainConfig config = demo_config();
  MaskerTraining schedule = demo_schedule();
  schedule.target = 1;
  schedule.steps = 1;
  EXPECT_THAT(masker_forecast(config, schedule), IsEmpty());
}

TEST(UnreachableTarget, IsBelowWhatNoMaskSaves) {
  const ModelSpec spec = make_spec({.name = "resnet50", .granularity = {4, 4, 2, 1}});
  TrainConfig config;
  config.size = 224;
  const double least = expected_macs_ratio(spec, {224, 224}, 0);
  EXPECT_NEAR(macs_budget(config, spec).cost.least(), least, 1e-9);
  config.target = 1.001 * least;
  EXPECT_THAT(unreachable_target(config, macs_budget(config, spec)), IsEmpty());
  config.target = 0.99 * least;
  EXPECT_THAT(unreachable_target(config, macs_budget(config, spec)),
              AllOf(HasSubstr("`target` 0.1"), HasSubstr("cannot be met"), HasSubstr("at 224 px")));
}

TEST(MaskerForecast, MoreStepsAndLargerFeaturesMoveMaskersFurther) {
  MaskerTraining schedule = demo_schedule();
  TrainConfig config = demo_config();
  config.masker_lr_multiplier = 0.1;
  schedule.steps = 100;
  const double few = forecast_rate(config, schedule);
  schedule.steps = 1000;
  const double more = forecast_rate(config, schedule);
  EXPECT_LT(more, few);
  schedule.gain = 4;
  EXPECT_LT(forecast_rate(config, schedule), more);
}

TEST(MaskerForecast, TheMultiplierThatItNamesWouldDo) {
  MaskerTraining schedule = demo_schedule();
  schedule.steps = 200;
  TrainConfig config = demo_config();
  config.masker_lr_multiplier = 0.1;
  const std::string text = masker_forecast(config, schedule);
  const std::string before = "give `masker_lr_multiplier` ";
  ASSERT_THAT(text, HasSubstr(before));
  config.masker_lr_multiplier = std::stod(text.substr(text.find(before) + before.size()));
  EXPECT_THAT(masker_forecast(config, schedule), IsEmpty());
}

TEST(BudgetAdvice, IsSilentWhereTheTargetIsMet) {
  EXPECT_THAT(budget_advice(demo_config(), 0.5, 0.53, {0.5}), IsEmpty());
  EXPECT_TRUE(meets_budget(0.46, 0.5));
  EXPECT_FALSE(meets_budget(0.56, 0.5));
}

TEST(BudgetAdvice, PointsOneWay) {
  const auto lowers = AnyOf(HasSubstr("lower"), HasSubstr("raise `target`"));
  const std::string unmoved = budget_advice(demo_config(), 0.5, 1, {1, 1});
  EXPECT_THAT(unmoved,
              AllOf(HasSubstr("every patch"), HasSubstr("raise `masker_lr_multiplier`"), Not(lowers)));
  // Though one block collapsed, the network as a whole computes too much.
  const std::string above = budget_advice(demo_config(), 0.5, 0.8, {0, 1});
  EXPECT_THAT(above, AllOf(HasSubstr("raise `lambda_flops`"), Not(lowers)));
  EXPECT_THAT(budget_advice(demo_config(), 0.5, 0.2, {0, 1}),
              AllOf(lowers, Not(HasSubstr("raise `lambda_flops`"))));
}

TEST(BudgetAdvice, NamesTheGradientThatIsMissing) {
  TrainConfig config = demo_config();
  EXPECT_THAT(budget_advice(config, 0.5, 0.8, {0.7}), Not(HasSubstr("`straight_through_dilation`")));
  config.straight_through_dilation = false;
  EXPECT_THAT(budget_advice(config, 0.5, 0.8, {0.7}), HasSubstr("`straight_through_dilation`"));
}

}  // namespace
}  // namespace lasnet
