// Files are the same whatever locale the program around the library has set.
#include "formats/metadata.h"
#include "lasnet/hardware.h"
#include "lasnet/schedule.h"
#include "report/plot.h"
#include "support/comma_locale.h"
#include "support/expect_error.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

/// What the library writes of numbers, as text.
std::vector<std::string> written() {
  Model model = random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  model.preprocessing.mean = {0.485f, 0.456f, 0.406f};
  model.preprocessing.std = {1.5f, 0.25f, 1e-7f};
  model.training_json = R"({"loss":1234567.5})";
  Plot plot{.title = "p", .x = {.label = "x"}, .y = {.label = "y"}, .series = {}};
  plot.series.push_back({.label = "s", .x = {0.25, 12345.5}, .y = {0.5, 1e6}});
  std::string hardware = hardware_to_toml(load_hardware("cuda-h100"));
  return {write_metadata(model), to_svg({plot}), hardware, to_string(Shape{12345, 6})};
}

class Locale : public testing::Test {
 protected:
  void SetUp() override {
    texts_ = written();
    comma_.emplace();
    if (!comma_->found()) GTEST_SKIP() << "no locale with a decimal comma, and localedef makes none";
  }

  std::vector<std::string> texts_;  ///< as written under the C locale
  std::optional<CommaLocale> comma_;
};

TEST_F(Locale, IsReallyInForce) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f", 0.5);
  ASSERT_STREQ(text, "0,5");
}

TEST_F(Locale, WritersDoNotKnowIt) { EXPECT_EQ(written(), texts_); }

TEST_F(Locale, ReadersDoNotKnowIt) {
  const Model model = parse_metadata(texts_[0], "m");
  EXPECT_EQ(model.preprocessing.mean, (std::vector<float>{0.485f, 0.456f, 0.406f}));
  EXPECT_EQ(model.preprocessing.std, (std::vector<float>{1.5f, 0.25f, 1e-7f}));
  EXPECT_EQ(model.training_json, R"({"loss":1234567.5})");
  EXPECT_EQ(hardware_to_toml(parse_hardware(texts_[2], "h")), texts_[2]);
  EXPECT_EQ(parse_block_schedule("whole_map_above=0.75").whole_map_above, 0.75);
}

TEST_F(Locale, AModelFileSurvivesIt) {
  TemporaryDir dir;
  Model model = random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  model.preprocessing.mean = {0.1f, 0.2f, 0.3f};
  save_model(model, dir / "m.safetensors");
  const Model back = load_model(dir / "m.safetensors");
  EXPECT_EQ(back.preprocessing, model.preprocessing);
  EXPECT_EQ(back.weights, model.weights);
}

}  // namespace
}  // namespace lasnet::test
