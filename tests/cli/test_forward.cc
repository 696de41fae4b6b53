// `lasnet forward`: tensors and masks there and back.
#include <gmock/gmock.h>

#include "base/random.h"
#include "fixtures.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "lasnet/engine.h"
#include "program.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;

class ForwardTest : public ProgramTest {
 protected:
  void SetUp() override {
    model_ = save_tiny_model();
    Random random(5);
    input_ = Tensor({2, 3, 48, 40});
    for (float& value : input_.data) value = static_cast<float>(random.normal());
    save_npy(input_, folder_.path("x.npy"));
  }

  ProgramResult forward(const std::vector<std::string>& extra) const {
    std::vector<std::string> arguments = {
        "forward", model_, "--input", folder_.path("x.npy"), "--output", folder_.path("y.npy")};
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    return run_program(arguments);
  }

  std::string model_;
  Tensor input_;
};

void expect_near(const Tensor& got, const Tensor& wanted) {
  ASSERT_EQ(got.shape, wanted.shape);
  for (size_t i = 0; i < got.data.size(); ++i) EXPECT_NEAR(got.data[i], wanted.data[i], 1e-4f);
}

TEST_F(ForwardTest, WritesTheLibrarysLogitsAndMasks) {
  const auto result = forward({"--masks", folder_.path("masks")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  Session session(tiny_model());
  const Result library = session.run(input_);
  expect_near(load_npy_f32(folder_.path("y.npy")), library.logits);
  for (const BlockTrace& block : library.trace.blocks) {
    EXPECT_EQ(load_npy_u8(folder_.path("masks/" + block.name + ".npy")), block.mask) << block.name;
  }
}

TEST_F(ForwardTest, ForcedMasksComeBackAndChangeTheLogits) {
  // Forced: every second patch of one block, none of another; the others decide themselves.
  Session session(tiny_model());
  const Trace trace = session.run(input_).trace;
  std::filesystem::create_directories(folder_.path("forced"));
  MaskSet forced;
  for (const BlockTrace& block : trace.blocks) {
    ByteTensor mask(block.mask.shape, 0);
    if (block.name == "layer1.0") {
      for (int64_t i = 0; i < mask.size(); ++i) {
        const int64_t x = i % block.width, y = i / block.width % block.height;
        mask.data[static_cast<size_t>(i)] = (x / block.granularity + y / block.granularity) % 2 == 0;
      }
    } else if (block.name != "layer2.1") {
      continue;
    }
    save_npy(mask, folder_.path("forced/" + block.name + ".npy"));
    forced[block.name] = mask;
  }
  ASSERT_EQ(forced.size(), 2u);
  const auto result = forward({"--force-masks", folder_.path("forced"), "--masks", folder_.path("masks")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const auto& [name, mask] : forced)
    EXPECT_EQ(load_npy_u8(folder_.path("masks/" + name + ".npy")), mask) << name;
  const Tensor logits = load_npy_f32(folder_.path("y.npy"));
  expect_near(logits, session.run(input_, {.force_masks = &forced}).logits);
  EXPECT_NE(logits, session.run(input_).logits);
}

TEST_F(ForwardTest, GranularityCanBeOverridden) {
  const auto result = forward({"--granularity", "1-1-1-1", "--masks", folder_.path("masks")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  Model model = tiny_model();
  model.spec.arch.granularity = {1, 1, 1, 1};
  model.spec = make_spec(model.spec.arch);
  Session session(model);
  const Result library = session.run(input_);
  EXPECT_EQ(load_npy_u8(folder_.path("masks/layer1.0.npy")), library.trace.blocks[0].mask);
  expect_near(load_npy_f32(folder_.path("y.npy")), library.logits);
}

TEST_F(ForwardTest, AnUnknownBlockIsRefused) {
  std::filesystem::create_directories(folder_.path("forced"));
  save_npy(ByteTensor({2, 24, 20}, 1), folder_.path("forced/layer9.0.npy"));
  const auto result = forward({"--force-masks", folder_.path("forced"), "--masks", folder_.path("masks")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("layer9.0"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("y.npy")));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("masks")));
}

TEST_F(ForwardTest, AWronglyShapedMaskIsRefused) {
  std::filesystem::create_directories(folder_.path("forced"));
  save_npy(ByteTensor({2, 5, 5}, 1), folder_.path("forced/layer1.0.npy"));
  const auto result = forward({"--force-masks", folder_.path("forced")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("layer1.0"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("y.npy")));
}

TEST_F(ForwardTest, WritesTheLibrarysMaps) {
  const auto result = forward({"--features", folder_.path("maps")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  Session session(tiny_model());
  RunOptions options;
  for (const FeatureSpec& feature : feature_specs(session.spec())) options.features.push_back(feature.name);
  const Result library = session.run(input_, options);
  ASSERT_EQ(library.features.size(), 5u);
  for (const auto& [name, map] : library.features)
    expect_near(load_npy_f32(folder_.path("maps/" + name + ".npy")), map);
  expect_near(load_npy_f32(folder_.path("y.npy")), library.logits);

  const auto some = run_program({"forward", model_, "--input", folder_.path("x.npy"), "--features",
                                 folder_.path("some"), "--maps", "layer4, layer2", "--map-layout", "nhwc"});
  ASSERT_EQ(some.exit_code, 0) << some.err;
  EXPECT_THAT(some.err, HasSubstr("maps of layer2, layer4"));
  options = {.features = {"layer2", "layer4"}, .feature_layout = MapLayout::nhwc};
  for (const auto& [name, map] : session.run(input_, options).features)
    expect_near(load_npy_f32(folder_.path("some/" + name + ".npy")), map);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("some/stem.npy")));
}

TEST_F(ForwardTest, WrongUseOfMapsSaysSoAndWritesNothing) {
  const auto unknown = forward({"--features", folder_.path("maps"), "--maps", "layer1,layer5"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("--maps: feature 'layer5'"));
  EXPECT_THAT(unknown.err, HasSubstr("stem, layer1, layer2, layer3, layer4"));
  const auto layout = forward({"--features", folder_.path("maps"), "--map-layout", "chw"});
  EXPECT_EQ(layout.exit_code, 2);
  EXPECT_THAT(layout.err, HasSubstr("expected nchw or nhwc"));
  const auto alone = forward({"--maps", "layer1"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.err, HasSubstr("--features"));
  const auto nothing = run_program({"forward", model_, "--input", folder_.path("x.npy")});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("expected --output, --features or --masks"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("y.npy")));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("maps")));
}

/// Weights without a classifier describe a backbone: it has maps, and no class.
TEST_F(ForwardTest, ABackboneHasMapsAlone) {
  Model plain = tiny_model({});
  std::erase_if(plain.weights, [](const auto& entry) { return entry.first.starts_with("fc."); });
  const std::string weights = folder_.path("plain.safetensors"), model = folder_.path("backbone.safetensors");
  write_safetensors({plain.weights, {}}, weights, DType::f32);
  const auto converted = run_program({"convert", weights, model, "--arch", "resnet18", "--width", "0.125",
                                      "--stem", "small", "--granularity", "4-4-2-1"});
  ASSERT_EQ(converted.exit_code, 0) << converted.err;
  EXPECT_THAT(converted.out, HasSubstr("classes  none: a backbone"));
  EXPECT_THAT(run_program({"inspect", model}).out, HasSubstr("classes        none: a backbone"));
  EXPECT_EQ(load_model(model).spec.arch.classes, 0);

  const auto maps = run_program({"forward", model, "--input", folder_.path("x.npy"), "--features",
                                 folder_.path("maps"), "--maps", "layer4"});
  ASSERT_EQ(maps.exit_code, 0) << maps.err;
  Session session(load_model(model));
  expect_near(load_npy_f32(folder_.path("maps/layer4.npy")),
              session.run(input_, {.features = {"layer4"}}).features.at("layer4"));

  const auto logits =
      run_program({"forward", model, "--input", folder_.path("x.npy"), "--output", folder_.path("y.npy")});
  EXPECT_EQ(logits.exit_code, 2);
  EXPECT_THAT(logits.err, HasSubstr("backbone without a classifier"));
  const auto run = run_program({"run", model, folder_.path("photo.jpg")});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.err, HasSubstr("backbone without a classifier"));
}

TEST_F(ForwardTest, AMissingOrEmptyMaskFolderIsRefused) {
  EXPECT_EQ(forward({"--force-masks", folder_.path("absent")}).exit_code, 1);
  std::filesystem::create_directories(folder_.path("empty"));
  EXPECT_EQ(forward({"--force-masks", folder_.path("empty")}).exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("y.npy")));
}

TEST_F(ForwardTest, WrongInputShapesAreRefused) {
  for (const Shape& shape :
       {Shape{3, 48, 48}, Shape{1, 1, 48, 48}, Shape{1, 3, 16, 48}, Shape{0, 3, 48, 48}}) {
    save_npy(Tensor(shape), folder_.path("x.npy"));
    const auto result = forward({});
    EXPECT_EQ(result.exit_code, 1) << to_string(shape);
    EXPECT_THAT(result.err, HasSubstr("expected")) << to_string(shape);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path("y.npy")));
}

TEST_F(ForwardTest, AFullDiskLeavesNothingBehind) {
  Tensor many({3000, 3, 32, 32});  // logits of 24 kB
  save_npy(many, folder_.path("x.npy"));
  const auto before = folder_.entries();
  const auto result =
      run_program({"forward", model_, "--input", folder_.path("x.npy"), "--output", folder_.path("y.npy")},
                  {.file_size_limit = 4096});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("y.npy"));
  EXPECT_EQ(folder_.entries(), before);
}

}  // namespace
}  // namespace lasnet::test
