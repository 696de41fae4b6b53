#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/float_formats.h"
#include "formats/metadata.h"
#include "formats/safetensors.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/random_model.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ArchConfig small_arch() {
  ArchConfig arch;
  arch.name = "resnet18";
  arch.width = 0.125;
  arch.classes = 3;
  arch.stem = StemKind::small;
  arch.granularity = {4, 4, 2, 1};
  return arch;
}

Model small_model() {
  Model model = random_model(small_arch(), 1);
  model.class_names = {"cat", "dog", "\"bird\""};
  model.preprocessing.resize = 73;
  model.preprocessing.crop = 64;
  model.preprocessing.mean = {0.1f, 0.2f, 0.3f};
  model.training_json = R"({"epochs":3,"log":[1.5,null]})";
  return model;
}

void expect_same_description(const Model& got, const Model& expected) {
  EXPECT_EQ(got.spec, expected.spec);
  EXPECT_EQ(got.class_names, expected.class_names);
  EXPECT_EQ(got.preprocessing, expected.preprocessing);
  EXPECT_EQ(json::parse(got.training_json), json::parse(expected.training_json));
}

/// The weights of `model` alone, as torchvision's users have them.
void save_plain(const Weights& weights, const std::string& path) {
  write_safetensors({weights, {{"format", "pt"}}}, path, DType::f32);
}

TEST(ModelFile, RoundTrips) {
  TemporaryDir dir;
  Model model = small_model();
  save_model(model, dir / "m.safetensors");
  Model back = load_model(dir / "m.safetensors");
  expect_same_description(back, model);
  EXPECT_EQ(back.weights, model.weights);

  for (DType dtype : {DType::f16, DType::bf16}) {
    save_model(model, dir / "m.safetensors", dtype);
    Model narrow = load_model(dir / "m.safetensors");
    expect_same_description(narrow, model);
    for (const auto& [name, tensor] : model.weights) {
      for (size_t i = 0; i < tensor.data.size(); ++i) {
        float expected = dtype == DType::f16 ? f16_to_f32(f32_to_f16(tensor.data[i]))
                                             : bf16_to_f32(f32_to_bf16(tensor.data[i]));
        ASSERT_EQ(narrow.weights.at(name).data[i], expected) << name;
      }
    }
  }
}

TEST(ModelFile, RoundTripsStaticModels) {
  TemporaryDir dir;
  ArchConfig arch = small_arch();
  arch.granularity = {};
  Model model = random_model(arch, 2);
  save_model(model, dir / "m.safetensors");
  EXPECT_EQ(load_model(dir / "m.safetensors").weights, model.weights);
  EXPECT_FALSE(load_model(dir / "m.safetensors").spec.arch.is_dynamic());
}

TEST(ModelFile, KeepsDilatedStagesAndABackbonesLackOfAClassifier) {
  TemporaryDir dir;
  const Model model = random_model(
      {.name = "resnet50", .width = 0.125, .classes = 0, .granularity = {4, 4, 2, 1}, .dilated_stages = 2},
      1);
  save_model(model, dir / "m");
  EXPECT_EQ(load_model(dir / "m").spec, model.spec);
  EXPECT_EQ(stored_classes(dir / "m"), std::nullopt);
  ArchConfig undilated = model.spec.arch;
  undilated.dilated_stages = 0;
  EXPECT_EQ(load_model(dir / "m", undilated).spec.arch, undilated);  // the weights are the same
}

TEST(ModelFile, SecondSaveIsIdentical) {
  TemporaryDir dir;
  save_model(small_model(), dir / "a");
  save_model(load_model(dir / "a"), dir / "b");
  EXPECT_EQ(read_text(dir / "a"), read_text(dir / "b"));
}

TEST(ModelFile, PlainWeightsNeedAnArchitectureAndGetFreshMaskers) {
  TemporaryDir dir;
  ArchConfig arch = small_arch();
  arch.granularity = {};
  Weights weights = random_model(arch, 3).weights;
  save_plain(weights, dir / "plain");
  EXPECT_ERROR(load_model(dir / "plain"), AllOf(HasSubstr(dir / "plain"), HasSubstr("no lasnet metadata")));
  EXPECT_EQ(load_model(dir / "plain", arch).weights, weights);

  Model dynamic = load_model(dir / "plain", small_arch());
  EXPECT_EQ(dynamic.spec, make_spec(small_arch()));
  Weights expected = weights;
  for (const BlockSpec& block : dynamic.spec.blocks) {
    expected[block.masker_name() + ".weight"] = Tensor({2, block.in_channels, 1, 1}, 0.0f);
    expected[block.masker_name() + ".bias"] = Tensor({2});
    expected[block.masker_name() + ".bias"].data = {5, 0};
  }
  EXPECT_EQ(dynamic.weights, expected);
}

/// What `convert` and the README say of fresh maskers, for activations that drown a bias of 5.
TEST(ModelFile, FreshMaskersSelectEverythingForEveryInput) {
  TemporaryDir dir;
  for (const char* name : {"resnet18", "regnet_y_400mf"}) {
    ArchConfig arch = narrow_arch(name, "4-4-2-1");
    ArchConfig fixed = arch;
    fixed.granularity = {};
    const Model plain = random_model(fixed, 3);
    save_plain(plain.weights, dir / "plain");
    const Model dynamic = load_model(dir / "plain", arch);
    Tensor input = random_input(2, {64, 64}, 5);
    for (float& value : input.data) value *= 1e4f;
    Session session(dynamic), dense(plain);
    const Result result = session.run(input);
    for (const BlockTrace& block : result.trace.blocks)
      EXPECT_EQ(block.rate, 1.0) << name << " " << block.name;
    EXPECT_EQ(result.logits, dense.run(input).logits) << name;
  }
}

TEST(ModelFile, GivenGranularityWinsAndKeepsTheMaskers) {
  TemporaryDir dir;
  Model model = small_model();
  save_model(model, dir / "m");
  ArchConfig arch = small_arch();
  arch.granularity = {1, 1, 1, 1};
  Model regrained = load_model(dir / "m", arch);
  EXPECT_EQ(regrained.spec, make_spec(arch));
  EXPECT_EQ(regrained.weights, model.weights);
  EXPECT_EQ(regrained.class_names, model.class_names);

  arch.granularity = {};
  Model fixed = load_model(dir / "m", arch);
  EXPECT_FALSE(fixed.spec.arch.is_dynamic());
  EXPECT_EQ(fixed.weights.size(), model.weights.size() - 2 * model.spec.blocks.size());
}

/// Three points of the small model, which has eight blocks.
Model tuned_model() {
  Model model = small_model();
  for (const double macs : {0.25, 0.5, 1.0}) {
    model.operating_points.push_back({.macs_ratio = macs,
                                      .top1 = 0.4 + macs / 2,
                                      .thresholds = std::vector<float>(8, 0.1f - static_cast<float>(macs)),
                                      .rates = std::vector<double>(8, macs / 3),
                                      .predicted_ms = {{"tx2", 10 * macs}, {"a \"b\"", macs}}});
  }
  return model;
}

TEST(ModelFile, OperatingPointsAreKeptWithTheirNetworkAlone) {
  TemporaryDir dir;
  const Model model = tuned_model();
  save_model(model, dir / "m", DType::f16);
  EXPECT_EQ(load_model(dir / "m").operating_points, model.operating_points);
  EXPECT_EQ(load_model(dir / "m", small_arch()).operating_points, model.operating_points);
  ArchConfig other = small_arch();
  other.granularity = {2, 2, 2, 1};
  EXPECT_TRUE(load_model(dir / "m", other).operating_points.empty());
}

TEST(ModelFile, OperatingPointsThatAreNoneAreNotSaved) {
  TemporaryDir dir;
  Model model = tuned_model();
  model.operating_points[1].thresholds[3] = INFINITY;
  EXPECT_ERROR(save_model(model, dir / "m"),
               HasSubstr("operating point 1: a threshold is not a finite number"));
  model.operating_points[1].thresholds.pop_back();
  EXPECT_ERROR(save_model(model, dir / "m"), HasSubstr("7 thresholds and 8 rates for 8 blocks"));
  EXPECT_FALSE(std::filesystem::exists(dir / "m"));
}

/// Programs that do not know "layer" refuse such a file: they expect integers between the dashes.
TEST(ModelFile, LayerSkippingIsWrittenAsAWord) {
  TemporaryDir dir;
  ArchConfig arch = small_arch();
  arch.granularity = parse_granularity("4-4-layer-layer");
  const Model model = test::random_model(arch, 1);
  save_model(model, dir / "m");
  EXPECT_THAT(*read_safetensors(dir / "m").metadata.begin(),
              testing::Pair("lasnet", HasSubstr(R"("granularity":"4-4-layer-layer")")));
  EXPECT_EQ(load_model(dir / "m").spec, model.spec);
}

TEST(ModelFile, GivenArchitectureMustBeTheFiles) {
  TemporaryDir dir;
  save_model(small_model(), dir / "m");
  ArchConfig wrong_name = small_arch(), wrong_width = small_arch(), wrong_classes = small_arch();
  wrong_name.name = "resnet34";
  wrong_width.width = 0.25;
  wrong_classes.classes = 4;
  EXPECT_ERROR(load_model(dir / "m", wrong_name),
               AllOf(HasSubstr("holds resnet18"), HasSubstr("asked for resnet34")));
  EXPECT_ERROR(load_model(dir / "m", wrong_width), HasSubstr("asked for resnet18, width 0.25"));
  EXPECT_ERROR(load_model(dir / "m", wrong_classes), HasSubstr("4 classes"));
}

TEST(ModelFile, ListsAllBadTensorsTogether) {
  TemporaryDir dir;
  ArchConfig arch = small_arch();
  Weights weights = random_model(arch, 4).weights;
  weights.erase("layer1.0.conv1.weight");
  weights.erase("fc.bias");
  weights["bn1.weight"] = Tensor({3}, 1.0f);
  weights["layer9.bias"] = Tensor({1});
  save_plain(weights, dir / "m");
  EXPECT_ERROR(load_model(dir / "m", arch),
               AllOf(HasSubstr(dir / "m"), HasSubstr("layer1.0.conv1.weight"), HasSubstr("fc.bias"),
                     HasSubstr("bn1.weight"), HasSubstr("layer9.bias"), Not(HasSubstr("layer3"))));
}

/// Values are read once names and shapes fit.
TEST(ModelFile, ListsAllTensorsThatAreNotFinite) {
  TemporaryDir dir;
  ArchConfig arch = small_arch();
  Weights weights = random_model(arch, 4).weights;
  weights.at("layer2.0.bn1.running_var").data[0] = std::numeric_limits<float>::quiet_NaN();
  weights.at("fc.bias").data[1] = std::numeric_limits<float>::infinity();
  save_plain(weights, dir / "m");
  EXPECT_ERROR(load_model(dir / "m", arch),
               AllOf(HasSubstr("2 tensors"), HasSubstr("layer2.0.bn1.running_var"), HasSubstr("fc.bias")));
}

TEST(ModelFile, HalfAMaskerIsMissingNotFresh) {
  TemporaryDir dir;
  Weights weights = random_model(small_arch(), 5).weights;
  weights.erase("layer1.0.masker.conv2.bias");
  save_plain(weights, dir / "m");
  EXPECT_ERROR(load_model(dir / "m", small_arch()), HasSubstr("layer1.0.masker.conv2.bias"));
}

TEST(ModelFile, SavesNothingUnusable) {
  TemporaryDir dir;
  Model nan = small_model(), names = small_model(), crop = small_model(), facts = small_model();
  nan.weights.at("fc.weight").data[0] = std::nanf("");
  names.class_names.pop_back();
  crop.preprocessing.crop = crop.preprocessing.resize + 1;
  facts.training_json = "[]";
  EXPECT_ERROR(save_model(nan, dir / "m"), HasSubstr("fc.weight"));
  EXPECT_ERROR(save_model(names, dir / "m"), HasSubstr("2 class names for 3 classes"));
  EXPECT_ERROR(save_model(crop, dir / "m"), HasSubstr("resize 73 and crop 74"));
  EXPECT_ERROR(save_model(facts, dir / "m"), HasSubstr("expected an object, got []"));
  {
    FullDisk full(5'000);
    EXPECT_ERROR(save_model(small_model(), dir / "m"), HasSubstr("writing failed"));
  }
  EXPECT_EQ(dir.entries(), 0);
}

TEST(DTypeNames, AreParsed) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
  EXPECT_ERROR(parse_dtype("int8"), HasSubstr("expected fp32, fp16 or bf16"));
}

TEST(Metadata, RoundTripsAndReplacesWhatIsNotUtf8) {
  Model model = small_model();
  expect_same_description(parse_metadata(write_metadata(model), "x"), model);
  model.class_names[0] = "caf\xe9";
  EXPECT_EQ(parse_metadata(write_metadata(model), "x").class_names[0], "caf\xef\xbf\xbd");
  EXPECT_TRUE(parse_metadata(write_metadata(model), "x").class_folders.empty());
  model.class_folders = {"n01", "n02", "n03"};
  EXPECT_EQ(parse_metadata(write_metadata(model), "x").class_folders, model.class_folders);
  model.class_folders.pop_back();
  EXPECT_ERROR(parse_metadata(write_metadata(model), "x"), HasSubstr("2 class folders for 3 class names"));
}

/// The small model's metadata with one value replaced.
std::string edited(const std::string& pointer, const json& value) {
  json document = json::parse(write_metadata(small_model()));
  document[json::json_pointer(pointer)] = value;
  return document.dump();
}

TEST(Metadata, NamesTheKeyWithExpectedAndGot) {
  struct Case {
    const char* pointer;
    json value;
    const char* message;
  };
  const Case cases[] = {
      {"/version", "1", "lasnet'.version: expected an integer, got \"1\""},
      {"/version", 2, "version 2, this program reads version 1"},
      {"/version", 0, "expected an integer from 1"},
      {"/architecture", 1, ".architecture: expected an object, got 1"},
      {"/architecture/name", "resnet19", "resnet19"},
      {"/architecture/name", 5, ".architecture.name: expected a string, got 5"},
      {"/architecture/width", "wide", ".architecture.width: expected a number, got \"wide\""},
      {"/architecture/width", -1.0, ".architecture: "},
      {"/architecture/width", 1e300, ".architecture: "},
      {"/architecture/classes", 2.5, ".architecture.classes: expected an integer, got 2.5"},
      {"/architecture/classes", -1, ".architecture.classes: expected an integer from 0"},
      {"/architecture/classes", 0, "3 class names for 0 classes"},
      {"/architecture/classes", 1ull << 63, ".architecture.classes: expected an integer from 0"},
      {"/architecture/stem", "large", ".architecture.stem: "},
      {"/architecture/granularity", "4-0-2-1", ".architecture.granularity: "},
      {"/architecture/granularity", "4-4", ".architecture: "},
      {"/architecture/granularity", {4, 4, 2, 1}, ".architecture.granularity: expected a string"},
      {"/architecture/dilated_stages", "2", ".architecture.dilated_stages: expected an integer"},
      {"/architecture/dilated_stages", 1, "1 dilated stages; only ResNets with bottleneck blocks"},
      {"/architecture/extra", 1, "unknown key 'extra'"},
      {"/class_names", "cat", ".class_names: expected an array, got \"cat\""},
      {"/class_names/1", 7, ".class_names[1]: expected a string, got 7"},
      {"/class_names", {"one"}, "1 class names for 3 classes"},
      {"/preprocessing/resize", 0, ".preprocessing.resize: expected an integer from 1"},
      {"/preprocessing/crop", 4000, "resize 73 and crop 4000"},
      {"/preprocessing/mean", {0.5, 0.5}, "expected 3 finite means"},
      {"/preprocessing/mean/0", 1e300, "expected 3 finite means"},
      {"/preprocessing/std/2", 0, "3 positive standard deviations"},
      {"/preprocessing/std/2", nullptr, ".preprocessing.std[2]: expected a number, got null"},
      {"/masker/kind", "max", ".masker.kind: expected \"mean-pool-conv1x1\", got \"max\""},
      {"/masker/logits", 1, ".masker.logits: expected an integer from 2 to 2, got 1"},
      {"/training", {1, 2}, ".training: expected an object, got [1,2]"},
      {"/future", 1, "unknown key 'future'"},
  };
  for (const Case& c : cases) {
    EXPECT_ERROR(parse_metadata(edited(c.pointer, c.value), "m"),
                 AllOf(HasSubstr("m: "), HasSubstr(c.message)))
        << c.pointer << " = " << c.value;
  }
}

TEST(Metadata, OperatingPointsAreReadStrictly) {
  struct Case {
    const char* pointer;
    json value;
    const char* message;
  };
  const Case cases[] = {
      {"/version", 2, ".operating_points: version 2, this program reads version 1"},
      {"/version", "1", ".operating_points.version: expected an integer"},
      {"/more", 1, "unknown key 'more'"},
      {"/points", 3, ".operating_points.points: expected an array, got 3"},
      {"/points/1", 3, ".operating_points.points[1]: expected an object, got 3"},
      {"/points/1/more", 1, "unknown key 'more'"},
      {"/points/0/macs_ratio", -0.1, "operating point 0: MAC ratio -0.1"},
      {"/points/0/macs_ratio", 0.5, "operating point 1: expected a higher MAC ratio"},
      {"/points/2/top1", 1.5, "operating point 2: MAC ratio 1 and top-1 1.5"},
      {"/points/2/top1", 0.1, "operating point 2: expected a higher MAC ratio and top-1"},
      {"/points/2/thresholds", {0.5}, "1 thresholds and 8 rates for 8 blocks"},
      {"/points/2/thresholds/7", 9, "no higher threshold"},
      {"/points/2/thresholds/7", 1e300, "a threshold is not a finite number"},
      {"/points/2/thresholds/7", nullptr, ".points[2].thresholds[7]: expected a number, got null"},
      {"/points/2/rates/7", -0.5, "a rate is not from 0 to 1"},
      {"/points/2/predicted_ms", {1, 2}, ".points[2].predicted_ms: expected an object"},
      {"/points/2/predicted_ms/tx2", "fast", ".predicted_ms.tx2: expected a number"},
      {"/points/2/predicted_ms/tx2", 0, "0 ms predicted for 'tx2'"},
  };
  for (const Case& c : cases) {
    json document = json::parse(write_metadata(tuned_model()));
    document["operating_points"][json::json_pointer(c.pointer)] = c.value;
    EXPECT_ERROR(parse_metadata(document.dump(), "m"), HasSubstr(c.message)) << c.pointer << " = " << c.value;
  }
  json of_static = json::parse(write_metadata(tuned_model()));
  of_static["architecture"]["granularity"] = "static";
  EXPECT_ERROR(parse_metadata(of_static.dump(), "m"), HasSubstr("operating points of a static network"));
  json many = json::parse(write_metadata(tuned_model()));
  for (size_t i = 0; i < kMaxOperatingPoints; ++i)
    many["operating_points"]["points"].push_back(many["operating_points"]["points"][0]);
  EXPECT_ERROR(parse_metadata(many.dump(), "m"), HasSubstr("1003 operating points; expected at most 1000"));
}

TEST(Metadata, NamesMissingKeys) {
  for (const char* pointer :
       {"/version", "/architecture", "/architecture/stem", "/class_names", "/preprocessing",
        "/preprocessing/std", "/masker", "/masker/logits", "/training"}) {
    json document = json::parse(write_metadata(small_model()));
    json::json_pointer where(pointer);
    document[where.parent_pointer()].erase(where.back());
    EXPECT_ERROR(parse_metadata(document.dump(), "m"),
                 HasSubstr("the key '" + where.back() + "' is missing"));
  }
}

TEST(Metadata, RefusesBrokenDeepAndRepeatedJson) {
  std::string text = write_metadata(small_model());
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_ERROR(parse_metadata(text.substr(0, size), "m"), HasSubstr("not valid JSON")) << size;
  }
  EXPECT_ERROR(parse_metadata("{\"version\": 1e999}", "m"), HasSubstr("not valid JSON"));
  EXPECT_ERROR(parse_metadata("[1]", "m"), HasSubstr("expected an object, got [1]"));
  EXPECT_ERROR(parse_metadata(std::string(100'000, '['), "m"), HasSubstr("nested deeper"));
  EXPECT_ERROR(parse_metadata(R"({"version":1,"version":1})", "m"), HasSubstr("'version' appears twice"));
}

TEST(Metadata, SizesAreThoseOfASaneNetwork) {
  EXPECT_NO_THROW(parse_metadata(edited("/preprocessing/resize", kMaxPreparedSide), "m"));
  for (int side : {kMaxPreparedSide + 1, 8192, 65536}) {
    EXPECT_ERROR(parse_metadata(edited("/preprocessing/resize", side), "m"),
                 HasSubstr(".preprocessing.resize: expected an integer from 1 to 4096"));
  }
}

TEST(Metadata, LargeTrainingFactsAreRefusedBeforeTheyTakeMemory) {
  std::string numbers = "[0";
  for (int i = 0; i < 2'000'000; ++i) numbers += ",1";
  std::string text = write_metadata(small_model());
  const std::string key = "\"training\":";
  text = text.substr(0, text.find(key) + key.size()) + "{\"x\":" + numbers + "]}}";
  EXPECT_ERROR(parse_metadata(text, "m"), HasSubstr("more than 1148576 values"));
  std::string keys = "{\"a\":0";
  for (int i = 0; i < 100'000; ++i) keys += ",\"" + std::to_string(i) + "\":0";
  text = text.substr(0, text.find(key) + key.size()) + keys + "}}";
  EXPECT_ERROR(parse_metadata(text, "m"), HasSubstr("more than 100000 keys"));
  EXPECT_ERROR(parse_metadata(std::string((64 << 20) + 1, ' '), "m"), HasSubstr("expected at most 67108864"));
}

TEST(Metadata, BrokenMetadataIsReportedByLoadModel) {
  TemporaryDir dir;
  write_safetensors({small_model().weights, {{kMetadataKey, "{}"}}}, dir / "m", DType::f32);
  EXPECT_ERROR(load_model(dir / "m"), AllOf(HasSubstr(dir / "m"), HasSubstr("'version' is missing")));
}

}  // namespace
}  // namespace lasnet::test
