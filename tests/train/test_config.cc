// The training configuration: TOML files and what is refused before training starts.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "lasnet/error.h"
#include "network/normalisation.h"
#include "support/expect_error.h"
#include "train/config.h"

namespace lasnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ConfigFile : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    std::ofstream(path_) << text;
    return path_;
  }

  std::string message_for(const std::string& text) {
    return test::error_of([&] { load_train_config(write(text)); });
  }

  void TearDown() override { std::filesystem::remove(path_); }

  std::string path_ = testing::TempDir() + "lasnet_config_" +
                      testing::UnitTest::GetInstance()->current_test_info()->name() + ".toml";
};

TEST_F(ConfigFile, SetsEveryKindOfValue) {
  TrainConfig config = load_train_config(write(R"(
data = "photos"
arch = "resnet50"
width = 0.5
stem = "small"
granularity = "4-4-2-1"
epochs = 7
lr = 1
masker_bias = 2.5
se = "dense"
flip = false
seed = 12345678901
mean = "raw"
std = [0.5, 0.25, 1]
)"));
  EXPECT_EQ(config.data, "photos");
  EXPECT_EQ(config.arch.name, "resnet50");
  EXPECT_EQ(config.arch.width, 0.5);
  EXPECT_EQ(config.arch.stem, StemKind::small);
  EXPECT_EQ(config.arch.se_pool, SePool::dense);
  EXPECT_THAT(config.arch.granularity, testing::ElementsAre(4, 4, 2, 1));
  EXPECT_EQ(config.epochs, 7);
  EXPECT_EQ(config.lr, 1.0);
  EXPECT_EQ(config.masker_bias, 2.5f);
  EXPECT_FALSE(config.flip);
  EXPECT_EQ(config.seed, 12345678901u);
  EXPECT_THAT(config.mean, testing::ElementsAre(0, 0, 0));
  EXPECT_THAT(config.std, testing::ElementsAre(0.5f, 0.25f, 1));
}

TEST_F(ConfigFile, TheNameOfAMeanSaysItsDeviationToo) {
  EXPECT_THAT(load_train_config(write("mean = \"raw\"\n"), {}).std, testing::ElementsAre(1, 1, 1));
  EXPECT_THAT(load_train_config(write("mean = \"raw\"\nstd = [0.5, 0.5, 0.5]\n"), {}).std,
              testing::ElementsAre(0.5f, 0.5f, 0.5f));
}

TEST_F(ConfigFile, KeepsTheBaseWhereItIsSilent) {
  TrainConfig base;
  base.batch = 17;
  base.epochs = 3;
  TrainConfig config = load_train_config(write("epochs = 9\ngranularity = [8, 4, 7, 1]\n"), base);
  EXPECT_EQ(config.batch, 17);
  EXPECT_EQ(config.epochs, 9);
  EXPECT_THAT(config.arch.granularity, testing::ElementsAre(8, 4, 7, 1));
}

TEST_F(ConfigFile, LayerStandsAmongGranularities) {
  const auto skipping = testing::ElementsAre(4, 4, 2, kWholeMapGranularity);
  EXPECT_THAT(load_train_config(write("granularity = [4, 4, 2, \"layer\"]\n")).arch.granularity, skipping);
  const TrainConfig config = load_train_config(write("granularity = \"4-4-2-layer\"\n"));
  EXPECT_THAT(config.arch.granularity, skipping);
  EXPECT_EQ(to_json(config).at("granularity"), "4-4-2-layer");
}

TEST_F(ConfigFile, UnknownKeysAreNamedWithTheNearest) {
  EXPECT_THAT(message_for("seed = 1\nepoch = 3\n"),
              AllOf(HasSubstr(":2:"), HasSubstr("'epoch'"), HasSubstr("'epochs'")));
  EXPECT_THAT(message_for("zzzzzzzzzz = 3"), AllOf(HasSubstr("zzzzzzzzzz"), HasSubstr("label_smoothing")));
}

TEST_F(ConfigFile, WrongTypesAreRefused) {
  EXPECT_THAT(message_for("epochs = 2.5"), AllOf(HasSubstr("'epochs'"), HasSubstr("integer")));
  EXPECT_THAT(message_for("epochs = 99999999999"), HasSubstr("'epochs'"));
  EXPECT_THAT(message_for("seed = -1"), HasSubstr("'seed'"));
  EXPECT_THAT(message_for("lr = \"fast\""), AllOf(HasSubstr("'lr'"), HasSubstr("number")));
  EXPECT_THAT(message_for("flip = 1"), AllOf(HasSubstr("'flip'"), HasSubstr("true or false")));
  EXPECT_THAT(message_for("data = 3"), AllOf(HasSubstr("'data'"), HasSubstr("string")));
  EXPECT_THAT(message_for("granularity = [4, \"x\"]"), HasSubstr("'granularity'"));
  EXPECT_THAT(message_for("precision = \"fp16\""),
              AllOf(HasSubstr("'precision'"), HasSubstr("fp16"), HasSubstr("fp32, bf16 or auto")));
  EXPECT_THAT(message_for("seed = 1\nstem = \"huge\""),
              AllOf(testing::StartsWith(path_ + ":2: 'stem': "), HasSubstr("huge")));
  EXPECT_THAT(message_for("granularity = \"4-x\""), testing::StartsWith(path_ + ":1: 'granularity': "));
  EXPECT_THAT(message_for("mean = \"grey\""),
              AllOf(testing::StartsWith(path_ + ":1: 'mean': "), HasSubstr("inception")));
}

TEST_F(ConfigFile, SyntaxErrorsNameTheLine) {
  EXPECT_THAT(message_for("seed = 1\nlr = = 2\n"), HasSubstr(path_ + ":2"));
  EXPECT_THROW(load_train_config("/no/such/file.toml"), Error);
}

TEST_F(ConfigFile, GranularityMayBeLeftToTheSearch) {
  const TrainConfig config = load_train_config(write("granularity = \"auto\"\nhardware = \"tx2\"\n"));
  EXPECT_EQ(config.arch.granularity, kAutoGranularity);
  EXPECT_EQ(config.hardware, "tx2");
  EXPECT_EQ(to_json(config).at("granularity"), "auto");
}

TrainConfig valid_config() {
  TrainConfig config;
  config.data = "data";
  config.output = "out";
  config.arch.granularity = {4, 4, 2, 1};
  return config;
}

TEST(CheckTrainConfig, DefaultsWithDataOutputAndGranularityAreValid) { check_train_config(valid_config()); }

struct BadValue {
  const char* key;
  void (*set)(TrainConfig&);
};

void PrintTo(const BadValue& value, std::ostream* out) { *out << value.key; }

class CheckTrainConfigTest : public testing::TestWithParam<BadValue> {};

TEST_P(CheckTrainConfigTest, NamesTheBadValue) {
  TrainConfig config = valid_config();
  GetParam().set(config);
  try {
    check_train_config(config);
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.key(), GetParam().key);
    EXPECT_THAT(error.what(), testing::StartsWith(setting_name(GetParam().key)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Values, CheckTrainConfigTest,
    testing::Values(BadValue{"data", [](TrainConfig& c) { c.data.clear(); }},
                    BadValue{"output", [](TrainConfig& c) { c.output.clear(); }},
                    BadValue{"granularity", [](TrainConfig& c) { c.arch.granularity.clear(); }},
                    BadValue{"overwrite", [](TrainConfig& c) { c.resume = c.overwrite = true; }},
                    BadValue{"hardware", [](TrainConfig& c) { c.hardware = "v100"; }},
                    BadValue{"size", [](TrainConfig& c) { c.size = 31; }},
                    BadValue{"resize", [](TrainConfig& c) { c.resize = 100; }},
                    BadValue{"target", [](TrainConfig& c) { c.target = 0; }},
                    BadValue{"target", [](TrainConfig& c) { c.target = 1.01; }},
                    BadValue{"target", [](TrainConfig& c) { c.target = NAN; }},
                    BadValue{"val_fraction", [](TrainConfig& c) { c.val_fraction = 1; }},
                    BadValue{"epochs", [](TrainConfig& c) { c.epochs = 0; }},
                    BadValue{"pretrain_epochs", [](TrainConfig& c) { c.pretrain_epochs = -1; }},
                    BadValue{"batch", [](TrainConfig& c) { c.batch = 0; }},
                    BadValue{"lr", [](TrainConfig& c) { c.lr = -1; }},
                    BadValue{"pretrain_lr", [](TrainConfig& c) { c.pretrain_lr = INFINITY; }},
                    // Values that a double holds and libtorch's floats do not.
                    BadValue{"lr", [](TrainConfig& c) { c.lr = 1e300; }},
                    BadValue{"weight_decay", [](TrainConfig& c) { c.weight_decay = 1e300; }},
                    BadValue{"lambda_flops", [](TrainConfig& c) { c.lambda_flops = 1e300; }},
                    BadValue{"temperature_distill", [](TrainConfig& c) { c.temperature_distill = 1e-300; }},
                    BadValue{"masker_bias", [](TrainConfig& c) { c.masker_bias = 1e30f; }},
                    BadValue{"mean",
                             [](TrainConfig& c) {
                               c.mean = {0.5f, 0.5f};
                             }},
                    BadValue{"mean",
                             [](TrainConfig& c) {
                               c.mean = {0.5f, 0.5f, 128};
                             }},
                    BadValue{"std",
                             [](TrainConfig& c) {
                               c.std = {1, 1, 0};
                             }},
                    BadValue{"momentum", [](TrainConfig& c) { c.momentum = 1; }},
                    BadValue{"pretrain_weight_decay", [](TrainConfig& c) { c.pretrain_weight_decay = -1; }},
                    BadValue{"weight_decay", [](TrainConfig& c) { c.weight_decay = NAN; }},
                    BadValue{"label_smoothing", [](TrainConfig& c) { c.label_smoothing = 1; }},
                    BadValue{"gumbel_end", [](TrainConfig& c) { c.gumbel_end = 0; }},
                    BadValue{"temperature_distill", [](TrainConfig& c) { c.temperature_distill = 0; }},
                    BadValue{"target_ramp", [](TrainConfig& c) { c.target_ramp = 1.5; }},
                    BadValue{"bounds_hold", [](TrainConfig& c) { c.bounds_hold = -0.1; }},
                    BadValue{"noise_start", [](TrainConfig& c) { c.noise_start = 1.5; }},
                    BadValue{"noise_end", [](TrainConfig& c) { c.noise_end = NAN; }},
                    BadValue{"hold_budget", [](TrainConfig& c) { c.hold_budget = true; }},
                    BadValue{"norm_images", [](TrainConfig& c) { c.norm_images = -1; }},
                    BadValue{"fit_images", [](TrainConfig& c) { c.fit_images = -1; }},
                    BadValue{"fit_images", [](TrainConfig& c) { c.fit_images = 100; }},
                    BadValue{"alpha_features", [](TrainConfig& c) { c.alpha_features = -1; }},
                    BadValue{"crop_min_scale", [](TrainConfig& c) { c.crop_min_scale = 0; }},
                    BadValue{"threads", [](TrainConfig& c) { c.threads = -1; }}),
    [](const auto& value) { return fmt::format("{}_{}", value.param.key, value.index); });

TEST(ConfigJson, IsReadBackAsItWas) {
  TrainConfig config = valid_config();
  config.arch = {.name = "regnet_y_400mf",
                 .width = 0.3,
                 .classes = 1000,
                 .stem = StemKind::small,
                 .granularity = {8, 4, 2, 1},
                 .se_pool = SePool::dense};
  config.seed = UINT64_MAX;
  config.masker_bias = 0.1f;
  config.mean = {0.1f, 0.2f, 0.3f};
  config.flip = false;
  config.lr = 0.1;
  const nlohmann::json json = to_json(config);
  EXPECT_EQ(to_json(config_from(Record(json, "file"))), json);
  EXPECT_EQ(config_from(Record(json, "file")).seed, UINT64_MAX);
}

TEST(ConfigJson, OtherTypesAreNamedWithTheirPlace) {
  const auto message_for = [](const char* key, const nlohmann::json& value) -> std::string {
    nlohmann::json json = to_json(valid_config());
    if (value.is_null()) json.erase(key);
    if (!value.is_null()) json[key] = value;
    return test::error_of([&] { config_from(Record(json, "file")); });
  };
  EXPECT_EQ(message_for("flip", 3), "file.flip: expected true or false, got 3");
  EXPECT_EQ(message_for("data", nlohmann::json::array()), "file.data: expected a string, got []");
  EXPECT_THAT(message_for("epochs", 1.5), HasSubstr("file.epochs: expected an integer"));
  EXPECT_THAT(message_for("epochs", uint64_t{1} << 63), HasSubstr("file.epochs: expected an integer"));
  EXPECT_THAT(message_for("seed", -1), HasSubstr("file.seed: expected an integer from 0"));
  EXPECT_THAT(message_for("stem", "huge"), HasSubstr("file.stem: "));
  EXPECT_EQ(message_for("lr", nlohmann::json()), "file: the key 'lr' is missing");
}

TEST(Defaults, AreThePapersOfTheArchitecture) {
  ArchConfig arch{.name = "resnet50"};
  EXPECT_EQ(default_train_config(arch, false).masker_lr_multiplier, 0.1);
  EXPECT_EQ(default_train_config(arch, false).size, 128);
  EXPECT_EQ(default_train_config(arch, true).size, 224);
  EXPECT_EQ(default_train_config(arch, true).crop_min_scale, 0.08);
  arch.name = "regnet_y_800mf";
  EXPECT_EQ(default_train_config(arch, true).masker_lr_multiplier, 1);
  arch.stem = StemKind::small;
  EXPECT_EQ(default_train_config(arch, true).size, 128) << "no network of ImageNet";
}

TEST(ParseColour, TakesNumbersAndNames) {
  EXPECT_THAT(parse_mean("0.1,0.2,0.3"), testing::ElementsAre(0.1f, 0.2f, 0.3f));
  EXPECT_EQ(parse_mean("imagenet"), Preprocessing().mean);
  EXPECT_EQ(parse_std("imagenet"), Preprocessing().std);
  EXPECT_THAT(parse_std("raw"), testing::ElementsAre(1, 1, 1));
  EXPECT_THAT(parse_mean("inception"), testing::ElementsAre(0.5f, 0.5f, 0.5f));
  for (const char* text : {"", "0.1", "0.1,0.2", "1,2,3,4", "0.1,,0.2", "0.1,0.2,0.3,", "0,1,2x", "grey"})
    EXPECT_THROW(parse_mean(text), Error) << text;
}

TEST(ConfigJson, RecordsEveryKeyAndTheRecipeLeavesOutPaths) {
  TrainConfig config = valid_config();
  nlohmann::json all = to_json(config), recipe = recipe_json(config);
  EXPECT_EQ(all.at("granularity"), "4-4-2-1");
  EXPECT_EQ(all.at("data"), "data");
  EXPECT_EQ(recipe.at("lr"), config.lr);
  for (const char* key :
       {"data", "output", "init", "teacher", "threads", "resume", "overwrite", "hardware"}) {
    EXPECT_TRUE(all.contains(key)) << key;
    EXPECT_FALSE(recipe.contains(key)) << key;
  }
}

TEST(ByteCount, IsANumberWithAUnitOrAuto) {
  EXPECT_EQ(parse_byte_count("auto"), std::nullopt);
  EXPECT_EQ(parse_byte_count("0"), 0);
  EXPECT_EQ(parse_byte_count("123"), 123);
  EXPECT_EQ(parse_byte_count("20K"), 20 << 10);
  EXPECT_EQ(parse_byte_count("500M"), 500 << 20);
  EXPECT_EQ(parse_byte_count("4G"), int64_t{4} << 30);
  for (const char* text : {"", "G", "-1", "1.5G", "4GB", "4g", "9999999999G", "all"})
    EXPECT_THROW(parse_byte_count(text), ConfigError) << text;
}

TEST(Recipes, AreWhatTheProgramUnderstands) {
  int recipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LASNET_RECIPES)) {
    TrainConfig config = load_train_config(entry.path().string());
    config.data = "data";
    config.output = "out";
    EXPECT_NO_THROW(check_train_config(config)) << entry.path();
    EXPECT_NO_THROW(make_spec(config.arch)) << entry.path();
    EXPECT_EQ(entry.path().filename().string().starts_with("imagenet-" + config.arch.name),
              entry.path().filename() != "small-data.toml");
    ++recipes;
  }
  EXPECT_EQ(recipes, 5);
}

}  // namespace
}  // namespace lasnet
