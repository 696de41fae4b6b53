// Checkpoints by PyTorch itself (data/, made by scripts/make_pth_fixtures.py) and by
// tests/support/pth_writer.
#include <algorithm>
#include <bit>
#include <filesystem>

#include "core/npy.h"
#include "model/pytorch_file.h"
#include "model/safetensors.h"
#include "model/unpickler.h"
#include "support/expect_error.h"
#include "support/pth_writer.h"
#include "support/random_model.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// Over the caller's bytes, which must outlive it.
PyTorchFile parse(const std::string& archive) {
  return PyTorchFile(ByteSource::memory(bytes_of(archive), "x.pth"));
}

PickleData parse_pickle(const std::string& pickle) { return unpickle(bytes_of(pickle), "x.pkl"); }

// Fixtures.

std::string fixture(const std::string& version, const std::string& name) {
  return std::string(LASNET_TEST_DATA) + "/torch-" + version + "/" + name;
}

/// Every floating-point tensor of the file.
Weights read_all(const std::string& path) {
  const auto file = open_weight_file(path);
  Weights weights;
  for (const auto& [name, stored] : file->tensors()) {
    if (stored.is_float) weights[name] = file->read(name);
  }
  return weights;
}

void expect_same_bits(const Weights& got, const Weights& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(got.contains(name)) << name;
    EXPECT_EQ(got.at(name).shape, tensor.shape) << name;
    for (size_t i = 0; i < tensor.data.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got.at(name).data[i]), std::bit_cast<uint32_t>(tensor.data[i]))
          << name << "[" << i << "]";
    }
  }
}

class SavedByPyTorch : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(SavedByPyTorch, IsReadBitForBit) {
  const auto [version, name] = GetParam();
  const Weights expected = read_safetensors(fixture(version, name + std::string(".safetensors"))).tensors;
  ASSERT_FALSE(expected.empty());
  expect_same_bits(read_all(fixture(version, name + std::string(".pth"))), expected);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, SavedByPyTorch,
                         testing::Combine(testing::Values("1.13", "2.15"),
                                          testing::Values("ordered", "plain", "parameters", "nested",
                                                          "nested_model", "parallel", "half", "bfloat16",
                                                          "double", "strided", "shared", "integers")),
                         [](const auto& test) {
                           std::string version(std::get<0>(test.param));
                           std::replace(version.begin(), version.end(), '.', '_');
                           return version.append("_").append(std::get<1>(test.param));
                         });

class PyTorchVersion : public testing::TestWithParam<const char*> {};

TEST_P(PyTorchVersion, IntegersAreDescribedButNotRead) {
  const auto file = open_weight_file(fixture(GetParam(), "integers.pth"));
  EXPECT_EQ(file->tensors().at("steps").dtype, "int64");
  EXPECT_EQ(file->tensors().at("flags").dtype, "bool");
  EXPECT_FALSE(file->tensors().at("bytes").is_float);
  EXPECT_ERROR(file->read("short"), HasSubstr("tensor 'short' holds int16, expected floating point"));
}

TEST_P(PyTorchVersion, AWholeNetworkWithItsMaskersLoads) {
  const std::string path = fixture(GetParam(), "resnet18.pth");
  const ArchConfig arch{.name = "resnet18",
                        .width = 0.125,
                        .classes = stored_classes(path).value(),
                        .stem = StemKind::small,
                        .granularity = {4, 4, 2, 1}};
  EXPECT_EQ(arch.classes, 3);
  const Model model = load_model(path, arch);
  EXPECT_EQ(model.weights.at("fc.weight"), load_npy_f32(fixture(GetParam(), "resnet18_fc.npy")));
  EXPECT_EQ(model.weights.at("layer1.0.masker.conv2.bias").data, (std::vector<float>{0, 0}));
  EXPECT_EQ(model.weights.size(), required_tensors(model.spec).size());
  EXPECT_EQ(model.preprocessing, Preprocessing{});
}

TEST_P(PyTorchVersion, OtherFilesOfPyTorchAreNamed) {
  EXPECT_ERROR(open_weight_file(fixture(GetParam(), "legacy.pth")),
               AllOf(HasSubstr("from before 1.6"), HasSubstr("torch.save(torch.load(")));
  EXPECT_ERROR(open_weight_file(fixture(GetParam(), "torchscript.pt")),
               AllOf(HasSubstr("TorchScript"), HasSubstr("state_dict()")));
  EXPECT_ERROR(open_weight_file(fixture(GetParam(), "whole_module.pth")),
               AllOf(HasSubstr("'torch.nn.modules.container.Sequential'"), HasSubstr("Nothing was executed"),
                     HasSubstr("torch.save(model.state_dict()")));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PyTorchVersion, testing::Values("1.13", "2.15"),
                         [](const auto& test) { return std::string(test.param).substr(0, 1); });

// What a network makes of a checkpoint.

ArchConfig small_arch() {
  return {
      .name = "resnet18", .width = 0.125, .classes = 3, .stem = StemKind::small, .granularity = {4, 4, 2, 1}};
}

std::string save_checkpoint(const TemporaryDir& dir, const Weights& weights) {
  write_text(dir / "m.pth", make_zip(checkpoint_items(state_dict_pickle(weights), weights)));
  return dir / "m.pth";
}

TEST(PyTorchModel, LoadsWithItsMaskersAndWithFreshOnes) {
  TemporaryDir dir;
  const Model model = random_model(small_arch(), 1);
  EXPECT_EQ(load_model(save_checkpoint(dir, model.weights), small_arch()).weights, model.weights);

  ArchConfig fixed = small_arch();
  fixed.granularity = {};
  const Weights plain = random_model(fixed, 1).weights;
  EXPECT_EQ(load_model(save_checkpoint(dir, plain), fixed).weights, plain);
  Weights expected = plain;
  init_maskers(model.spec, 0, 5, expected);
  EXPECT_EQ(load_model(dir / "m.pth", small_arch()).weights, expected);
}

TEST(PyTorchModel, NeedsAnArchitecture) {
  TemporaryDir dir;
  const std::string path = save_checkpoint(dir, random_model(small_arch(), 1).weights);
  EXPECT_EQ(described_architecture(path), std::nullopt);
  EXPECT_ERROR(load_model(path), AllOf(HasSubstr(path), HasSubstr("--arch")));
}

TEST(PyTorchModel, ListsAllBadTensorsTogether) {
  TemporaryDir dir;
  Weights weights = random_model(small_arch(), 1).weights;
  weights["layer1.0.conv1.weights"] = std::move(weights.at("layer1.0.conv1.weight"));
  weights.erase("layer1.0.conv1.weight");
  weights["bn1.bias"] = Tensor({3});
  EXPECT_ERROR(
      load_model(save_checkpoint(dir, weights), small_arch()),
      AllOf(HasSubstr("missing    layer1.0.conv1.weight"), HasSubstr("the file has 'layer1.0.conv1.weights'"),
            HasSubstr("bn1.bias: expected [8], got [3]"), HasSubstr("unexpected layer1.0.conv1.weights")));
}

// The archive.

Weights two_tensors() {
  Tensor a({2, 3}), b({4}, 0.5f);
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] = static_cast<float>(i) - 2.5f;
  return {{"a", a}, {"b", b}};
}

TEST(PyTorchFile, ReadsArchivesWithAndWithoutZip64Records) {
  const Weights weights = two_tensors();
  for (bool zip64 : {false, true}) {
    const std::string archive =
        make_zip(checkpoint_items(state_dict_pickle(weights), weights), {.zip64 = zip64});
    PyTorchFile file = parse(archive);
    for (const auto& [name, tensor] : weights) EXPECT_EQ(file.read(name), tensor) << name << zip64;
  }
}

TEST(PyTorchFile, ReadsSizesOfTheZip64ExtraField) {
  const Weights weights = two_tensors();
  auto items = checkpoint_items(state_dict_pickle(weights), weights);
  items[1].wide_size = items[1].bytes.size();
  EXPECT_EQ(parse(make_zip(items)).read("a"), weights.at("a"));
  *items[1].wide_size += uint64_t{1} << 32;
  EXPECT_ERROR(parse(make_zip(items)), HasSubstr("differs from the directory"));
}

TEST(PyTorchFile, RefusesEveryTruncationAndTrailingBytes) {
  const Weights weights = two_tensors();
  const std::string archive =
      make_zip(checkpoint_items(state_dict_pickle(weights), weights), {.zip64 = true});
  for (size_t size = 0; size < archive.size(); ++size) {
    EXPECT_ERROR(parse(archive.substr(0, size)), HasSubstr("x.pth: ")) << size;
  }
  EXPECT_ERROR(parse(archive + '\0'), HasSubstr("truncated or damaged"));
}

TEST(PyTorchFile, EveryFlippedBitOfAStorageIsNoticed) {
  const Weights weights = two_tensors();
  const std::string archive = make_zip(checkpoint_items(state_dict_pickle(weights), weights));
  const std::string values(reinterpret_cast<const char*>(weights.at("a").data.data()), 24);
  const size_t begin = archive.find(values);
  ASSERT_NE(begin, std::string::npos);
  for (size_t bit = 0; bit < 24 * 8; ++bit) {
    std::string damaged = archive;
    damaged[begin + bit / 8] = static_cast<char>(damaged[begin + bit / 8] ^ (1 << bit % 8));
    PyTorchFile file = parse(damaged);
    EXPECT_EQ(file.read("b"), weights.at("b"));
    EXPECT_ERROR(file.read("a"), HasSubstr("CRC-32")) << bit;
  }
}

TEST(PyTorchFile, StripsPrefixesWhereverTheyAre) {
  const Weights weights = two_tensors();
  const std::string pickle =
      Pickle().raw("}(").entries(weights, "module._orig_mod.").text("n_averaged").raw("K\x02u").done();
  EXPECT_EQ(parse(make_zip(checkpoint_items(pickle, weights))).read("a"), weights.at("a"));
}

TEST(PyTorchFile, PrefersTheNestedStateDict) {
  const Weights weights = two_tensors();
  Pickle pickle;
  pickle.raw("}(").text("best_accuracy").tensor({.key = "0", .shape = {6}});
  pickle.text("state_dict").raw("}(").entries(weights).raw("uu");
  const std::string archive = make_zip(checkpoint_items(pickle.done(), weights));
  PyTorchFile file = parse(archive);
  EXPECT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.read("a"), weights.at("a"));
}

// The pickle.

TEST(Unpickler, ReadsTheScalarsOfEveryProtocol) {
  const std::string items = std::string("N\x88\x89K\xc8M\x34\x12J\xfe\xff\xff\xff", 13) + "\x8a\x01\x80" +
                            std::string("\x8a\x00", 2) + std::string("G\x3f\xe0\0\0\0\0\0\0", 9) +
                            std::string("X\x01\0\0\0a", 6) + "\x8c\x01" + "b" + "C\x01" + "c";
  for (int protocol = 2; protocol <= 5; ++protocol) {
    const PickleData data = parse_pickle(Pickle(protocol).raw("(" + items + "t").done());
    const auto& tuple = data.as<PickleTuple>(data.root)->items;
    ASSERT_EQ(tuple.size(), 12u);
    EXPECT_NE(data.as<PickleNone>(tuple[0]), nullptr);
    EXPECT_EQ(*data.as<bool>(tuple[1]), true);
    EXPECT_EQ(*data.as<bool>(tuple[2]), false);
    const std::vector<int64_t> integers = {200, 0x1234, -2, -128, 0};
    for (size_t i = 0; i < integers.size(); ++i) EXPECT_EQ(*data.as<int64_t>(tuple[3 + i]), integers[i]);
    EXPECT_EQ(*data.as<double>(tuple[8]), 0.5);
    EXPECT_EQ(*data.as<std::string>(tuple[9]), "a");
    EXPECT_EQ(*data.as<std::string>(tuple[10]), "b");
    EXPECT_EQ(data.as<PickleBytes>(tuple[11])->bytes, "c");
  }
  EXPECT_ERROR(parse_pickle(Pickle(1).raw("N").done()), HasSubstr("protocol 1, expected 2 to 5"));
}

TEST(Unpickler, IntegersBeyond64BitsBecomeNumbers) {
  const std::string large = std::string("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0", 11);
  PickleData data = parse_pickle(Pickle().raw(large).done());
  EXPECT_EQ(*data.as<double>(data.root), 18446744073709551615.0);
  data = parse_pickle(Pickle().raw("\x8a\x09" + std::string(8, '\0') + "\xff").done());
  EXPECT_EQ(*data.as<double>(data.root), -18446744073709551616.0);
}

TEST(Unpickler, SharesAndMemoizesWithoutCopies) {
  // A list that holds itself, and a bomb of 10^200 values if it were ever copied out.
  PickleData data = parse_pickle(Pickle()
                                     .raw("]q\x01h\x01"
                                          "a")
                                     .done());
  EXPECT_EQ(data.as<PickleList>(data.root)->items, std::vector<ValueId>{data.root});
  std::string bomb = "Nq\x01";
  for (int level = 0; level < 190; ++level)
    bomb += "(h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01tq\x01";
  data = parse_pickle(Pickle().raw("(" + bomb + "t").done());
  EXPECT_LT(data.values.size(), 200u);
}

TEST(Unpickler, NamesWhatItRefuses) {
  EXPECT_ERROR(parse_pickle(Pickle().global("os", "system").done()),
               AllOf(HasSubstr("x.pkl: refused: at byte 2"), HasSubstr("the global 'os.system'"),
                     HasSubstr("Nothing was executed")));
  EXPECT_ERROR(parse_pickle(Pickle(4).text("torch").text("load").raw("\x93").done()),
               HasSubstr("'torch.load'"));
  for (int byte = 0; byte < 256; ++byte) {  // no opcode crashes on an empty stack
    const std::string pickle = std::string("\x80\x02") + static_cast<char>(byte) + ".";
    try {
      parse_pickle(pickle);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("x.pkl: "));
    }
  }
}

}  // namespace
}  // namespace lasnet::test
