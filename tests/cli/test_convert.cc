// `lasnet convert`, and PyTorch checkpoints given to every command that takes a model.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "fixtures.h"
#include "formats/npy.h"
#include "formats/weight_file.h"
#include "hostile_checkpoints.h"
#include "program.h"
#include "support/pth_writer.h"
#include "support/random_model.h"
#include "support/sanitized.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ConvertTest : public ProgramTest {
 protected:
  std::vector<std::string> described(std::vector<std::string> arguments) const {
    for (const char* argument : {"--arch", "resnet18", "--width", "0.125", "--stem", "small"}) {
      arguments.emplace_back(argument);
    }
    return arguments;
  }

  std::string save_checkpoint(const std::string& name, const Weights& weights) const {
    write_text(folder_.path(name), make_zip(checkpoint_items(state_dict_pickle(weights), weights)));
    return folder_.path(name);
  }

  ProgramResult convert(const std::string& input, const std::vector<std::string>& options = {},
                        const ProgramOptions& program = {}) const {
    auto arguments = described({"convert", input, out_});
    arguments.insert(arguments.end(), options.begin(), options.end());
    return run_program(arguments, program);
  }

  std::string out_ = folder_.path("out.safetensors");
};

TEST_F(ConvertTest, ACheckpointBecomesAModelThatDescribesItself) {
  const Model model = tiny_model();
  write_text(folder_.path("names.txt"), "disc\nstripes\n");
  const auto result = convert(save_checkpoint("m.pth", model.weights),
                              {"--granularity", "4-4-2-1", "--classes", folder_.path("names.txt"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const auto facts = result.json();
  EXPECT_EQ(facts.at("format"), "pytorch");
  EXPECT_EQ(facts.at("maskers"), "file");
  EXPECT_EQ(facts.at("dtype"), "fp32");
  EXPECT_EQ(facts.at("arch").at("granularity"), "4-4-2-1");
  EXPECT_EQ(facts.at("bytes"), std::filesystem::file_size(out_));
  const Model back = load_model(out_);
  EXPECT_EQ(back.spec, model.spec);
  EXPECT_EQ(back.weights, model.weights);
  EXPECT_EQ(back.class_names, model.class_names);
  EXPECT_EQ(back.preprocessing, Preprocessing{});
}

TEST_F(ConvertTest, PreprocessingIsWrittenAsItIsGiven) {
  const auto input = save_checkpoint("m.pth", tiny_model().weights);
  const auto result = convert(input, {"--granularity", "4-4-2-1", "--resize", "72", "--crop", "64", "--mean",
                                      "0.5,0.4,0.3", "--std", "0.25,0.25,0.2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("shorter side to 72 px, centre crop 64 px; mean 0.5 0.4 0.3"));
  const Preprocessing expected{
      .resize = 72, .crop = 64, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.25f, 0.25f, 0.2f}};
  EXPECT_EQ(load_model(out_).preprocessing, expected);
  const auto again = run_program({"convert", out_, out_, "--crop", "0"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(load_model(out_).preprocessing.crop, 0);
  EXPECT_EQ(load_model(out_).preprocessing.mean, expected.mean) << "what is not given stays";
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--crop", "300"},
                                                {"--mean", "0.5,0.5"},
                                                {"--std", "0.2,0,0.2"},
                                                {"--mean", "a,b,c"}}) {
    const auto refused = convert(input, wrong);
    EXPECT_EQ(refused.exit_code, 2) << wrong[1];
    EXPECT_THAT(refused.err, HasSubstr(wrong[0]));
  }
}

TEST_F(ConvertTest, NormalisationsHaveNames) {
  const auto input = save_checkpoint("m.pth", tiny_model().weights);
  const std::pair<const char*, Preprocessing> cases[] = {
      {"raw", {.mean = {0, 0, 0}, .std = {1, 1, 1}}},
      {"inception", {.mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}}},
      {"imagenet", {}}};
  for (const auto& [name, expected] : cases) {
    const auto result = convert(input, {"--granularity", "4-4-2-1", "--mean", name, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(load_model(out_).preprocessing, expected) << name;
    EXPECT_EQ(result.json().at("assumed"), (std::vector<std::string>{"resize", "crop"}));
  }
  for (const auto& options : {std::vector<std::string>{"--mean", "raw", "--std", "0.25,0.25,0.25"},
                              {"--std", "0.25,0.25,0.25", "--mean", "raw"}}) {
    auto arguments = options;
    arguments.insert(arguments.end(), {"--granularity", "4-4-2-1"});
    ASSERT_EQ(convert(input, arguments).exit_code, 0);
    EXPECT_EQ(load_model(out_).preprocessing.mean, (std::vector<float>{0, 0, 0}));
    EXPECT_EQ(load_model(out_).preprocessing.std, (std::vector<float>{0.25f, 0.25f, 0.25f})) << "numbers win";
  }
  const auto wrong = convert(input, {"--mean", "123.7,116.3,103.5"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("divided by 255"));
}

TEST_F(ConvertTest, WhatIsAssumedIsSaid) {
  const auto plain = convert(save_checkpoint("m.pth", tiny_model().weights), {"--granularity", "4-4-2-1"});
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_THAT(plain.out, HasSubstr("assumed  ImageNet's usual mean, std, resize, crop"));
  const auto described = run_program({"convert", save_tiny_model(), out_});
  EXPECT_THAT(described.out, testing::Not(HasSubstr("assumed")));
}

TEST_F(ConvertTest, RawAndAveragedWeightsAreToldApartAndChosen) {
  const Weights raw = tiny_model().weights;
  Weights averaged_weights = raw;
  for (auto& [name, tensor] : averaged_weights) tensor.data[0] = 1;
  write_text(folder_.path("m.pth"),
             make_checkpoint({{"state_dict", raw}, {"state_dict_ema", averaged_weights}}));

  const auto usual = convert(folder_.path("m.pth"), {"--granularity", "4-4-2-1", "--json"});
  ASSERT_EQ(usual.exit_code, 0) << usual.err;
  EXPECT_THAT(usual.err, AllOf(HasSubstr("the weights are those of 'state_dict'"),
                               HasSubstr("there are others: state_dict_ema (state_dict chooses)")));
  EXPECT_EQ(usual.json().at("state_dict"), "state_dict");
  EXPECT_EQ(usual.json().at("other_state_dicts"), std::vector<std::string>{"state_dict_ema"});
  EXPECT_EQ(load_model(out_).weights, raw);

  const auto averaged =
      convert(folder_.path("m.pth"), {"--granularity", "4-4-2-1", "--state-dict", "state_dict_ema"});
  ASSERT_EQ(averaged.exit_code, 0) << averaged.err;
  EXPECT_THAT(averaged.out, HasSubstr("state dict 'state_dict_ema'"));
  EXPECT_EQ(load_model(out_).weights.at("fc.bias").data[0], 1);

  write_image_folder(folder_.path("data"), 0, 1);
  for (const auto& command : {std::vector<std::string>{"inspect"},
                              {"run", save_photo("a.png"), "--input-size", "48"},
                              {"eval", folder_.path("data"), "--input-size", "48"}}) {
    std::vector<std::string> arguments = {command[0], folder_.path("m.pth")};
    arguments.insert(arguments.end(), command.begin() + 1, command.end());
    const auto result = run_program(
        described(with(arguments, {"--granularity", "4-4-2-1", "--state-dict", "state_dict_ema"})));
    EXPECT_EQ(result.exit_code, 0) << command[0] << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr("the weights are those of 'state_dict_ema'")) << command[0];
  }
  const auto none = convert(folder_.path("m.pth"), {"--state-dict", "ema"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("no state dict 'ema'; it has 'state_dict', 'state_dict_ema'"));
}

TEST_F(ConvertTest, PatchesThatDoNotDivideTheirMapAreSaidOfOthersMaskers) {
  const std::string input = save_checkpoint("m.pth", tiny_model({8, 4, 2, 1}).weights);
  const std::vector<std::string> options = {"--granularity", "8-4-2-1", "--resize", "256", "--crop"};
  const auto cut = convert(input, with(options, {"72"}));  // maps of 36, 18, 9 and 5
  ASSERT_EQ(cut.exit_code, 0) << cut.err;
  EXPECT_THAT(cut.err, AllOf(HasSubstr("S = 8 does not divide the map of layer1.0 at 72 px"),
                             HasSubstr("authors' code"), HasSubstr("At --crop 64 every S divides its map")));
  EXPECT_EQ(convert(input, with(options, {"64"})).err, "");
  EXPECT_EQ(run_program({"convert", out_, out_, "--crop", "72"}).err, "") << "our own maskers";
  const std::vector<std::string> layer = {"--granularity", "layer", "--resize", "256", "--crop", "72"};
  EXPECT_EQ(convert(input, layer).err, "") << "one patch divides every map";
}

TEST_F(ConvertTest, LaudnetsMaskersAreFoundUnderTheirNames) {
  const Model model = tiny_model({4, 4, kWholeMapGranularity, kWholeMapGranularity});
  Weights weights;
  for (const auto& [name, tensor] : model.weights) {
    const size_t at = name.find(".masker.conv2.");
    weights[at == std::string::npos ? name
                                    : name.substr(0, at) + ".masker_spatial.conv." + name.substr(at + 14)] =
        tensor;
  }
  const std::string input = save_checkpoint("m.pth", weights);
  const auto result = convert(input, {"--granularity", "4-4-layer-layer", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("maskers"), "file");
  EXPECT_EQ(result.json().at("arch").at("granularity"), "4-4-layer-layer");
  EXPECT_EQ(load_model(out_).weights, model.weights);
  weights["layer1.0.masker_channel.linear.bias"] = Tensor({2});
  const auto refused = convert(save_checkpoint("c.pth", weights), {"--granularity", "4-4-layer-layer"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("layer1.0.masker_channel.linear.bias"), HasSubstr("not channels")));
}

TEST_F(ConvertTest, MaskersThatAStaticNetworkLeavesOutAreSaid) {
  const auto dropped = convert(save_checkpoint("m.pth", tiny_model().weights));
  ASSERT_EQ(dropped.exit_code, 0) << dropped.err;
  EXPECT_THAT(dropped.err, AllOf(HasSubstr("the file has maskers"), HasSubstr("a granularity keeps them")));
  EXPECT_EQ(convert(save_checkpoint("s.pth", tiny_model({}).weights)).err, "");
}

/// The interpreter of Debian's packages, which has python3-torch; "" if there is none with torch.
std::string python_with_torch() {
  for (const char* python : {"/usr/bin/python3", "python3"}) {
    if (std::system((std::string(python) + " -c 'import torch' 2>/dev/null").c_str()) == 0) return python;
  }
  return "";
}

TEST_F(ConvertTest, ThePrintedLineOfPythonRunsAsPrintedAndItsFileIsRead) {
  const std::string python = python_with_torch();
  if (python.empty()) GTEST_SKIP() << "no Python with torch (Debian: python3-torch)";
  const std::string path = folder_.path("it's a model.pth");
  const std::string make =
      "import sys, torch\n"
      "b = torch.nn.BatchNorm2d(2)\n"
      "s = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), b)\n"
      "torch.save({'epoch': 3, 'model': s}, sys.argv[1])\n";
  write_text(folder_.path("make.py"), make);
  ASSERT_EQ(std::system((python + " '" + folder_.path("make.py") + "' \"" + path + "\"").c_str()), 0);
  const auto refused = convert(path);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("'model' (a torch.nn.modules.container.Sequential)"));
  const size_t begin = refused.err.find("python3 -c");
  ASSERT_NE(begin, std::string::npos) << refused.err;
  std::string line = refused.err.substr(begin, refused.err.find('\n', begin) - begin);
  line = python + line.substr(std::string("python3").size());
  ASSERT_EQ(std::system(line.c_str()), 0) << line;
  const auto saved = open_weight_file(folder_.path("it's a model.weights.pth"));
  EXPECT_TRUE(saved->tensors().contains("0.weight"));
  EXPECT_TRUE(saved->tensors().contains("1.running_mean"));
}

TEST_F(ConvertTest, StaticWeightsGetFreshMaskersAndTheirOwnNumberOfClasses) {
  const Model plain = tiny_model({});
  const std::string input = save_checkpoint("m.pt", plain.weights);
  const auto fixed = convert(input);
  ASSERT_EQ(fixed.exit_code, 0) << fixed.err;
  EXPECT_EQ(load_model(out_).weights, plain.weights);
  EXPECT_EQ(load_model(out_).spec.arch.classes, 2);

  const auto dynamic = convert(input, {"--granularity", "4-4-2-1"});
  ASSERT_EQ(dynamic.exit_code, 0) << dynamic.err;
  EXPECT_THAT(dynamic.out, AllOf(HasSubstr("maskers  fresh"), HasSubstr("lasnet train --init")));
  EXPECT_EQ(load_model(out_).spec.arch.granularity, (std::vector<int>{4, 4, 2, 1}));
}

TEST_F(ConvertTest, ASafetensorsFileChangesTypeGranularityAndNamesInPlace) {
  const std::string path = save_tiny_model();
  write_text(folder_.path("names.txt"), "round\r\nstriped\r\n");
  const auto result = run_program({"convert", path, path, "--dtype", "bf16", "--granularity", "1-1-1-1",
                                   "--classes", folder_.path("names.txt")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Model model = load_model(path);
  EXPECT_EQ(model.spec.arch.granularity, (std::vector<int>{1, 1, 1, 1}));
  EXPECT_EQ(model.class_names, (std::vector<std::string>{"round", "striped"}));
  EXPECT_EQ(model.preprocessing, tiny_model().preprocessing);
  for (const auto& [name, tensor] : tiny_model().weights) {
    for (size_t i = 0; i < tensor.data.size(); ++i) {
      ASSERT_NEAR(model.weights.at(name).data[i], tensor.data[i], std::abs(tensor.data[i]) / 256) << name;
    }
  }
}

TEST_F(ConvertTest, WrongNamesAreListedAndNothingIsWritten) {
  Weights weights = tiny_model().weights;
  weights["layer1.0.conv1.weights"] = weights.at("layer1.0.conv1.weight");
  weights.erase("layer1.0.conv1.weight");
  const std::string input = save_checkpoint("m.pth", weights);
  const auto before = folder_.entries();
  const auto result = convert(input, {"--granularity", "4-4-2-1"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("missing    layer1.0.conv1.weight"),
                                HasSubstr("the file has 'layer1.0.conv1.weights'")));
  EXPECT_EQ(folder_.entries(), before);
}

TEST_F(ConvertTest, AFullDiskLeavesTheOldFile) {
  const std::string input = save_checkpoint("m.pth", tiny_model().weights);
  write_text(out_, "old");
  const auto before = folder_.entries();
  const auto result = run_program(described({"convert", input, out_}), {.file_size_limit = 50'000});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("writing failed"));
  EXPECT_EQ(read_text(out_), "old");
  EXPECT_EQ(folder_.entries(), before);
}

TEST_F(ConvertTest, EveryCommandTakesCheckpoints) {
  const std::string input = save_checkpoint("m.pth", tiny_model().weights);
  save_npy(random_input(1, {48, 48}, 3), folder_.path("x.npy"));
  const auto forward = [&](const std::vector<std::string>& model, const std::string& output) {
    std::vector<std::string> arguments = {"forward", "--input", folder_.path("x.npy"), "--output",
                                          folder_.path(output)};
    arguments.insert(arguments.end(), model.begin(), model.end());
    return run_program(arguments);
  };
  auto checkpoint = described({input, "--granularity", "4-4-2-1"});
  ASSERT_EQ(forward(checkpoint, "a.npy").exit_code, 0);
  ASSERT_EQ(forward({save_tiny_model()}, "b.npy").exit_code, 0);
  EXPECT_EQ(load_npy_f32(folder_.path("a.npy")), load_npy_f32(folder_.path("b.npy")));

  write_image_folder(folder_.path("data"), 0, 1);
  for (const auto& command :
       {std::vector<std::string>{"run", "--input-size", "48"}, {"eval", "--input-size", "48"}, {"inspect"}}) {
    auto arguments = command;
    arguments.insert(arguments.end(), checkpoint.begin(), checkpoint.end());
    if (command[0] == "run") arguments.insert(arguments.end(), save_photo("a.png"));
    if (command[0] == "eval") arguments.insert(arguments.end(), folder_.path("data"));
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << command[0] << ": " << result.err;
  }
}

// Hostile files.

class HostileTest : public ConvertTest {
 protected:
  void expect_refused(const std::string& input, const std::string& message) const {
    const auto before = folder_.entries();
    const auto result = convert_within_bounds(input);
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(testing::StartsWith("error:"), HasSubstr(input), HasSubstr(message)));
    EXPECT_LT(result.err.size(), 4000u);
    EXPECT_EQ(folder_.entries(), before);
    if (kSanitized) return;
    EXPECT_LT(result.cpu_seconds, 1);
  }

  /// Converts under the memory bound that hostile files must respect. Sanitizers need more.
  ProgramResult convert_within_bounds(const std::string& input) const {
    constexpr int64_t kMemory = 100'000'000;
    return convert(input, {}, {.memory_limit = kSanitized ? -1 : kMemory});
  }

  Weights weights_ = tiny_model({}).weights;
};

TEST_F(HostileTest, AGoodFileBesideThemConverts) {
  const auto result = convert_within_bounds(save_checkpoint("good.pth", weights_));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(load_model(out_).weights, weights_);
}

TEST_F(HostileTest, EachIsRefusedBriefly) {
  const auto hostile = hostile_checkpoints(weights_, folder_.path("executed"));
  EXPECT_GE(hostile.size(), 25u);
  for (const HostileCheckpoint& checkpoint : hostile) {
    SCOPED_TRACE(checkpoint.name);
    write_text(folder_.path("bad.pth"), checkpoint.bytes);
    expect_refused(folder_.path("bad.pth"), checkpoint.message);
  }
}

TEST_F(HostileTest, EverySixteenthOfAFileIsRefused) {
  const std::string whole = read_text(save_checkpoint("good.pth", weights_));
  for (size_t part = 0; part < 16; ++part) {
    SCOPED_TRACE(part);
    write_text(folder_.path("bad.pth"), whole.substr(0, whole.size() * part / 16));
    expect_refused(folder_.path("bad.pth"), "truncated");
  }
}

TEST_F(HostileTest, ManyLongNamesCostLittle) {
  // Near names are looked for among the unexpected ones: 5,000 of 200 characters.
  Pickle pickle;
  pickle.raw("}(");
  for (int i = 0; i < 5000; ++i) {
    pickle.text(std::string(190, 'x') + std::to_string(i)).tensor({.key = "0", .shape = {1}});
  }
  write_text(folder_.path("bad.pth"),
             make_zip(checkpoint_items(pickle.raw("u").done(), {{"x", Tensor({1})}})));
  expect_refused(folder_.path("bad.pth"), "... and ");
}

TEST_F(HostileTest, AMemoBombBesideTheWeightsIsHarmless) {
  const std::string pickle =
      Pickle().raw("}(").entries(weights_).text("bomb").raw(memo_bomb()).raw("u").done();
  write_text(folder_.path("m.pth"), make_zip(checkpoint_items(pickle, weights_)));
  const auto result = convert(folder_.path("m.pth"));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(load_model(out_).weights, weights_);
}

}  // namespace
}  // namespace lasnet::test
