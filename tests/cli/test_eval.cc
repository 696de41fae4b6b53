// `lasnet eval` against image by image runs of the library.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "fixtures.h"
#include "lasnet/engine.h"
#include "program.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class EvalTest : public ProgramTest {
 protected:
  void SetUp() override {
    model_ = save_tiny_model();
    write_image_folder(folder_.path("data"), 1, 5);
  }

  std::string model_;
};

TEST_F(EvalTest, JsonIsTheMeanOfSingleImages) {
  const auto result =
      run_program({"eval", model_, folder_.path("data"), "--json", "--batch", "4", "--threads", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = result.json();

  const Model model = tiny_model();
  Session session(model);
  const ImageFolder folder = open_image_folder(folder_.path("data/val"));
  double hits = 0, ratio = 0, first_rate = 0;
  for (const auto& item : folder.items) {
    const Result one = session.run(
        to_input(resize_and_crop(load_image(item.path), model.preprocessing), model.preprocessing));
    hits += (one.logits.data[1] > one.logits.data[0]) == (item.label == 1);
    ratio += one.trace.macs_ratio();
    first_rate += one.trace.blocks[0].rate;
  }
  const auto images = static_cast<double>(folder.items.size());
  EXPECT_EQ(json.at("images"), 10);
  EXPECT_NEAR(json.at("top1").get<double>(), hits / images, 1e-12);
  EXPECT_EQ(json.at("top5"), 1.0);
  EXPECT_NEAR(json.at("macs_ratio").get<double>(), ratio / images, 1e-9);
  EXPECT_GT(json.at("macs_ratio_std"), 0.0);
  EXPECT_GT(json.at("images_per_s"), 0.0);
  ASSERT_EQ(json.at("blocks").size(), 8u);
  EXPECT_EQ(json.at("blocks").at(0).at("name"), "layer1.0");
  EXPECT_NEAR(json.at("blocks").at(0).at("rate").get<double>(), first_rate / images, 1e-9);
}

/// The same network, told on the command line what it was trained on.
TEST_F(EvalTest, NormalisationCanBeSaid) {
  Model model = tiny_model();
  model.preprocessing.mean = {0, 0, 0};
  model.preprocessing.std = {1, 1, 1};
  const std::string raw = folder_.path("raw.safetensors");
  save_model(model, raw);
  const auto expected = report_of({"eval", raw, folder_.path("data")});
  const auto said = report_of({"eval", model_, folder_.path("data"), "--mean", "raw"});
  EXPECT_EQ(said.at("macs_ratio"), expected.at("macs_ratio"));
  EXPECT_EQ(said.at("top1"), expected.at("top1"));
  EXPECT_NE(said.at("macs_ratio"), report_of({"eval", model_, folder_.path("data")}).at("macs_ratio"));
}

TEST_F(EvalTest, OtherMasksHaveTheSameRatesElsewhere) {
  const std::string data = folder_.path("data");
  const auto own = report_of({"eval", model_, data});
  for (const char* masks : {"random", "centre"}) {
    const auto other = report_of({"eval", model_, data, "--masks", masks});
    EXPECT_EQ(other.at("masks"), masks);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(other.at("blocks").at(i).at("rate").get<double>(),
                  own.at("blocks").at(i).at("rate").get<double>(), 1e-9);
    }
    EXPECT_NE(other.at("macs_ratio"), own.at("macs_ratio")) << "another halo";
  }
  const auto seed = [&](const char* value) {
    return report_of({"eval", model_, data, "--masks", "random", "--seed", value}).at("macs_ratio");
  };
  EXPECT_EQ(seed("7"), seed("7"));
  EXPECT_NE(seed("7"), seed("8"));
}

TEST_F(EvalTest, FullMasksAreTheNetworkWithoutMasks) {
  const auto full = report_of({"eval", model_, folder_.path("data"), "--masks", "full"});
  EXPECT_EQ(full.at("blocks").at(3).at("rate"), 1.0);
  EXPECT_NEAR(full.at("macs_ratio").get<double>(), 1, 1e-9);
}

TEST_F(EvalTest, MasksOfNoKindOrOfAStaticNetworkAreRefused) {
  const auto unknown = run_program({"eval", model_, folder_.path("data"), "--masks", "middle"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("'middle'"), HasSubstr("own, random, centre or full")));
  Model model = tiny_model();
  ArchConfig arch = model.spec.arch;
  arch.granularity.clear();
  model.spec = make_spec(arch);
  std::erase_if(model.weights,
                [](const auto& item) { return item.first.find(".masker.") != std::string::npos; });
  const std::string path = folder_.path("static.safetensors");
  save_model(model, path);
  const auto result = run_program({"eval", path, folder_.path("data"), "--masks", "random"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("--masks"), HasSubstr("static network")));
}

TEST_F(EvalTest, GuessingIsSaidWithMeanAndStd) {
  // A head that always answers class 0 is right for half of the images.
  Model model = tiny_model();
  for (float& value : model.weights.at("fc.weight").data) value = 0;
  model.weights.at("fc.bias").data = {1, 0};
  save_model(model, model_);
  write_image_folder(folder_.path("more"), 1, 10);
  const auto guess = run_program({"eval", model_, folder_.path("more")});
  ASSERT_EQ(guess.exit_code, 0) << guess.err;
  EXPECT_THAT(guess.err, AllOf(HasSubstr("what guessing gives (2 classes)"),
                               HasSubstr("mean 0.485 0.456 0.406"), HasSubstr("--mean raw")));
  const auto few = run_program({"eval", model_, folder_.path("data")});
  EXPECT_THAT(few.err, testing::Not(HasSubstr("guessing"))) << "ten images say little";
  const std::string lopsided = folder_.path("lopsided");
  write_image_folder(lopsided, 1, 1);
  for (int i = 0; i < 30; ++i)
    fs::copy(lopsided + "/val/disc/0.png", lopsided + "/val/disc/c" + std::to_string(i) + ".png");
  EXPECT_EQ(run_program({"eval", model_, lopsided}).err, "") << "it is right nearly each time";
}

TEST_F(EvalTest, TheValidationFolderItselfGivesTheSame) {
  const auto root = run_program({"eval", model_, folder_.path("data"), "--json"}).json();
  const auto val = run_program({"eval", model_, folder_.path("data/val"), "--json", "--batch", "1"}).json();
  EXPECT_EQ(root.at("top1"), val.at("top1"));
  EXPECT_EQ(root.at("images"), val.at("images"));
  EXPECT_NEAR(root.at("macs_ratio").get<double>(), val.at("macs_ratio").get<double>(), 1e-9);
}

TEST_F(EvalTest, PhotographsOfSeveralSizesUncropped) {
  save_png(resize(tiny_photo(0, 3), 90, 64), folder_.path("data/val/disc/wide.png"));
  const auto result = run_program({"eval", model_, folder_.path("data"), "--no-crop", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("images"), 11);
}

TEST_F(EvalTest, FoldersThatAreNoClassesAreNamed) {
  fs::rename(folder_.path("data/val/disc"), folder_.path("data/val/ball"));
  const auto result = run_program({"eval", model_, folder_.path("data"), "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("ball"));
  EXPECT_THAT(result.err, HasSubstr("disc"));
}

TEST_F(EvalTest, AThousandNamesWithCommasDoNotFillTheScreen) {
  Model model = tiny_model();
  ArchConfig arch = model.spec.arch;
  arch.classes = 1000;
  model.spec = make_spec(arch);
  model.weights = random_weights(model.spec, 1);
  model.class_names.clear();
  for (int i = 0; i < 1000; ++i) model.class_names.push_back(fmt::format("class {}, also called {}", i, -i));
  save_model(model, model_);
  const auto result = run_program({"eval", model_, folder_.path("data")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_LT(result.err.size(), 700u);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("2 of 2 folders"), HasSubstr("disc, stripes"),
                    HasSubstr("'class 4, also called -4' ... 995 more"), HasSubstr("--classes FILE")));
}

TEST_F(EvalTest, AStaticNetworkIsNotComparedWithItself) {
  EXPECT_THAT(run_program({"eval", model_, folder_.path("data")}).out, HasSubstr("of the static network"));
  save_model(tiny_model({}), model_);
  const auto result = run_program({"eval", model_, folder_.path("data")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("top-1"), testing::Not(HasSubstr("static network"))));
}

TEST_F(EvalTest, ManyUnreadableImagesAreCounted) {
  for (int i = 0; i < 20; ++i)
    write_text(folder_.path(fmt::format("data/val/disc/x{}.png", i)), "no picture");
  const auto result = run_program({"eval", model_, folder_.path("data"), "--skip-unreadable"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("disc/x0.png"), HasSubstr("... 15 more"), HasSubstr("--json")));
  EXPECT_THAT(result.err, testing::Not(HasSubstr("disc/x9.png")));
}

TEST_F(EvalTest, AMissingFolderAnEmptyClassAndASingleClassAreRefused) {
  EXPECT_EQ(run_program({"eval", model_, folder_.path("absent")}).exit_code, 1);
  fs::create_directories(folder_.path("hollow/disc"));
  write_image_folder(folder_.path("hollow"), 1, 1);
  fs::create_directories(folder_.path("hollow/val/empty"));
  const auto empty = run_program({"eval", model_, folder_.path("hollow")});
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_THAT(empty.err, HasSubstr("empty"));
  fs::remove_all(folder_.path("data/val/stripes"));
  EXPECT_EQ(run_program({"eval", model_, folder_.path("data")}).exit_code, 1);
}

TEST_F(EvalTest, AnUnreadableImageIsNamed) {
  write_text(folder_.path("data/val/disc/2.png"), "not a picture");
  const auto result = run_program({"eval", model_, folder_.path("data"), "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(HasSubstr("disc/2.png"), HasSubstr("--skip-unreadable")));
}

TEST_F(EvalTest, UnreadableImagesCanBeLeftOut) {
  const auto whole = run_program({"eval", model_, folder_.path("data"), "--json", "--batch", "3"}).json();
  EXPECT_EQ(whole.at("unreadable").size(), 0u);
  for (const char* name : {"disc/a.png", "disc/b.jpg", "disc/c.png", "stripes/2a.png"})
    write_text(folder_.path(std::string("data/val/") + name), "not a picture");
  const auto result =
      run_program({"eval", model_, folder_.path("data"), "--json", "--batch", "3", "--skip-unreadable"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("stripes/2a.png"));
  const auto json = result.json();
  EXPECT_EQ(json.at("images"), whole.at("images"));
  EXPECT_EQ(json.at("top1"), whole.at("top1"));
  EXPECT_EQ(json.at("macs_ratio"), whole.at("macs_ratio"));
  ASSERT_EQ(json.at("unreadable").size(), 4u);
  EXPECT_THAT(json.at("unreadable").at(1).get<std::string>(), HasSubstr("disc/b.jpg"));
}

TEST_F(EvalTest, ItIsAnErrorIfNoImageIsLeft) {
  for (const auto& item : open_image_folder(folder_.path("data/val")).items) write_text(item.path, "");
  const auto result = run_program({"eval", model_, folder_.path("data"), "--skip-unreadable"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("none of 10 images can be read"));
}

TEST_F(EvalTest, ObjectMasksGiveAnAuc) {
  const ImageFolder folder = open_image_folder(folder_.path("data/val"));
  for (const auto& item : folder.items) {
    Image mask{64, 64, std::vector<uint8_t>(64 * 64 * 3, 0)};
    std::fill(mask.rgb.begin(), mask.rgb.begin() + 32 * 64 * 3, 255);  // the upper half is the object
    const fs::path path = folder_.path("masks") / fs::relative(item.path, folder_.path("data/val"));
    fs::create_directories(path.parent_path());
    save_png(mask, path.string());
  }
  const auto result =
      run_program({"eval", model_, folder_.path("data"), "--object-masks", folder_.path("masks"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(result.json().at("object_auc"), 0.0);
  EXPECT_LT(result.json().at("object_auc"), 1.0);

  fs::remove(folder_.path("masks/stripes/3.png"));
  const auto incomplete =
      run_program({"eval", model_, folder_.path("data"), "--object-masks", folder_.path("masks"), "--json"});
  EXPECT_EQ(incomplete.exit_code, 1);
  EXPECT_THAT(incomplete.err, HasSubstr("stripes/3.png"));
}

}  // namespace
}  // namespace lasnet::test
